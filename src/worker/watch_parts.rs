//! Finds out when the gate is there again while no buyer is let in, and shows which parts of the shop answer.

use std::time::Duration;

use crate::saga::{Part, Ports};

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// Runs for ever.
pub async fn run(ports: Ports) {
    loop {
        if ports.gate.is_down() {
            // The answer itself is what counts; that there is none is known.
            let _ = ports.gate.ping().await;
        }
        for part in Part::ALL {
            let up = if part.is_down(&ports) { 0.0 } else { 1.0 };
            metrics::gauge!("holdfast_dependency_up", "dependency" => part.as_str()).set(up);
        }
        tokio::time::sleep(EVERY).await;
    }
}
