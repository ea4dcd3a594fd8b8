//! Logs: to standard error, as text for people or as JSON for machines. And figures for Prometheus.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::http::measure;

static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();

/// The figures of this process in the text format of Prometheus; nothing before [`start`].
pub fn figures() -> String {
    FIGURES.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Starts logging and counting for this process; the first call wins.
///
/// # Errors
/// The level is neither a level nor a filter.
pub fn start(log: &Log) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&log.level).map_err(|error| format!("configuration: log.level: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people; in a file they are noise that hides words from a search.
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only tests start it twice.
    drop(started);
    let bounds = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(measure::DURATION.to_owned()), &measure::BUCKETS)
        .expect("there are buckets");
    if let Ok(handle) = bounds.install_recorder() {
        FIGURES.get_or_init(|| handle);
    }
    Ok(())
}
