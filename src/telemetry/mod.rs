//! What a process tells those who run it: [`logs`] to standard error, [`traces`] to a collector, and [`metrics`] for
//! Prometheus. [`request`] is what all of them know of a request.

mod logs;
pub mod metrics;
pub mod request;
pub mod traces;

use std::sync::{LazyLock, OnceLock};

use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;

pub use logs::Logs;
pub use traces::Traces;

static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();

/// What the operating system knows of this process.
static PROCESS: LazyLock<metrics_process::Collector> = LazyLock::new(|| {
    let process = metrics_process::Collector::default();
    process.describe();
    process
});

/// The figures of this process in the text format of Prometheus; nothing before [`start`].
pub fn figures() -> String {
    let Some(handle) = FIGURES.get() else { return String::new() };
    PROCESS.collect();
    handle.render()
}

/// Sorts what was measured into its buckets; somebody has to, from time to time, where nobody asks for the figures.
pub fn tidy() {
    if let Some(handle) = FIGURES.get() {
        handle.run_upkeep();
    }
}

/// Starts logging and counting for this process, inside of a runtime; the first call wins. What it returns is kept
/// until the process ends.
///
/// # Errors
/// The level is neither a level nor a filter.
pub fn start(config: &Config) -> Result<Logs, String> {
    let logs = logs::start(&config.log)?;
    if config.metrics.enabled
        && let Ok(handle) = metrics::builder().expect("there are buckets").install_recorder()
    {
        metrics::describe();
        ::metrics::gauge!("holdfast_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        FIGURES.get_or_init(|| handle);
    }
    Ok(logs)
}
