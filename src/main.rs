//! The command `loco`.

fn main() -> std::process::ExitCode {
    locollm::cli::main()
}
