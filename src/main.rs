//! The process and nothing else; [`wxgate::cli`] knows the commands.

/// musl's own allocator is slow: benches/README.md, "What was tried".
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    wxgate::cli::main()
}
