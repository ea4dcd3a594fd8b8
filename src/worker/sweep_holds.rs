//! Gives back holds whose attempt went away before it became an order.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::Unavailable;
use crate::saga::{Engine, Ports};

/// Pause between two sweeps.
const EVERY: Duration = Duration::from_secs(5);

/// Runs for ever.
pub async fn run(engine: Arc<Engine>, ports: Ports) {
    loop {
        tokio::time::sleep(EVERY).await;
        match sweep(&engine, &ports).await {
            Ok(0) => {}
            Ok(released) => {
                metrics::counter!("holdfast_gate_leaked_holds_total").increment(released as u64);
                tracing::warn!(released, "holds without an order were given back");
            }
            Err(error) => tracing::warn!(%error, "could not sweep holds"),
        }
    }
}

/// Gives back every overdue hold under whose id no order can come any more.
async fn sweep(engine: &Engine, ports: &Ports) -> Result<usize, Unavailable> {
    let now = ports.clock.now();
    let mut released = 0;
    for hold in ports.gate.overdue(now).await? {
        if engine.drives(hold.saga) {
            continue;
        }
        if ports.keeper.give_up(&hold).await? {
            released += 1;
        } else {
            // It has an order after all: a look at the product says what becomes of the hold.
            ports.keeper.suspect(hold.lines.iter().map(|line| line.product_id));
        }
    }
    Ok(released)
}
