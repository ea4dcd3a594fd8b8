//! The rules and settings as they are shipped: well-formed, tried both ways, and explained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::dashboards::queries;
use super::monitoring::copy_settings;
use super::{program, shipped};

/// What the program says, which has to be content.
#[track_caller]
fn content(name: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program(name)).args(arguments).output().expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{name} {arguments:?} says:\n{said}");
    said
}

fn read(path: &str) -> String {
    fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file with tests of the rules.
fn tests() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(shipped("deploy/prometheus/tests")).expect("the folder of tests");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Each alert with the lines of its rule.
fn alerts() -> BTreeMap<String, String> {
    let rules = read("deploy/prometheus/rules/alerts.yml");
    let alerts = rules.split("- alert: ").skip(1).map(|rule| {
        let (name, rest) = rule.split_once('\n').expect("a rule has lines");
        (name.to_owned(), rest.to_owned())
    });
    alerts.collect()
}

#[test]
fn settings_and_rules_are_well_formed() {
    for targets in ["one.yml", "six.yml"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        copy_settings(folder.path(), |_, text| text);
        fs::copy(shipped("deploy/prometheus/targets").join(targets), folder.path().join("targets.yml"))
            .expect("targets are copied");
        let said = content(
            "promtool",
            &["check".as_ref(), "config".as_ref(), &folder.path().join("prometheus.yml")],
        );
        assert!(said.contains("2 rule files found") && !said.contains("WARNING"), "{said}");
    }
    for rules in ["recording.yml", "alerts.yml"] {
        let rules = shipped("deploy/prometheus/rules").join(rules);
        content("promtool", &["check".as_ref(), "rules".as_ref(), "--lint-fatal".as_ref(), &rules]);
    }
    let blackbox = format!("--config.file={}", shipped("deploy/prometheus/blackbox.yml").display());
    content("prometheus-blackbox-exporter", &[blackbox.as_ref(), "--config.check".as_ref()]);
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let tests = tests();
    let mut arguments: Vec<&Path> = vec!["test".as_ref(), "rules".as_ref()];
    arguments.extend(tests.iter().map(std::path::PathBuf::as_path));
    content("promtool", &arguments);
}

#[test]
fn every_alert_is_tried_both_ways() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in tests() {
        let text = fs::read_to_string(&file).expect("tests are text");
        for case in text.split("alertname: ").skip(1) {
            let (name, rest) = case.split_once('\n').expect("what is expected follows");
            let expected = rest.split("\n  - name: ").next().unwrap_or(rest);
            if expected.contains("exp_alerts: []") {
                silent.insert(name.to_owned());
            } else {
                assert!(expected.contains("exp_labels:"), "{name} in {} expects nothing", file.display());
                fires.insert(name.to_owned());
            }
        }
    }
    let all: BTreeSet<_> = alerts().into_keys().collect();
    assert!(all.len() > 20, "alerts are found: {all:?}");
    assert_eq!(fires, all, "each alert fires in a test");
    assert_eq!(silent, all, "each alert stays silent in a test");
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_to_do() {
    let manual = read("docs/OPERATIONS.md");
    let sections: BTreeSet<_> = manual.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for (name, rule) in alerts() {
        assert!(
            ["severity: page\n", "severity: ticket\n"].iter().any(|severity| rule.contains(severity)),
            "{name} has no severity"
        );
        for annotation in ["summary: ", "description: "] {
            assert!(rule.contains(annotation), "{name} has no {annotation}");
        }
        let runbook = format!("runbook_url: docs/OPERATIONS.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&runbook), "{name} has no {runbook}");
        assert!(sections.contains(name.as_str()), "docs/OPERATIONS.md has no section {name}");
    }
}

#[test]
fn every_figure_that_is_asked_for_is_shown() {
    let shown = read("docs/METRICS.md");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let shown: BTreeSet<_> = shown.split(|c| !is_word(c)).collect();
    let mut asked =
        ["recording", "alerts"].map(|rules| read(&format!("deploy/prometheus/rules/{rules}.yml"))).concat();
    asked.extend(queries("1m").into_iter().map(|query| query.expression + "\n"));
    let names = asked.split(|c| !is_word(c)).filter(|name| name.starts_with("holdfast_"));
    // Histograms are asked for by their parts.
    let whole = |name| ["_bucket", "_sum", "_count"].iter().find_map(|part| str::strip_suffix(name, *part));
    let names: BTreeSet<_> = names.map(|name| whole(name).unwrap_or(name)).collect();
    assert!(names.len() > 40, "figures are found: {names:?}");
    let missing: Vec<_> = names.difference(&shown).collect();
    assert!(missing.is_empty(), "no server shows {missing:?}");
}
