//! Development tasks: `cargo xtask test` is what has to pass before a change lands.

#[cfg(test)]
mod containers;
mod lab;
mod services;
mod startup;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test|services|lab|startup
  test                    format check, clippy with warnings as errors, all tests, with MySQL, Redis and Kafka too
  test --embedded         the same without what needs a service";
const USAGE_OF_STARTUP: &str =
    "  startup                 how long a shop with a million past orders takes to open";

/// Which back ends the tests of the shop run over.
const PROFILE: &str = "HOLDFAST_TEST_PROFILE";

const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"],
];

// Every command names the whole workspace: cargo gives libraries the features that the packages of one command need
// together, and would build nearly everything once more for another choice of packages.

/// Everything once, the shop over its embedded database.
const ALL_TESTS: &[&[&str]] = &[&[
    "test",
    "--workspace",
    "--quiet",
    "--",
    "--skip",
    "outages",
    "--skip",
    "overload",
    "--skip",
    "chromium",
]];

/// What also runs over MySQL and Redis.
const CLUSTER_TESTS: &[&[&str]] =
    &[&["test", "--workspace", "--quiet", "--test", "it", "--", "api::", "pages::", "saga::"]];

/// What drives a browser: alone, because it measures time.
const BROWSER_TESTS: &[&[&str]] =
    &[&["test", "--workspace", "--quiet", "--test", "it", "--", "chromium", "--test-threads=1"]];
const BROWSER_STORIES: &[&[&str]] =
    &[&["test", "--workspace", "--quiet", "--test", "it", "--", "chromium::stories", "--test-threads=1"]];

/// What stops the services that everybody else uses, or asks for more than there is: alone, and one after the other.
const OUTAGE_TESTS: &[&[&str]] =
    &[&["test", "--workspace", "--quiet", "--test", "it", "--", "outages", "overload", "--test-threads=1"]];

/// What needs no service. Tests that need one live in modules whose name says `cluster`, `stripe_mock`, `balancer`,
/// `chromium` or `prometheus`.
const EMBEDDED_TESTS: &[&[&str]] = &[&[
    "test",
    "--workspace",
    "--quiet",
    "--",
    "--skip",
    "cluster",
    "--skip",
    "stripe_mock",
    "--skip",
    "balancer",
    "--skip",
    "chromium",
    "--skip",
    "prometheus",
]];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["test"] => test(),
        ["test", "--embedded"] => test_embedded(),
        ["startup"] => measure_startup(),
        ["services", ref arguments @ ..] => match services::run(arguments) {
            Some(code) => return code,
            None => return explain(),
        },
        ["lab", ref arguments @ ..] => match lab::run(arguments) {
            Some(code) => return code,
            None => return explain(),
        },
        _ => return explain(),
    };
    result.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn explain() -> ExitCode {
    eprintln!("{USAGE}\n{}\n{}\n{USAGE_OF_STARTUP}", services::USAGE, lab::USAGE);
    ExitCode::from(2)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the repository")
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn test() -> Result<(), String> {
    run(CHECKS, &[])?;
    let services = services::ensure()?;
    let passed = run(ALL_TESTS, &services.environment)
        .and_then(|()| run(BROWSER_TESTS, &services.environment))
        .and_then(|()| test_cluster(&services.environment))
        .and_then(|()| run(OUTAGE_TESTS, &services.environment));
    // Both are told, but a failed test matters more.
    let stopped = services.stop();
    passed.and(stopped)?;
    test_lab()
}

/// The six servers, where this machine allows network namespaces.
fn test_lab() -> Result<(), String> {
    match lab::smoke::check() {
        Ok(()) => lab::smoke::run(),
        Err(error) => {
            println!("\nWARNING: SIX SERVERS WERE NOT TRIED HERE: {error}\n");
            Ok(())
        }
    }
}

/// The second pass: the same tests of the shop, over MySQL and Redis.
fn test_cluster(environment: &[(String, String)]) -> Result<(), String> {
    let profile = (PROFILE.to_owned(), "cluster".to_owned());
    let environment = [environment, &[profile]].concat();
    run(CLUSTER_TESTS, &environment)?;
    run(BROWSER_STORIES, &environment)
}

fn test_embedded() -> Result<(), String> {
    run(CHECKS, &[])?;
    run(EMBEDDED_TESTS, &[(PROFILE.to_owned(), "embedded".to_owned())])
}

fn measure_startup() -> Result<(), String> {
    run(&[&["build", "--release", "--quiet"]], &[])?;
    startup::run(root()).map_err(|error| error.to_string())
}

/// Runs each cargo command until one fails.
fn run(commands: &[&[&str]], environment: &[(String, String)]) -> Result<(), String> {
    for arguments in commands {
        let line = format!("cargo {}", arguments.join(" "));
        println!("{line}");
        let variables = environment.iter().map(|(name, value)| (name, value));
        let status =
            Command::new(env!("CARGO")).args(*arguments).envs(variables).current_dir(root()).status();
        let status = status.map_err(|error| format!("{line} could not be started: {error}"))?;
        if !status.success() {
            return Err(format!("{line} failed"));
        }
    }
    Ok(())
}
