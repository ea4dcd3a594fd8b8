//! What a process tells those who run it: [`logs`] to standard error, [`traces`] to a collector, and figures for
//! Prometheus. [`request`] is what all of them know of a request.

mod logs;
pub mod request;
pub mod traces;

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::Log;
use crate::http::measure;

pub use logs::Logs;
pub use traces::Traces;

static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();

/// The figures of this process in the text format of Prometheus; nothing before [`start`].
pub fn figures() -> String {
    FIGURES.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Starts logging and counting for this process, inside of a runtime; the first call wins. What it returns is kept
/// until the process ends.
///
/// # Errors
/// The level is neither a level nor a filter.
pub fn start(log: &Log) -> Result<Logs, String> {
    let logs = logs::start(log)?;
    let bounds = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(measure::DURATION.to_owned()), &measure::BUCKETS)
        .expect("there are buckets");
    if let Ok(handle) = bounds.install_recorder() {
        FIGURES.get_or_init(|| handle);
    }
    Ok(logs)
}
