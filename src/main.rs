//! The process and nothing else; [`wxgate::cli`] knows the commands.

fn main() -> std::process::ExitCode {
    wxgate::cli::main()
}
