//! Which threads go first. The kernel's usual scheduling is fair, and fair is not what is wanted here: a thread that wakes
//! waits until the one that runs has had its slice, milliseconds, whatever their nice values are (EEVDF; seen on Linux 6.18).

use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Makes the calling thread run at once when it is woken, where that is allowed (RLIMIT_RTPRIO, CAP_SYS_NICE). The journal's
/// work is short and every durable answer waits for it: on a machine without an idle core it would first wait
/// for a worker's turn to end, milliseconds with a batch in it.
pub fn go_before_requests() {
    let first = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, first) {
        tracing::debug!(%error, "the journal's thread runs at the priority of the others");
    }
}

/// Makes the calling thread take only what processor time the others leave, and leave it at once when another wakes: in a
/// spike the store may lag, and requests may not.
pub fn yield_to_requests() {
    let last = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, last) {
        tracing::warn!(%error, "a background thread runs at the priority of the others");
    }
}
