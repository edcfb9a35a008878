//! The load: many connections on few threads, requests at a constant rate or as fast as answers come.
//!
//! At a constant rate each request has a due time, whatever earlier answers take, and its response time counts from then. So a
//! service that stalls pays for all requests that would have come meanwhile (this avoids coordinated omission, as Gil Tene's
//! wrk2 does). The service time, from the write to the answer, is recorded too.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, net::TcpStream, unix::SourceFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::traffic::Traffic;

/// How requests follow one another.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The next one when the last one is answered: finds the highest rate, and hides stalls.
    AsAnswered,
    /// So many a second, over all connections.
    PerSecond(f64),
}

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub threads: usize,
    pub pace: Pace,
    /// Not counted: connections, caches and the service's buffers come up to their size.
    pub warm_up: Duration,
    pub time: Duration,
    /// A request that could not be sent for so long after it was due is given up, as a caller would.
    pub give_up: Duration,
}

/// What was seen of the answers. Times are in microseconds.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From when a request was due.
    pub response: Histogram<u64>,
    /// From when it was sent.
    pub service: Histogram<u64>,
    /// Service times of requests that were granted.
    pub granted: Histogram<u64>,
    pub statuses: BTreeMap<u16, u64>,
    /// Due and never sent: every connection was busy for too long.
    pub given_up: u64,
    /// Answers that were not what the request asked for.
    pub wrong: u64,
    /// Connections that were closed by the other side.
    pub closed: u64,
    pub elapsed: Duration,
}

impl Seen {
    fn new() -> Self {
        let times = || Histogram::new_with_bounds(1, 120_000_000, 3).expect("sound bounds");
        Self {
            response: times(),
            service: times(),
            granted: times(),
            statuses: BTreeMap::new(),
            given_up: 0,
            wrong: 0,
            closed: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn add(&mut self, other: &Self) {
        self.response.add(&other.response).expect("the same bounds");
        self.service.add(&other.service).expect("the same bounds");
        self.granted.add(&other.granted).expect("the same bounds");
        for (&status, count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.given_up += other.given_up;
        self.wrong += other.wrong;
        self.closed += other.closed;
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64()
    }

    /// Answers a second that granted what was asked.
    pub fn goodput(&self) -> f64 {
        let good: u64 = self.statuses.range(200..300).map(|(_, count)| count).sum();
        good as f64 / self.elapsed.as_secs_f64()
    }
}

/// Puts the load on; `traffic` makes each thread's requests. `at_start` is called when the warm-up is over.
pub fn run<T: Traffic>(
    load: &Load,
    traffic: impl Fn(usize) -> T,
    at_start: impl FnOnce() + Send,
) -> anyhow::Result<Seen> {
    let begin = Instant::now() + Duration::from_millis(50);
    let counted_from = begin + load.warm_up;
    let end = counted_from + load.time;
    let mut all = Seen::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.threads)
            .map(|number| {
                let share = load.connections / load.threads + usize::from(number < load.connections % load.threads);
                let thread = Thread::new(load, share, traffic(number), counted_from);
                scope.spawn(move || thread?.run(begin, end))
            })
            .collect();
        std::thread::sleep(counted_from.saturating_duration_since(Instant::now()));
        at_start();
        for thread in threads {
            all.add(&thread.join().expect("a thread of the generator does not panic")?);
        }
        anyhow::Ok(())
    })?;
    if all.answers() == 0 {
        bail!("nothing was answered by {}", load.address);
    }
    Ok(all)
}

/// Requests are sent up to so much after they are due, which counts as time that they took: waking for each of them alone
/// would take the processor from what is measured.
const GRAIN: Duration = Duration::from_micros(100);

/// The timer's token; connections have their places as tokens.
const TIMER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    /// Bytes of a request that the socket did not take, and of an answer that is not whole.
    unsent: Vec<u8>,
    unread: Vec<u8>,
    /// When the request under way was due, and when it was sent; its number.
    asked: Option<(Instant, Instant, u64)>,
}

struct Thread<T> {
    traffic: T,
    address: SocketAddr,
    interval: Option<Duration>,
    give_up: Duration,
    poll: Poll,
    timer: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    due: VecDeque<Instant>,
    number: u64,
    seen: Seen,
    /// What is answered, given up or cut off from then on counts, whenever it was due: under overload requests are sent
    /// long after they were due, and those answers are a part of what is done in the time.
    counted_from: Instant,
}

impl<T: Traffic> Thread<T> {
    fn new(load: &Load, connections: usize, traffic: T, counted_from: Instant) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut thread = Self {
            traffic,
            address: load.address,
            interval: match load.pace {
                Pace::AsAnswered => None,
                Pace::PerSecond(rate) => Some(Duration::from_secs_f64(load.threads as f64 / rate)),
            },
            give_up: load.give_up,
            poll,
            timer,
            connections: Vec::with_capacity(connections),
            idle: VecDeque::with_capacity(connections),
            due: VecDeque::new(),
            number: 0,
            seen: Seen::new(),
            counted_from,
        };
        for place in 0..connections {
            let connection = thread.connect(place)?;
            thread.connections.push(connection);
            thread.idle.push_back(place);
        }
        Ok(thread)
    }

    fn connect(&self, place: usize) -> anyhow::Result<Connection> {
        let stream =
            std::net::TcpStream::connect(self.address).with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
        Ok(Connection { stream, unsent: Vec::new(), unread: Vec::new(), asked: None })
    }

    fn run(mut self, begin: Instant, end: Instant) -> anyhow::Result<Seen> {
        std::thread::sleep(begin.saturating_duration_since(Instant::now()));
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 64 << 10];
        let mut next_due = begin;
        loop {
            let now = Instant::now();
            if now >= end {
                break;
            }
            match self.interval {
                None => {
                    while !self.idle.is_empty() {
                        self.send(now)?;
                    }
                }
                Some(interval) => {
                    while next_due <= now {
                        self.due.push_back(next_due);
                        next_due += interval;
                    }
                    self.send_due(now)?;
                    // With every connection busy it is an answer that lets the next request go.
                    if !self.idle.is_empty() {
                        self.arm(next_due.saturating_duration_since(now))?;
                    }
                }
            }
            match self.poll.poll(&mut events, Some(end - now)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    TIMER => {
                        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                    }
                    Token(place) if event.is_writable() && !self.connections[place].unsent.is_empty() => {
                        self.write(place, Vec::new())?;
                        self.read(place, &mut scratch)?;
                    }
                    Token(place) => self.read(place, &mut scratch)?,
                }
            }
        }
        self.seen.elapsed = Instant::now() - self.counted_from;
        Ok(self.seen)
    }

    fn arm(&self, after: Duration) -> io::Result<()> {
        let after = after.max(GRAIN);
        let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn send_due(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(&due) = self.due.front() {
            if now.saturating_duration_since(due) > self.give_up {
                self.due.pop_front();
                self.seen.given_up += u64::from(now >= self.counted_from);
                continue;
            }
            if self.idle.is_empty() {
                return Ok(());
            }
            self.due.pop_front();
            self.send(due)?;
        }
        Ok(())
    }

    /// Sends the next request on a connection that is idle.
    fn send(&mut self, due: Instant) -> anyhow::Result<()> {
        let place = self.idle.pop_front().expect("asked before");
        let mut bytes = std::mem::take(&mut self.connections[place].unsent);
        self.traffic.request(&mut bytes, self.number);
        self.connections[place].asked = Some((due, Instant::now(), self.number));
        self.number += 1;
        self.write(place, bytes)
    }

    fn write(&mut self, place: usize, fresh: Vec<u8>) -> anyhow::Result<()> {
        let connection = &mut self.connections[place];
        if !fresh.is_empty() {
            connection.unsent = fresh;
        }
        let written = match connection.stream.write(&connection.unsent) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return self.reconnect(place),
        };
        connection.unsent.drain(..written);
        if !connection.unsent.is_empty() {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().reregister(&mut connection.stream, Token(place), both)?;
        }
        Ok(())
    }

    fn read(&mut self, place: usize, scratch: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let connection = &mut self.connections[place];
            match connection.stream.read(scratch) {
                Ok(0) => return self.reconnect(place),
                Ok(count) => {
                    self.take(place, &scratch[..count])?;
                    // Less than there was room for: nothing is left, and asking costs a call.
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return self.reconnect(place),
            }
        }
    }

    /// Bytes that came in: an answer, or a part of one.
    fn take(&mut self, place: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let connection = &mut self.connections[place];
        let Some((due, sent, number)) = connection.asked else { bail!("an answer that nobody asked for") };
        let whole = if connection.unread.is_empty() {
            self.traffic.answer(bytes, number)?
        } else {
            connection.unread.extend_from_slice(bytes);
            self.traffic.answer(&connection.unread, number)?
        };
        let Some(answer) = whole else {
            if connection.unread.is_empty() {
                connection.unread.extend_from_slice(bytes);
            }
            return Ok(());
        };
        connection.unread.clear();
        connection.asked = None;
        let now = Instant::now();
        if now >= self.counted_from {
            let micros = |since: Instant| (now.saturating_duration_since(since).as_micros() as u64).max(1);
            self.seen.response.saturating_record(micros(due));
            self.seen.service.saturating_record(micros(sent));
            if (200..300).contains(&answer.status) {
                self.seen.granted.saturating_record(micros(sent));
            }
            *self.seen.statuses.entry(answer.status).or_default() += 1;
        }
        self.seen.wrong += u64::from(!answer.right);
        if answer.closes {
            return self.reconnect(place);
        }
        self.idle.push_back(place);
        Ok(())
    }

    fn reconnect(&mut self, place: usize) -> anyhow::Result<()> {
        let cut_off = self.connections[place].asked.is_some() && Instant::now() >= self.counted_from;
        self.seen.closed += u64::from(cut_off);
        self.connections[place] = self.connect(place)?;
        self.idle.push_back(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::traffic::Reserves;

    const STALL: Duration = Duration::from_millis(400);

    /// Answers each request after `takes`, but for a while in its life in which it answers none.
    fn stalling_service(connections: usize, takes: Duration) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let stalls_at = Instant::now() + Duration::from_millis(700);
            for stream in listener.incoming().take(connections) {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).is_ok_and(|count| count > 0) {
                        let now = Instant::now();
                        if now >= stalls_at && now < stalls_at + STALL {
                            thread::sleep(stalls_at + STALL - now);
                        }
                        thread::sleep(takes);
                        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                    }
                });
            }
        });
        address
    }

    fn measure(pace: Pace, takes: Duration) -> Seen {
        let connections = 4;
        let load = Load {
            address: stalling_service(connections, takes),
            connections,
            threads: 2,
            pace,
            warm_up: Duration::from_millis(300),
            time: Duration::from_secs(1),
            give_up: Duration::from_secs(5),
        };
        run(&load, |thread| Reserves::new("here", "drop", 1, thread, false), || {}).unwrap()
    }

    #[test]
    fn a_stall_is_charged_for_everybody_who_would_have_asked() {
        let seen = measure(Pace::PerSecond(400.0), Duration::ZERO);
        // Due during the stall are 160 of 400, of which 120 for more than 100 ms; sent just before it, one a connection.
        // Answers to what was due just before the time begins may fall into it.
        let late = |times: &Histogram<u64>| times.count_between(100_000, 120_000_000);
        assert!(seen.answers() <= 420, "{} were due", seen.answers());
        assert!(late(&seen.response) > 80, "{} from when they were due", late(&seen.response));
        assert!(late(&seen.service) * 4 < late(&seen.response), "{} from when they were sent", late(&seen.service));
    }

    #[test]
    fn a_closed_loop_asks_as_fast_as_it_is_answered_and_hides_the_stall() {
        let seen = measure(Pace::AsAnswered, Duration::ZERO);
        assert!(seen.answers() > 400, "{}", seen.answers());
        assert!(seen.response.count_between(100_000, 120_000_000) * 20 < seen.answers());
        assert_eq!((seen.wrong, seen.closed, seen.given_up), (0, 0, 0));
    }
    #[test]
    fn under_overload_all_that_is_answered_in_the_time_counts() {
        // Four connections, 5 ms an answer: 800 a second but for the stall, of 8,000 that are due.
        let seen = measure(Pace::PerSecond(8000.0), Duration::from_millis(5));
        assert!((200..=500).contains(&seen.answers()), "{}", seen.answers());
        assert!(seen.response.min() > 250_000, "what is answered then was due long before: {}", seen.response.min());
        assert!(seen.service.value_at_quantile(0.5) < 100_000, "{}", seen.service.value_at_quantile(0.5));
    }
}
