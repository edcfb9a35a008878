//! Scheduling classes of threads.
//!
//! The kernel's default class is fair, which is wrong here: a thread that wakes waits until the running one has used its slice
//! of some milliseconds, whatever their nice values (Linux 6.6 and later: even the lowest keeps its slice). So there are three
//! classes: the journal, for which every durable answer waits; requests; and work that may lag.

use rustix::process::setpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Where the first class is not allowed.
const NICE: i32 = -10;

/// Makes the calling thread run at once when it is woken, where that is allowed (RLIMIT_RTPRIO, CAP_SYS_NICE), or at least
/// sooner than others (RLIMIT_NICE). The journal's work is short: on a machine without an idle core it would first wait for a
/// worker's turn to end, milliseconds with a batch in it.
pub(super) fn go_before_requests() {
    let first = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let Err(denied) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, first) else { return };
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%denied, %error, "could not raise the priority of the journal's thread");
    }
}

/// Makes the calling thread take a small share of processor time, and keep it for as long as others would: for one that
/// takes locks which requests wait for, and must not be stopped while it has them.
pub(super) fn run_beside_requests() {
    const NICEST: i32 = 19;
    if let Err(error) = setpriority_process(None, NICEST) {
        tracing::warn!(%error, "could not lower the priority of a background thread");
    }
}

/// Makes the calling thread take only what processor time the others leave, and leave it at once when another wakes: in a
/// spike the store may lag, and requests may not.
pub(crate) fn yield_to_requests() {
    let last = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, last) {
        tracing::warn!(%error, "could not lower the priority of a background thread");
    }
}

/// Makes the calling thread one like others again: for the last work before the service stops, which should not wait for what other
/// programs do.
pub(super) fn yield_no_longer() {
    let usual = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, usual) {
        tracing::debug!(%error, "could not raise the priority of a background thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_lag_is_in_the_idle_class_and_others_are_not() {
        let class = || thread_priority::thread_schedule_policy().unwrap();
        let of = |prepare: fn()| {
            std::thread::spawn(move || {
                prepare();
                class()
            })
        };
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(of(yield_to_requests).join().unwrap(), idle);
        let usual = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        let again = || {
            yield_to_requests();
            yield_no_longer();
        };
        assert_eq!(of(again).join().unwrap(), usual);
        assert_eq!(of(run_beside_requests).join().unwrap(), usual);
        // Without the privilege it stays what it was.
        let first = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        let got = of(go_before_requests).join().unwrap();
        assert!(got == first || got == usual, "{got:?}");
    }
}
