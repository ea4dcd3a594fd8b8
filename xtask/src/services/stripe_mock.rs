//! Stripe's own mock server, built from its Go module into the user's cache folder. Tests start it themselves.

use std::fs;
use std::process::Command;

use super::install::cache;
use super::wait::{DOWNLOAD_LIMIT, lock, output};

/// Tells the tests where it is.
const VARIABLE: &str = "HOLDFAST_TEST_STRIPE_MOCK";

const MODULE: &str = "github.com/stripe/stripe-mock";
const VERSION: &str = "v0.203.0";

/// The variable that names the program: what the environment says, or else one that is built if it was not before.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<(String, String), String> {
    if let Some(given) = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()) {
        return Ok((VARIABLE.to_owned(), given));
    }
    let folder = cache()?.join(format!("stripe-mock-{VERSION}"));
    let program = folder.join("stripe-mock");
    let _lock = lock(&folder, DOWNLOAD_LIMIT)?;
    if !program.exists() {
        println!("# building Stripe's mock server {VERSION}");
        // It gets its name when it is complete.
        let part = folder.join("part");
        let mut go = Command::new("go");
        go.args(["install", &format!("{MODULE}@{VERSION}")]).env("GOBIN", &part).env("GOFLAGS", "-mod=mod");
        let built = output(&mut go, "go, which builds Stripe's mock server,", DOWNLOAD_LIMIT);
        built.map_err(|error| format!("{error}; or name the program in {VARIABLE}"))?;
        fs::rename(part.join("stripe-mock"), &program)
            .map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok((VARIABLE.to_owned(), program.display().to_string()))
}
