//! The program: everything is in the library, so that tests and benches see the same code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    doorbuster::cli::run()
}
