//! What watches the lab: Prometheus, Alertmanager and the exporters, with the settings in `deploy/prometheus/` and
//! `deploy/alertmanager/`.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::placement::{HOSTS, process};
use crate::services::process::Process;
use crate::services::wait::{LIMIT, output};
use crate::services::{Service, monitoring, mysql};

const NAMES: [&str; 11] = [
    "alertmanager",
    "mysqld-exporter",
    "redis-exporter",
    "blackbox-exporter",
    "node-exporter-1",
    "node-exporter-2",
    "node-exporter-3",
    "node-exporter-4",
    "node-exporter-5",
    "node-exporter-6",
    "prometheus",
];

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What the shipped rules look back over, and what they do where somebody waits for them. The shortest comes first.
const WINDOWS: [(&str, &str); 6] = [
    ("[1m]", "[15s]"),
    ("[5m]", "[30s]"),
    ("[30m]", "[1m]"),
    ("[1h]", "[1m]"),
    ("[4h]", "[2m]"),
    ("[6h]", "[2m]"),
];

/// How long the rules look back and wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As they are shipped.
    Shipped,
    /// Seconds instead of minutes.
    Hurried,
}

pub struct Watch {
    deploy: PathBuf,
    processes: [Process; NAMES.len()],
}

impl Watch {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        Self { deploy: deploy.to_owned(), processes: NAMES.map(|name| process(name, state)) }
    }

    /// Lets the rules of the running Prometheus look back and wait in another way.
    ///
    /// # Errors
    /// It does not take them.
    pub fn set_pace(&self, pace: Pace) -> Result<(), String> {
        let prometheus = self.processes.iter().find(|process| process.name == "prometheus");
        let Some(prometheus) = prometheus else { return Ok(()) };
        self.write_settings(prometheus, pace)?;
        let url = format!("http://{}/-/reload", prometheus.address());
        let mut curl = Command::new("curl");
        output(
            curl.args(["--silent", "--show-error", "--fail", "--request", "POST", &url]),
            "Prometheus",
            LIMIT,
        )
        .map(drop)
    }

    /// Gives Prometheus its settings, in which hosts have addresses instead of names.
    fn write_settings(&self, prometheus: &Process, pace: Pace) -> Result<(), String> {
        let (from, to) = (self.deploy.join("prometheus"), prometheus.data());
        let addresses = |text: String| {
            HOSTS.iter().fold(text, |text, host| {
                text.replace(&format!("\"{}:", host.name), &format!("\"{}:", host.address))
            })
        };
        let copy = |name: &str, as_name: &str| {
            let text = addresses(fs::read_to_string(from.join(name))?);
            let text = if pace == Pace::Hurried && name.starts_with("rules") { hurried(&text) } else { text };
            fs::write(to.join(as_name), text)
        };
        fs::create_dir_all(to.join("rules"))
            .and_then(|()| copy("targets/six.yml", "targets.yml"))
            .and_then(|()| copy("prometheus.yml", "prometheus.yml"))
            .and_then(|()| copy("rules/recording.yml", "rules/recording.yml"))
            .and_then(|()| copy("rules/alerts.yml", "rules/alerts.yml"))
            .map_err(|error| format!("settings of Prometheus: {error}"))
    }

    fn command(&self, process: &Process) -> Result<Command, String> {
        let programs = monitoring::programs(false)?;
        let listen = format!("--web.listen-address={}", process.address());
        let in_data = |option: &str, name: &str| format!("{option}={}", process.data().join(name).display());
        let shipped = |path: &str| format!("--config.file={}", self.deploy.join(path).display());
        let mut command = match process.name {
            "prometheus" => {
                self.write_settings(process, Pace::Shipped)?;
                let mut command = monitoring::command(&programs, "prometheus");
                command
                    .arg(in_data("--config.file", "prometheus.yml"))
                    .arg(in_data("--storage.tsdb.path", "data"));
                command.arg("--web.enable-lifecycle");
                command
            }
            "alertmanager" => {
                let mut command = monitoring::command(&programs, "prometheus-alertmanager");
                command.arg(shipped("alertmanager/alertmanager.yml")).arg(in_data("--storage.path", "data"));
                command.arg("--cluster.listen-address=");
                command
            }
            "mysqld-exporter" => {
                let mut command = monitoring::command(&programs, "prometheus-mysqld-exporter");
                command.env("MYSQLD_EXPORTER_PASSWORD", mysql::MONITOR_PASSWORD);
                // It would take root's own settings.
                command.arg(in_data("--config.my-cnf", "none")).args([
                    "--mysqld.username=monitor",
                    "--tls.insecure-skip-verify",
                    "--collect.slave_status",
                    "--collect.perf_schema.replication_group_members",
                    "--collect.perf_schema.replication_applier_status_by_worker",
                ]);
                command
            }
            "redis-exporter" => {
                let mut command = monitoring::command(&programs, "prometheus-redis-exporter");
                command.env("REDIS_ADDR", "").arg("--is-cluster");
                command
            }
            "blackbox-exporter" => {
                let mut command = monitoring::command(&programs, "prometheus-blackbox-exporter");
                command.arg(shipped("prometheus/blackbox.yml"));
                command
            }
            _ => monitoring::command(&programs, "prometheus-node-exporter"),
        };
        command.arg(listen);
        Ok(command)
    }
}

/// Rules that look back and wait for seconds.
fn hurried(rules: &str) -> String {
    let rules = WINDOWS.iter().fold(rules.to_owned(), |rules, (from, to)| rules.replace(from, to));
    let line = |line: &str| match line.split_once("for: ") {
        Some((indent, wait)) if wait.ends_with(['s', 'm', 'h']) && indent.trim().is_empty() => {
            format!("{indent}for: 5s\n")
        }
        _ => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

impl Service for Watch {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        if self.processes.iter().any(|process| process.pid().is_none()) {
            monitoring::programs(true)?;
        }
        self.start_stopped()
    }

    fn start(&self, process: &Process) -> Result<(), String> {
        process.spawn(&self.command(process)?)?;
        process.wait_until("to listen", || self.role(process).is_some())
    }

    fn role(&self, process: &Process) -> Option<&'static str> {
        TcpStream::connect_timeout(&process.address(), ANSWER_LIMIT).is_ok().then_some("watches")
    }
}
