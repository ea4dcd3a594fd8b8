//! Shows what this process is busy with, once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::saga::Engine;
use crate::telemetry;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs for ever.
pub async fn run(engine: Arc<Engine>) {
    loop {
        for (step, queued) in engine.queued() {
            metrics::gauge!("holdfast_saga_queue_depth", "step" => step.as_str()).set(queued as f64);
        }
        metrics::gauge!("holdfast_sagas_in_flight").set(engine.in_flight() as f64);
        metrics::gauge!("holdfast_sagas_in_flight_max").set(engine.in_flight_max() as f64);
        telemetry::tidy();
        tokio::time::sleep(EVERY).await;
    }
}

/// Shows what the threads that run this are busy with, under this name. Runs for ever.
pub async fn runtime(name: &'static str) {
    let runtime = Handle::current().metrics();
    loop {
        let gauges = [
            (metrics::gauge!("holdfast_runtime_workers", "runtime" => name), runtime.num_workers()),
            (metrics::gauge!("holdfast_runtime_tasks", "runtime" => name), runtime.num_alive_tasks()),
            (
                metrics::gauge!("holdfast_runtime_queue_depth", "runtime" => name),
                runtime.global_queue_depth(),
            ),
        ];
        for (gauge, figure) in gauges {
            gauge.set(figure as f64);
        }
        tokio::time::sleep(EVERY).await;
    }
}
