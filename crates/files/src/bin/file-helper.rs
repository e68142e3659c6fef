//! The helper as a program of its own, for tests; users have it as a hidden subcommand.

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> =
        std::env::args_os().skip_while(|argument| argument != "file-helper").skip(1).collect();
    files::appliance::run(&arguments)
}
