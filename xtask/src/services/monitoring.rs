//! What watches the shop: Prometheus, Alertmanager and the exporters, from Debian packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::install::{Bundle, Programs, cache, write_launcher};

/// Tells the tests in which folder the programs are, which they start themselves.
const VARIABLE: &str = "HOLDFAST_TEST_PROMETHEUS";

/// Debian 12 has an exporter for MySQL that asks only one server.
const MONITORING: Bundle = Bundle {
    title: "Prometheus, Alertmanager and exporters",
    name: "prometheus",
    // Each has a program of its own name.
    packages: &[
        "prometheus",
        "promtool",
        "prometheus-alertmanager",
        "prometheus-blackbox-exporter",
        "prometheus-mysqld-exporter",
        "prometheus-node-exporter",
        "prometheus-redis-exporter",
    ],
    suite: Some("trixie"),
};

/// The variable that names the folder for the tests: what the environment says, or else one with programs that start
/// ours.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<(String, String), String> {
    let given = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let folder =
        given.map_or_else(|| Ok(launchers(&programs(true)?)?.display().to_string()), Ok::<_, String>)?;
    Ok((VARIABLE.to_owned(), folder))
}

/// The programs, fetched if need be. With `check`, packages that are there already are compared with their sums.
///
/// # Errors
/// One line that says what is missing.
pub fn programs(check: bool) -> Result<Programs, String> {
    let present = if check { None } else { MONITORING.present() };
    present.map_or_else(|| MONITORING.install(), Ok).map_err(|error| {
        format!(
            "{} are not to be had here: {error}; install them yourself and name their folder in {VARIABLE}",
            MONITORING.title
        )
    })
}

/// A command that runs one of them, by the name of its package.
pub fn command(programs: &Programs, name: &str) -> Command {
    let command = programs.command(&format!("usr/bin/{name}"));
    match programs {
        // Debian's looks for its templates in one place, where they are put for this process alone.
        Programs::Unpacked { root, .. } if name == "prometheus-alertmanager" => {
            let script = "mount -t overlay -o \"lowerdir=$0:/usr/share\" overlay /usr/share && exec \"$@\"";
            let mut with_templates = Command::new("unshare");
            with_templates.args(["--map-root-user", "--mount", "sh", "-c", script]);
            with_templates.arg(root.join("usr/share")).arg(command.get_program()).args(command.get_args());
            with_templates
        }
        _ => command,
    }
}

fn launchers(programs: &Programs) -> Result<PathBuf, String> {
    let folder = cache()?.join(MONITORING.name).join("bin");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let write = |name: &&str| write_launcher(&command(programs, name), &folder.join(name));
    MONITORING.packages.iter().try_for_each(write)?;
    Ok(folder)
}
