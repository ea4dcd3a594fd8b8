//! A browser for the tests, and what drives it: Chromium and Node.js of the machine, or Debian's, and the packages that
//! `tests/browser/` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::wait::{DOWNLOAD_LIMIT, LIMIT, lock, output};

/// Tells the tests which browser to start.
const VARIABLE: &str = "HOLDFAST_TEST_CHROMIUM";

const BROWSER: &str = "chromium";

/// The programs that are needed, each with Debian's package of it.
const PROGRAMS: [(&str, &str); 3] = [(BROWSER, "chromium"), ("node", "nodejs"), ("npm", "npm")];

/// What the packages of `tests/browser/` run on.
const NODE_VERSION_MIN: [u32; 2] = [18, 19];

/// Has all of it, and says which variable the tests need.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<(String, String), String> {
    let advice = "install Chromium, and Node.js 18.19 or later with npm, yourself";
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.is_empty()).map(PathBuf::from);
    // Only those: a Node.js from elsewhere brings its own npm, and shuts out Debian's.
    let is_missing = |program| on_path(program).is_none() && !(program == BROWSER && given.is_some());
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| is_missing(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        install(&missing).map_err(|error| format!("a browser for the tests: {error}; {advice}"))?;
    }
    let [major, minor] = node_version().ok_or_else(|| format!("node does not say its version; {advice}"))?;
    if [major, minor] < NODE_VERSION_MIN {
        return Err(format!("Node.js {major}.{minor} is too old; {advice}"));
    }
    let browser = given.or_else(|| on_path(BROWSER));
    let browser = browser.ok_or_else(|| format!("chromium is not there; {advice}"))?;
    packages(&crate::root().join("tests/browser"))?;
    Ok((VARIABLE.to_owned(), browser.to_string_lossy().into_owned()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn node_version() -> Option<[u32; 2]> {
    let printed = output(Command::new("node").arg("--version"), "node --version", LIMIT).ok()?;
    let mut numbers = printed.trim().trim_start_matches('v').split('.').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// A browser is many processes that start one another by name, so it is installed and not only unpacked.
fn install(packages: &[&str]) -> Result<(), String> {
    println!("installing {} with apt-get …", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]).args(arguments);
        output(&mut command, "apt-get", DOWNLOAD_LIMIT)
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], packages].concat()).map(drop)
}

/// The packages as the lock file names them, unless they are there already.
fn packages(folder: &Path) -> Result<(), String> {
    let wanted = folder.join("package-lock.json");
    let wanted = fs::read(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let there = folder.join("node_modules/.installed-from");
    let _lock = lock(&crate::target().join("browser"), DOWNLOAD_LIMIT)?;
    if fs::read(&there).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    println!("installing what drives the browser …");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
    output(&mut npm, "npm ci in tests/browser", DOWNLOAD_LIMIT)?;
    fs::write(&there, wanted).map_err(|error| format!("{}: {error}", there.display()))
}
