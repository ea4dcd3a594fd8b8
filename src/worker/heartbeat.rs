//! Tells the other servers that this one lives, and takes over what dead ones have left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::saga::{Engine, Ports};

/// Pause between two signs of life.
const EVERY: Duration = Duration::from_secs(1);

/// Pause between two times of forgetting what is a day old.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// How long keys and tombstones are remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs for ever.
pub async fn run(engine: Arc<Engine>, ports: Ports, dead_after: Duration) {
    let mut heard_since = None;
    let mut forgotten = Instant::now();
    loop {
        match ports.ledger.heartbeat(engine.instance()).await {
            Ok(()) => {
                let since: &mut Instant = heard_since.get_or_insert_with(Instant::now);
                // Whoever could not say that they live while the ledger was away is not dead for that: all
                // had the time to say so since.
                if since.elapsed() >= dead_after {
                    take_over(&engine, dead_after).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not say that this server lives");
                heard_since = None;
            }
        }
        if forgotten.elapsed() >= FORGET_EVERY {
            forgotten = Instant::now();
            if let Err(error) = ports.ledger.forget(ports.clock.now().minus(REMEMBERED)).await {
                tracing::warn!(%error, "could not forget what is a day old");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn take_over(engine: &Arc<Engine>, dead_after: Duration) {
    match engine.take_over(dead_after).await {
        Ok(0) => {}
        Ok(taken_over) => tracing::warn!(taken_over, "orders of a server that died were taken over"),
        Err(error) => tracing::warn!(%error, "could not look for orders of servers that died"),
    }
}
