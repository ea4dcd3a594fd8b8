//! The table of metrics, and the page of it.

use std::fmt::Write as _;
use std::path::Path;

use holdfast::telemetry::metrics::{Kind, METRICS, all};

/// The page as the table says.
fn page() -> String {
    let mut page = "# Metrics\n\nWhat a server shows Prometheus at `/metrics`. Times are in seconds. Every server shows \
        its own figures; those that are of the whole shop say so, and are the same on each. Beside these are the \
        `process_…` figures of the operating system. Rules and alerts over them are in `deploy/prometheus/`.\n\n\
        This page is made of the table in `src/telemetry/metrics.rs`: `HOLDFAST_TEST_WRITE=1 cargo test --test it \
        metrics::table` writes it.\n"
        .to_owned();
    for (heading, metrics) in METRICS {
        let _ =
            write!(page, "\n## {heading}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n");
        for metric in *metrics {
            let kind = metric.kind.as_str();
            let labels =
                metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
        }
    }
    page
}

#[test]
fn the_page_of_metrics_is_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    if std::env::var_os("HOLDFAST_TEST_WRITE").is_some() {
        std::fs::write(&file, page()).expect("the page is written");
    }
    let written = std::fs::read_to_string(&file).expect("the page is there");
    assert!(written == page(), "write it again: HOLDFAST_TEST_WRITE=1 cargo test --test it metrics::table");
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for metric in all() {
        let name = metric.name;
        assert!(name.starts_with("holdfast_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(matches!(metric.kind, Kind::Counter), name.ends_with("_total"), "{name}");
        assert!(!name.contains("milli") && !name.contains("_ms"), "{name}: times are in seconds");
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(bounds.is_sorted(), "{name}");
        }
        assert_eq!(all().filter(|other| other.name == name).count(), 1, "{name} is there twice");
    }
}
