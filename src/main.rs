//! Parses, dispatches, maps the outcome to an exit code; nothing else.

fn main() -> std::process::ExitCode {
    ikelab::cli::main()
}
