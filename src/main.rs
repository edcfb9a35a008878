//! The program: everything is in the library, so that tests and benches see the same code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let signals = doorbuster::cli::Signals::take_if_serving();
    stop_at_a_broken_invariant();
    doorbuster::cli::run(signals)
}

/// A panic is a broken invariant: the process aborts at once, whichever thread panicked, so it neither answers nor writes
/// anything that rests on the invariant. The journal has everything that was acknowledged.
fn stop_at_a_broken_invariant() {
    std::panic::set_hook(Box::new(|panic| {
        // Not the standard hook: it blocks if nobody reads standard error, and the process must end either way.
        doorbuster::cli::tell_panic(panic);
        std::process::abort();
    }));
}
