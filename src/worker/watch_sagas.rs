//! Compares the sagas that coordination watches with the ledger.

use std::sync::Arc;
use std::time::Duration;

use crate::consumers::coordination::{Known, Patience, compare};
use crate::ports::clock::Clock;
use crate::ports::consumer_store::ConsumerStore;
use crate::ports::ledger::Ledger;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Runs for ever. A saga of which nothing was heard for longer than `patience` has stopped.
pub async fn run(
    store: Arc<dyn ConsumerStore>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    patience: Patience,
) {
    let mut known = Known::new();
    loop {
        tokio::time::sleep(clock.jittered(EVERY)).await;
        if let Err(error) = compare(&store, &ledger, clock.now(), patience, &mut known).await {
            tracing::warn!(%error, "sagas could not be compared with their events");
        }
    }
}
