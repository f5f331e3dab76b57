//! Parses, dispatches, maps the outcome to an exit code; nothing else.

/// Of this program, not of the library: what links that has an allocator of its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ikelab::cli::main()
}
