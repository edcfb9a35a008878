//! Standard error and standard output, written by threads of their own.
//!
//! Invariant: a thread that logs or prints never waits for the reader of a stream, and never fails with it. Lines wait in a
//! bounded queue. Lines that find it full, or cannot be written, are dropped and counted. A write to a pipe that nobody reads
//! blocks for ever, so it must not happen on a thread that answers, commits or handles signals.
//!
//! Not `tracing-appender`, which has the same shape: when its queue is full at the end, its guard prints to standard output,
//! which blocks or panics exactly when this matters; it does not count lines that could not be written; and it bounds lines,
//! not bytes.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

/// How long waiting lines may take to leave when the process ends.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How long a process that aborts waits for its last line to leave.
const LAST_WORDS_TIME: Duration = Duration::from_millis(200);

/// Between two tries at a stream that is full and does not block.
const FULL_REST: Duration = Duration::from_millis(20);

/// Standard output has a few lines to say; the queue is for a reader that is slow.
const STDOUT_BYTES_MAX: usize = 1 << 20;

static STDERR: OnceLock<Lines> = OnceLock::new();
static STDOUT: OnceLock<Lines> = OnceLock::new();

/// Lines on their way to a stream.
pub struct Lines(Arc<Shared>);

struct Shared {
    bytes_max: usize,
    queue: Mutex<Queue>,
    /// A line came, or the last one left.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    /// Of these lines, and of the one that is being written.
    bytes: usize,
}

impl Lines {
    fn start<S: AsFd + Send + 'static>(thread: &str, stream: S, bytes_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bytes_max,
            queue: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let (lines, run) = (Self(shared.clone()), move || shared.write_to(stream.as_fd()));
        thread::Builder::new().name(thread.to_owned()).spawn(run)?;
        Ok(lines)
    }

    /// Puts a line, with its end, into the queue, or drops it.
    pub fn push(&self, line: &[u8]) {
        if self.0.push(line, self.0.bytes_max) {
            self.0.changed.notify_all();
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were dropped so far.
    fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line has left, but not past `deadline`.
    fn flush(&self, deadline: Instant) {
        let mut queue = self.0.queue.lock();
        while queue.bytes > 0 && !self.0.changed.wait_until(&mut queue, deadline).timed_out() {}
    }
}

impl Shared {
    fn push(&self, line: &[u8], bytes_max: usize) -> bool {
        let mut queue = self.queue.lock();
        let fits = queue.bytes + line.len() <= bytes_max;
        if fits {
            queue.bytes += line.len();
            queue.lines.push_back(line.into());
        }
        fits
    }

    fn write_to(&self, stream: BorrowedFd<'_>) {
        loop {
            let line = {
                let mut queue = self.queue.lock();
                loop {
                    match queue.lines.pop_front() {
                        Some(line) => break line,
                        None => self.changed.wait(&mut queue),
                    }
                }
            };
            if write_whole(stream, &line).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            let mut queue = self.queue.lock();
            queue.bytes -= line.len();
            if queue.bytes == 0 {
                self.changed.notify_all();
            }
        }
    }
}

/// Without a buffer in between, which would keep what could not be written.
fn write_whole(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Somebody made the pipe non-blocking.
            Err(Errno::AGAIN) => thread::sleep(FULL_REST),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// From here on both streams are written by threads of their own. `stderr_bytes_max`: what may wait for standard error.
pub fn start(stderr_bytes_max: usize) -> io::Result<()> {
    let (stderr, stdout) = (rustix::stdio::stderr(), rustix::stdio::stdout());
    let _ = STDERR.set(Lines::start("log", stderr, stderr_bytes_max)?);
    let _ = STDOUT.set(Lines::start("output", stdout, STDOUT_BYTES_MAX)?);
    Ok(())
}

/// Standard error; None before `start`.
pub fn stderr() -> Option<&'static Lines> {
    STDERR.get()
}

/// Standard output; None before `start`.
pub fn stdout() -> Option<&'static Lines> {
    STDOUT.get()
}

/// Lines for standard error that were dropped: the queue was full, or they could not be written.
pub fn log_lines_dropped() -> u64 {
    stderr().map_or(0, Lines::dropped)
}

/// Waits for lines that are still on their way, but only for a moment: the process is about to end, even if nobody reads them.
pub fn finish() {
    let deadline = Instant::now() + FLUSH_TIME;
    for lines in [stdout(), stderr()].into_iter().flatten() {
        lines.flush(deadline);
    }
}

/// Says on standard error why the process is about to abort, within a bound.
pub fn last_words(text: &str) {
    match stderr() {
        Some(lines) => {
            // Whatever else waits: this is what somebody will look for.
            lines.0.push(text.as_bytes(), usize::MAX);
            lines.0.changed.notify_all();
            lines.flush(Instant::now() + LAST_WORDS_TIME);
        }
        None => drop(write_whole(rustix::stdio::stderr(), text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{PipeReader, Read, pipe},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn lines_into_a_pipe(bytes_max: usize) -> (Lines, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Lines::start("log", writer, bytes_max).unwrap(), reader)
    }

    fn soon() -> Instant {
        Instant::now() + PATIENCE
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (lines, mut reader) = lines_into_a_pipe(1 << 20);
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        expected.split_inclusive('\n').for_each(|line| lines.push(line.as_bytes()));
        let mut read = vec![0; expected.len()];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_read_and_what_does_not_fit_is_counted() {
        let (lines, mut reader) = lines_into_a_pipe(10_000);
        // A pipe takes 64 KiB, the queue 10,000 bytes, and one line is in the writer's hand.
        for _ in 0..1000 {
            lines.push(&[b'x'; 1000]);
        }
        let dropped = lines.dropped();
        assert!((900..1000).contains(&dropped), "{dropped}");
        let started = Instant::now();
        lines.flush(started + Duration::from_millis(50));
        assert!(started.elapsed() < PATIENCE, "a flush is bounded");
        // Somebody reads again: what waited arrives, and there is room again.
        let mut read = vec![0; (1000 - dropped as usize) * 1000];
        reader.read_exact(&mut read).unwrap();
        lines.flush(soon());
        lines.push(b"again\n");
        let mut again = [0; 6];
        reader.read_exact(&mut again).unwrap();
        assert_eq!((&again, lines.dropped()), (b"again\n", dropped));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (lines, reader) = lines_into_a_pipe(1 << 20);
        drop(reader);
        let full = Lines::start("log", File::options().write(true).open("/dev/full").unwrap(), 1 << 20).unwrap();
        for lines in [lines, full] {
            (0..10).for_each(|_| lines.push(b"lost\n"));
            lines.flush(soon());
            assert_eq!(lines.dropped(), 10);
        }
    }
}
