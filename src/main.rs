//! The `flowbench` command: one call into `cli/`.

fn main() -> std::process::ExitCode {
    flowbench::cli::main()
}
