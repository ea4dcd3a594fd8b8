//! Development tasks: `cargo xtask test` is what has to pass before a change lands.

use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test
  test   format check, clippy with warnings as errors, all tests";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => run(&[
            &["fmt", "--all", "--check"],
            &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"],
            &["test", "--workspace", "--quiet"],
        ]),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs each cargo command until one fails.
fn run(commands: &[&[&str]]) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the repository");
    for arguments in commands {
        println!("cargo {}", arguments.join(" "));
        match Command::new(env!("CARGO")).args(*arguments).current_dir(root).status() {
            Ok(status) if status.success() => {}
            Ok(_) => return ExitCode::FAILURE,
            Err(error) => {
                eprintln!("cargo could not be started: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
