//! Shows what has been sold, how far what follows the ledger is behind (sagas that have not ended, events that the log
//! does not have, consumers), and how the log is kept. All of it is of the whole shop.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Timestamp;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::consumer_store::ConsumerStore;
use crate::ports::event_log::{EventLog, Group, Partitions};
use crate::ports::ledger::Ledger;
use crate::ports::outbox::Backlog;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Stuck sagas that are counted; the oldest come first.
const STUCK_MAX: usize = 1_000;

/// Where to look.
pub struct Shop {
    pub ledger: Arc<dyn Ledger>,
    pub consumers: Arc<dyn ConsumerStore>,
    pub log: Arc<dyn EventLog>,
    /// `None` where the log is the outbox itself.
    pub backlog: Option<Arc<dyn Backlog>>,
    pub clock: Arc<dyn Clock>,
}

/// Runs for ever.
pub async fn run(shop: Shop) {
    loop {
        if let Err(error) = shop.look_at_sagas().await {
            tracing::debug!(%error, "unfinished sagas could not be counted");
        }
        if let Err(error) = shop.look_at_sales().await {
            tracing::debug!(%error, "sales could not be counted");
        }
        if let Err(error) = shop.look_at_outbox().await {
            tracing::debug!(%error, "unsent events could not be counted");
        }
        if let Err(error) = shop.look_at_log().await {
            tracing::debug!(%error, "nobody can tell how the log is kept");
        }
        for group in Group::ALL {
            match shop.log.lag(group).await {
                Ok(lag) => {
                    metrics::gauge!("holdfast_consumer_lag_events", "group" => group.as_str())
                        .set(lag as f64);
                }
                Err(error) => tracing::debug!(%error, %group, "nobody can tell how far a consumer is behind"),
            }
        }
        tokio::time::sleep(shop.clock.jittered(EVERY)).await;
    }
}

impl Shop {
    async fn look_at_sagas(&self) -> Result<(), Unavailable> {
        let sagas = self.ledger.saga_overview(STUCK_MAX).await?;
        let stuck = sagas.stuck.len() as u64;
        for (state, count) in [("open", sagas.open), ("waiting", sagas.waiting), ("stuck", stuck)] {
            metrics::gauge!("holdfast_unfinished_sagas", "state" => state).set(count as f64);
        }
        let oldest = sagas.stuck.iter().map(|saga| saga.since).min();
        metrics::gauge!("holdfast_stuck_saga_age_seconds").set(self.age_s(oldest));
        Ok(())
    }

    async fn look_at_sales(&self) -> Result<(), Unavailable> {
        let totals = self.consumers.totals().await?;
        for (name, total) in [
            ("holdfast_shop_sales_total", totals.sales),
            ("holdfast_shop_sold_units_total", totals.units),
            ("holdfast_shop_cancelled_sales_total", totals.cancelled_sales),
        ] {
            metrics::counter!(name).absolute(u64::try_from(total).unwrap_or_default());
        }
        Ok(())
    }

    async fn look_at_outbox(&self) -> Result<(), Unavailable> {
        let Some(backlog) = &self.backlog else { return Ok(()) };
        let unsent = backlog.size().await?;
        metrics::gauge!("holdfast_outbox_unsent_entries").set(unsent.entries as f64);
        metrics::gauge!("holdfast_outbox_lag_seconds").set(self.age_s(unsent.oldest));
        Ok(())
    }

    async fn look_at_log(&self) -> Result<(), Unavailable> {
        let Partitions { whole, under_replicated, offline } = self.log.partitions().await?;
        for (state, count) in [("whole", whole), ("under_replicated", under_replicated), ("offline", offline)]
        {
            metrics::gauge!("holdfast_event_log_partitions", "state" => state).set(count as f64);
        }
        Ok(())
    }

    /// Seconds since then; 0 where there is nothing.
    fn age_s(&self, since: Option<Timestamp>) -> f64 {
        since.map_or(0.0, |since| (self.clock.now().0 - since.0).max(0) as f64 / 1_000.0)
    }
}
