//! Reads the text format of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::telemetry::metrics::all;

use crate::support::http_client::Client;
use crate::support::process::Server;

/// What a server has shown.
pub struct Exposition {
    /// By name and labels, as they are written.
    values: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    helped: BTreeSet<String>,
}

impl Exposition {
    /// What the server shows now.
    pub async fn of(server: &Server) -> Self {
        let answer = Client::new(server.address(), None).get("/metrics").await.expect(200);
        let text = answer.text();
        let (mut values, mut types, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => _ = types.insert(name.to_owned(), kind.to_owned()),
                ["#", "HELP", name, _] => _ = helped.insert(name.to_owned()),
                _ => {
                    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                    values.insert(series.to_owned(), value.parse().expect("a number"));
                }
            }
        }
        Self { values, types, helped }
    }

    /// The value of one series; nothing when it is not there.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// The sum of every series of a name; 0 without any.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        self.values.iter().filter(|(series, _)| of_name(series)).map(|(_, value)| value).sum()
    }

    /// Every metric is in the table, with the kind and the labels that it has there.
    pub fn assert_described(&self) {
        for (name, kind) in &self.types {
            if name.starts_with("process_") {
                continue;
            }
            let metric = all().find(|metric| metric.name == name);
            let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table of metrics"));
            assert_eq!(kind, metric.kind.as_str(), "{name}");
            assert!(self.helped.contains(name), "{name} does not say what it means");
        }
        for series in self.values.keys().filter(|series| !series.starts_with("process_")) {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let metric = all().find(|metric| {
                let rest = name.strip_prefix(metric.name);
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            });
            let metric = metric.unwrap_or_else(|| panic!("{series}"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let names: BTreeSet<_> =
                labels.filter_map(|label| label.split('=').next()).filter(|label| *label != "le").collect();
            assert_eq!(names, metric.labels.iter().copied().collect(), "{series}");
        }
    }
}
