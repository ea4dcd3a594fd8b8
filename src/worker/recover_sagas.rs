//! Takes up sagas that have stopped because the task that drove them failed.

use std::sync::Arc;
use std::time::Duration;

use crate::saga::Engine;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// A saga that no task drives and that has not moved for this long has stopped.
const IDLE: Duration = Duration::from_secs(10);

/// Runs for ever.
pub async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(EVERY).await;
        match engine.recover_idle(IDLE).await {
            Ok(0) => {}
            Ok(recovered) => tracing::warn!(recovered, "stopped orders were taken up again"),
            Err(error) => tracing::warn!(%error, "could not look for stopped orders"),
        }
    }
}
