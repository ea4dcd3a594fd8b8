//! Looks at orders whose customers had to act first: asks the gateway again, and gives up those whose time is
//! over. Hears at once from a gateway in this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast};

use crate::domain::OrderId;
use crate::saga::Engine;

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Orders gone on with side by side, so that they share commits.
const NUDGES_AT_ONCE: usize = 64;

/// Runs for ever.
pub async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(EVERY).await;
        match engine.look_at_waiting().await {
            Ok(0) => {}
            Ok(due) => tracing::debug!(due, "orders that wait for their customers are looked at"),
            Err(error) => tracing::warn!(%error, "could not look at orders that wait for their customers"),
        }
    }
}

/// Goes on with orders whose customers have acted, until the gateway is gone.
pub async fn listen(engine: Arc<Engine>, mut news: broadcast::Receiver<OrderId>) {
    let at_once = Arc::new(Semaphore::new(NUDGES_AT_ONCE));
    loop {
        match news.recv().await {
            Ok(order) => {
                let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { return };
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    if let Err(error) = engine.nudge(order).await {
                        tracing::warn!(%error, order_id = %order, "could not go on with an order; it is looked at later");
                    }
                    drop(permit);
                });
            }
            // The rest is found by looking.
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "more customers have acted than could be heard");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
