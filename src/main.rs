//! The program: everything is in the library, so that tests and benches see the same code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let signals = doorbuster::cli::Signals::take_if_serving();
    stop_at_a_broken_invariant();
    doorbuster::cli::run(signals)
}

/// A panic is a broken invariant: the process ends there and then, on whichever thread it was, and nothing that rests on
/// the invariant is answered or written any more. The journal has what was acknowledged.
fn stop_at_a_broken_invariant() {
    std::panic::set_hook(Box::new(|panic| {
        // Not by the standard hook: it waits for whoever reads standard error, and the process must end either way.
        doorbuster::cli::tell_panic(panic);
        std::process::abort();
    }));
}
