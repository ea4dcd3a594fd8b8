//! What watches the shop: the rules, and Prometheus and Alertmanager themselves, which look at a shop that sells.

mod cluster_run;
mod dashboards;
mod monitoring;
mod rules;
mod run;

use std::path::{Path, PathBuf};

/// Names the folder of the programs; `cargo xtask test` has one.
const FOLDER: &str = "HOLDFAST_TEST_PROMETHEUS";

/// A program, by Debian's name.
fn program(name: &str) -> PathBuf {
    let folder = std::env::var(FOLDER).unwrap_or_default();
    assert!(
        !folder.is_empty(),
        "{FOLDER} names no folder with Prometheus, promtool and Alertmanager: `cargo xtask test` sets it, or \
         install Debian's packages prometheus, promtool and prometheus-alertmanager and set it to /usr/bin"
    );
    Path::new(&folder).join(name)
}

/// A file or folder of the project.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
