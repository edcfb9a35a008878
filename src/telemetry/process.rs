//! The process: its threads, memory, files and disk, as the kernel reports them.
//!
//! A value that the kernel does not report has no series: no series is better than a wrong one.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use metrics::Gauge;
use parking_lot::Mutex;

use super::{Maker, families};
use crate::clock::monotonic;

pub struct Process {
    make: Maker,
    resident: Gauge,
    open_files: Gauge,
    open_files_max: Gauge,
    disk: Gauge,
    disk_available: Gauge,
    threads: Mutex<HashMap<String, Thread>>,
}

/// A thread as it was last seen, by its number.
struct Thread {
    name: String,
    at: Instant,
    ran: Duration,
    waited: Duration,
    busy: Gauge,
    starved: Gauge,
}

impl Process {
    pub(super) fn new(make: &Maker) -> Self {
        let gauge = |family| make.gauge(family, &[]);
        Self {
            resident: gauge(&families::RESIDENT),
            open_files: gauge(&families::OPEN_FILES),
            open_files_max: gauge(&families::OPEN_FILES_MAX),
            disk: gauge(&families::DISK),
            disk_available: gauge(&families::DISK_AVAILABLE),
            threads: Mutex::default(),
            make: make.clone(),
        }
    }

    /// Reads it all. `data`: the data directory.
    pub fn observe(&self, data: &Path) {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes as f64);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            self.open_files.set(files.count().saturating_sub(1) as f64);
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.open_files_max.set(most as f64);
        }
        if let Ok(disk) = rustix::fs::statvfs(data) {
            self.disk.set(disk.f_blocks as f64 * disk.f_frsize as f64);
            self.disk_available.set(disk.f_bavail as f64 * disk.f_frsize as f64);
        }
        self.observe_threads();
    }

    fn observe_threads(&self) {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else { return };
        let mut threads = self.threads.lock();
        for task in tasks.flatten() {
            let Some((ran, waited)) = scheduled(&task.path()) else { continue };
            let id = task.file_name().to_string_lossy().into_owned();
            let now = monotonic();
            // A new thread has its parent's name until it first runs, so the name is read every time.
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            match threads.get_mut(&id) {
                Some(thread) if thread.name == name => thread.update(now, ran, waited),
                _ => {
                    let of = |family| self.make.gauge(family, &[name.trim()]);
                    let (busy, starved) = (of(&families::THREAD_BUSY), of(&families::THREAD_STARVED));
                    threads.insert(id, Thread { name, at: now, ran, waited, busy, starved });
                }
            }
        }
    }
}

impl Thread {
    fn update(&mut self, now: Instant, ran: Duration, waited: Duration) {
        let share = |now: Duration, before: Duration, over: Duration| {
            (now.saturating_sub(before).as_secs_f64() / over.as_secs_f64()).min(1.0)
        };
        let over = now.duration_since(self.at);
        if over.is_zero() {
            return;
        }
        self.busy.set(share(ran, self.ran, over));
        self.starved.set(share(waited, self.waited, over));
        (self.at, self.ran, self.waited) = (now, ran, waited);
    }
}

/// How long a thread ran, and how long it waited for a core.
fn scheduled(task: &Path) -> Option<(Duration, Duration)> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let mut nanos = text.split_ascii_whitespace().map_while(|field| field.parse().ok().map(Duration::from_nanos));
    Some((nanos.next()?, nanos.next()?))
}

fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use rustix::thread::set_name;

    use super::*;
    use crate::telemetry::{Bounds, Telemetry};

    #[test]
    fn a_thread_that_is_seen_before_it_has_its_name_is_told_by_its_name() {
        let telemetry = Telemetry::new(&["unknown"], Bounds { items_max: 0, sales_max: 0 });
        let (step, steps) = mpsc::channel::<()>();
        let (done, dones) = mpsc::channel();
        let thread = thread::spawn(move || {
            for name in [c"parent", c"named-late"] {
                set_name(name).unwrap();
                done.send(()).unwrap();
                steps.recv().unwrap();
            }
        });
        let told = |name: &str| telemetry.render().contains(&format!("{{thread=\"{name}\"}}"));
        dones.recv().unwrap();
        telemetry.process.observe(Path::new("/"));
        assert!(told("parent") && !told("named-late"));
        step.send(()).unwrap();
        dones.recv().unwrap();
        telemetry.process.observe(Path::new("/"));
        assert!(told("named-late"));
        step.send(()).unwrap();
        thread.join().unwrap();
    }
}
