//! Child processes and directories of a measurement: they are stopped and deleted on exit, however it ends.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tempfile::TempDir;

const START_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(60);
/// For each process, where the measurement is stopped: nobody needs what it leaves.
const KILL_TIME: Duration = Duration::from_secs(5);

/// Running child processes, for the signal handler.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Existing directories, for the signal handler.
static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// On SIGINT, SIGTERM and SIGHUP, stops the child processes, deletes the directories, and exits.
pub fn end_with_us() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        // Held until the end: nothing is started any more.
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        end(&running);
        for directory in DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Err(error) = std::fs::remove_dir_all(directory) {
                eprintln!("{} is left: {error}", directory.display());
            }
        }
        eprintln!("stopped");
        std::process::exit(130);
    })
    .context("a handler of signals")
}

/// Ends these processes, and what they started.
fn end(processes: &[Pid]) {
    // Each leads a group of its own.
    for &process in processes {
        let _ = kill_process_group(process, Signal::TERM);
    }
    for &process in processes {
        wait_or_kill(process);
    }
}

/// Waits until the process has ended, which whoever started it may be waiting for too.
fn wait_or_kill(process: Pid) {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let begin = Instant::now();
    while let Ok(None) = waitid(WaitId::Pid(process), ended | WaitIdOptions::NOHANG) {
        if begin.elapsed() > KILL_TIME {
            let _ = kill_process_group(process, Signal::KILL);
            let _ = waitid(WaitId::Pid(process), ended);
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An empty directory that is removed when this is dropped, or the measurement is stopped.
pub struct Directory(TempDir);

impl Directory {
    pub fn new() -> anyhow::Result<Self> {
        let mut directories = DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = TempDir::new().context("a directory for what is measured")?;
        directories.push(directory.path().to_owned());
        Ok(Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner).retain(|directory| directory != self.path());
    }
}

/// A process that ends when this is dropped.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it and waits until its port answers.
    pub fn start(name: &str, mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = spawn(&mut command).with_context(|| format!("starting {name}: {command:?}"))?;
        let mut process = Self { name: name.to_owned(), child };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                let mut told = String::new();
                if let Some(mut stderr) = process.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut told);
                }
                bail!("{name} ended with {status} before it answered: {told}");
            }
            if begin.elapsed() > START_TIME {
                bail!("{name} did not answer on {address} within {START_TIME:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Whatever it has to say from now on must not hold it up.
        if let Some(mut stderr) = process.child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process, which to it is like a power loss.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::TERM)?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > STOP_TIME {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {STOP_TIME:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = Pid::from_child(&self.child);
        if let Err(error) = self.stop() {
            eprintln!("{error}");
        }
        forget(id);
    }
}

/// Runs a program that ends by itself, and hands over what it said.
pub fn run(mut command: Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(&mut command)?;
    let id = Pid::from_child(&child);
    let output = child.wait_with_output();
    forget(id);
    output
}

/// Starts a process that ends with this one.
fn spawn(command: &mut Command) -> io::Result<Child> {
    // SIGINT at the terminal is for the measurement, which then stops its children in order.
    command.process_group(0);
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    running.push(Pid::from_child(&child));
    Ok(child)
}

/// It has ended, and its number may be another's soon.
fn forget(id: Pid) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|&process| process != id);
}

/// A free address of this machine.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// This program, to run as one of its own parts.
pub fn this_program(part: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(part);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ended as a signal ends all that runs, a program is over, and so is what it started.
    #[test]
    fn a_program_ends_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]).stderr(Stdio::null());
        let mut child = spawn(command.stdout(Stdio::piped())).unwrap();
        let id = Pid::from_child(&child);
        assert!(RUNNING.lock().unwrap().contains(&id));
        let mut told = [0; 16];
        let count = child.stdout.as_mut().unwrap().read(&mut told).unwrap();
        let started = format!("/proc/{}/stat", std::str::from_utf8(&told[..count]).unwrap().trim());
        assert!(Path::new(&started).exists());
        end(&[id]);
        assert!(!child.wait().unwrap().success());
        // Where nobody reaps what has no parent any more, it stays as a zombie.
        let begin = Instant::now();
        while std::fs::read_to_string(&started).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(begin.elapsed() < KILL_TIME, "what it started goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
        forget(id);
    }

    #[test]
    fn what_a_program_said_is_handed_over_and_it_is_forgotten() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$; echo no >&2; exit 3"]);
        let output = run(command).unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(3), &b"no\n"[..]));
        let id = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert!(!RUNNING.lock().unwrap().contains(&Pid::from_raw(id).unwrap()));
        assert!(run(Command::new("/no/such/program")).is_err());
    }
}
