//! Development tasks: `cargo xtask test` is what has to pass before a change lands.

mod startup;

use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test|startup
  test      format check, clippy with warnings as errors, all tests
  startup   how long a shop with a million past orders takes to open";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => run(&[
            &["fmt", "--all", "--check"],
            &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"],
            &["test", "--workspace", "--quiet"],
        ]),
        ["startup"] => {
            if run(&[&["build", "--release", "--quiet"]]) == ExitCode::FAILURE {
                return ExitCode::FAILURE;
            }
            startup::run(root()).map_or_else(
                |error| {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            )
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the repository")
}

/// Runs each cargo command until one fails.
fn run(commands: &[&[&str]]) -> ExitCode {
    for arguments in commands {
        println!("cargo {}", arguments.join(" "));
        match Command::new(env!("CARGO")).args(*arguments).current_dir(root()).status() {
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
