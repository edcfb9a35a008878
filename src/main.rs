//! The program: everything is in the library, so that tests and benches see the same code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    stop_at_a_broken_invariant();
    doorbuster::cli::run()
}

/// A panic is a broken invariant: the process ends there and then, on whichever thread it was, and nothing that rests on
/// the invariant is answered or written any more. The journal has what was acknowledged.
fn stop_at_a_broken_invariant() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
