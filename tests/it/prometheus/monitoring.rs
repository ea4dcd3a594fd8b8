//! A real Prometheus and a real Alertmanager with the shipped settings, in a hurry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{program, shipped};
use crate::support::process::{PATIENCE, Site, Starting};
use crate::support::{free_address, wait_for};

/// What the shipped rules look back over, and the fraction of it that a test has time for.
const WINDOWS: [(&str, &str); 6] = [
    ("[1m]", "[5s]"),
    ("[5m]", "[10s]"),
    ("[30m]", "[20s]"),
    ("[1h]", "[30s]"),
    ("[4h]", "[40s]"),
    ("[6h]", "[40s]"),
];

/// Longer than figures, and alerts that come and go, take in a hurry.
const SETTLED: Duration = Duration::from_secs(120);

/// Copies the shipped settings of Prometheus, each file through `change`, which gets its name.
pub fn copy_settings(folder: &Path, change: impl Fn(&str, String) -> String) {
    fs::create_dir(folder.join("rules")).expect("a folder for rules");
    for name in ["prometheus.yml", "rules/recording.yml", "rules/alerts.yml"] {
        let text = fs::read_to_string(shipped("deploy/prometheus").join(name)).expect("a shipped file");
        fs::write(folder.join(name), change(name, text)).expect("the file is written");
    }
}

/// The settings with everything that takes minutes taking seconds.
fn hurried(name: &str, text: String) -> String {
    let text = WINDOWS.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let line = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if name.ends_with("alerts.yml") => format!("{indent}for: 1s\n"),
        _ => format!("{}\n", line.replace("_interval: 5s", "_interval: 1s")),
    };
    text.lines().map(line).collect()
}

/// A running Prometheus with its Alertmanager. Killed when dropped.
pub struct Monitoring {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    processes: [Starting; 2],
}

/// A value with its labels.
pub type Sample = (BTreeMap<String, String>, f64);

impl Monitoring {
    /// Watches these targets, beside itself. What it writes is put into the site's folder.
    pub async fn start(site: &Site, mut targets: Vec<Value>) -> Self {
        let folder = site.path("monitoring");
        fs::create_dir(&folder).expect("a folder of its own");
        copy_settings(&folder, hurried);
        let (prometheus, alertmanager) = (free_address(), free_address());
        targets.push(target("prometheus", &[prometheus.to_string()]));
        targets.push(target("alertmanager", &[alertmanager.to_string()]));
        // JSON is YAML.
        fs::write(folder.join("targets.yml"), Value::from(targets).to_string()).expect("targets");
        let start = |name: &str, options: &[String]| {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            site.program(program(name).to_str().expect("a path in UTF-8"), &options).start()
        };
        let shipped = shipped("deploy/alertmanager/alertmanager.yml");
        let processes = [
            start(
                "prometheus-alertmanager",
                &[
                    format!("--config.file={}", shipped.display()),
                    format!("--storage.path={}", folder.join("alertmanager").display()),
                    format!("--web.listen-address={alertmanager}"),
                    "--cluster.listen-address=".to_owned(),
                ],
            ),
            start(
                "prometheus",
                &[
                    format!("--config.file={}", folder.join("prometheus.yml").display()),
                    format!("--storage.tsdb.path={}", folder.join("data").display()),
                    format!("--web.listen-address={prometheus}"),
                ],
            ),
        ];
        for address in [alertmanager, prometheus] {
            wait_for("Prometheus and Alertmanager to be ready", PATIENCE, async || is_ready(address).await)
                .await;
        }
        Self { prometheus, alertmanager, processes }
    }

    /// What an expression says now.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let data = self.ask(&format!("/api/v1/query?query={}", escaped(expression))).await;
        let samples = data["result"].as_array().unwrap_or_else(|| panic!("{expression}: {data}"));
        samples.iter().map(sample).collect()
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = get(self.prometheus, path).await.unwrap_or_else(|| panic!("Prometheus refuses {path}"));
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["data"].clone()
    }

    /// The one value of an expression, if it has one.
    pub async fn value(&self, expression: &str) -> Option<f64> {
        let samples = self.query(expression).await;
        assert!(samples.len() < 2, "{expression} has many values: {samples:?}");
        samples.first().map(|(_, value)| *value)
    }

    /// Waits until an expression says something that `is_so`.
    pub async fn until(&self, what: &str, expression: &str, is_so: impl Fn(&[Sample]) -> bool) {
        wait_for(what, SETTLED, async || is_so(&self.query(expression).await)).await;
    }

    /// Waits until so many targets show their figures.
    pub async fn until_all_are_up(&self, count: usize) {
        let all = |up: &[Sample]| up.len() == count && up.iter().all(|(_, value)| *value == 1.0);
        self.until("all targets to be up", "up", all).await;
    }

    /// Rules that cannot be evaluated, with the reason.
    pub async fn broken_rules(&self) -> Vec<String> {
        let data = self.ask("/api/v1/rules").await;
        let groups = data["groups"].as_array().expect("groups of rules").clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone());
        let broken = rules.filter(|rule| rule["health"] != "ok");
        broken.map(|rule| format!("{}: {}", rule["name"], rule["lastError"])).collect()
    }

    /// Names of the alerts that Alertmanager has on its list.
    pub async fn alerts(&self) -> BTreeSet<String> {
        let alerts =
            get(self.alertmanager, "/api/v2/alerts?active=true").await.expect("Alertmanager answers");
        let alerts: Vec<Value> = serde_json::from_slice(&alerts).expect("a list of alerts");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().expect("a name").to_owned();
        alerts.iter().map(name).collect()
    }

    /// Waits until Alertmanager has an alert on its list, or no longer has it.
    pub async fn until_alert(&self, name: &str, is_there: bool) {
        let what = format!("{name} to {}", if is_there { "fire" } else { "be over" });
        wait_for(&what, SETTLED, async || self.alerts().await.contains(name) == is_there).await;
    }

    /// Ends both.
    pub async fn stop(self) {
        for process in self.processes {
            process.kill().await;
        }
    }
}

/// Who shows figures of their own, as an entry of `targets.yml`.
pub fn target(job: &str, addresses: &[String]) -> Value {
    json!({"labels": {"job": job}, "targets": addresses})
}

/// Who is asked by an exporter.
pub fn target_of(exporter: SocketAddr, path: &str, module: &str, job: &str, addresses: &[String]) -> Value {
    let mut target = target(job, addresses);
    target["labels"]["__exporter__"] = exporter.to_string().into();
    target["labels"]["__metrics_path__"] = path.into();
    target["labels"]["__param_module"] = module.into();
    target
}

async fn is_ready(address: SocketAddr) -> bool {
    get(address, "/-/ready").await.is_some()
}

/// What it answers, if it does and is content. Answers may come in pieces and be long, which curl knows about.
async fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "20", &format!("http://{address}{path}")]);
    let output = curl.stdin(Stdio::null()).output().await.expect("curl starts");
    output.status.success().then_some(output.stdout)
}

fn sample(sample: &Value) -> Sample {
    let labels = sample["metric"].as_object().expect("labels").iter();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()));
    let value = sample["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number");
    (labels.collect(), value)
}

/// As it stands in a URL.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
