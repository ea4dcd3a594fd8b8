//! `cargo xtask lab smoke`: the lab from nothing, two minutes of faults under load, and away with it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::placement::{PLACES, SHARED};
use super::{Lab, network, shop};

/// Seconds between two faults, and in all.
const EVERY_S: &str = "30";
const FOR_S: &str = "120";

/// The same faults each time, so that what fails can be looked at: app-2, app-1 and db-1 are cut off. Whoever wants others
/// drills a lab with deploy/lab/soak.toml.
const SEED: &str = "3879235330";

/// Requests a second: two processors have the development build of everything to run.
const RATE: &str = "60";

/// Whether this machine lets us try. Whatever does not belong to a lab of ours is left alone.
///
/// # Errors
/// One line that says why not.
pub fn check() -> Result<(), String> {
    network::check()?;
    network::try_namespace()
}

/// Has six servers made, lets them lose hosts while customers buy, and fails unless every promise was kept.
///
/// # Errors
/// What went wrong first, in one line; the lab is gone also then.
pub fn run() -> Result<(), String> {
    let state = crate::target().join("lab-smoke");
    if Lab::new()?.processes().any(|(_, process)| process.pid().is_some()) {
        return Err("a lab is running: `cargo xtask lab down` comes first".to_owned());
    }
    if state.exists() {
        fs::remove_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
    }
    let lab = Lab::at(state)?;
    let passed = lab.up(true).and_then(|()| drill(&lab.state));
    if let Err(error) = &passed {
        eprintln!("{error}; logs and history are in {}", lab.state.display());
    }
    // Both are told, but a broken promise matters more.
    let gone = lab.down();
    passed.and(gone)
}

fn drill(state: &Path) -> Result<(), String> {
    let text = |path: PathBuf| path.display().to_string();
    let faults = text(crate::root().join("deploy/lab/soak.toml"));
    let (config, ca) = (text(shop::config(state)), text(state.join("tls/tls.crt")));
    let history = text(state.join("drill.jsonl"));
    let target = format!("https://{SHARED}");
    let arguments = [
        "drill",
        "--target",
        &target,
        "--ca",
        &ca,
        "--config",
        &config,
        "--faults",
        &faults,
        "--history",
        &history,
        "--every",
        EVERY_S,
        "--for",
        FOR_S,
        "--rate",
        RATE,
        "--seed",
        SEED,
    ];
    println!("six servers, {} processes, for {FOR_S} s", PLACES.len());
    // The program that the lab runs. Commands of faults have to find this lab.
    let mut drill = Command::new(shop::program(state)?);
    drill.args(arguments).env("HOLDFAST_LAB_DIR", state).current_dir(crate::root());
    let status = drill.status().map_err(|error| format!("the drill could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err("the drill failed".to_owned()) }
}
