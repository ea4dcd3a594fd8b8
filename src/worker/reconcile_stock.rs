//! Keeps gate and ledger equal: compares them every minute, and at once what is suspected.

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::Unavailable;
use crate::saga::{Ports, Summary};

/// Pause between two looks at what is suspected.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What has changed more recently than this is left to whoever is changing it.
const SETTLING: Duration = Duration::from_secs(2);

/// Runs for ever.
pub async fn run(ports: Ports, compare_every: Duration) {
    let (keeper, gate) = (&ports.keeper, &ports.gate);
    let mut compared = Instant::now();
    let mut troubles = gate.troubles();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = gate.troubles();
        if now != troubles {
            // It did not answer for a while, or another node has taken its place: it may have lost what it
            // was told.
            troubles = now;
            keeper.suspect_all();
        }
        if compared.elapsed() >= compare_every {
            compared = Instant::now();
            report(keeper.check_all(SETTLING).await, true);
        } else {
            report(keeper.check_suspects(SETTLING).await, false);
        }
    }
}

fn report(found: Result<Summary, Unavailable>, all: bool) {
    match found {
        Ok(found) => {
            if all {
                metrics::gauge!("holdfast_gate_products").set(found.compared as f64);
                metrics::gauge!("holdfast_gate_drifted_products").set(found.drifted as f64);
                metrics::gauge!("holdfast_gate_drift_units").set(found.units as f64);
                metrics::counter!("holdfast_gate_comparisons_total").increment(1);
            }
            metrics::counter!("holdfast_gate_mended_units_total").increment(found.units);
            metrics::counter!("holdfast_gate_mended_holds_total").increment(found.holds);
            if found.drifted > 0 {
                let Summary { compared, drifted, units, holds } = found;
                tracing::warn!(compared, drifted, units, holds, "the gate differed from the ledger");
            }
        }
        Err(error) => tracing::warn!(%error, "gate and ledger could not be compared"),
    }
}
