//! What the dashboard asks the stores: what is left of the products that sell now, how far consumers are behind, which
//! sagas are stuck. Asked once for all who look, and nobody waits long for a store that does not answer.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::domain::{OrderId, ProductId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::event_log::{EventLog, Group};
use crate::ports::ledger::Ledger;
use crate::ports::stock_gate::StockGate;

/// Stuck sagas that are shown.
const STUCK_MAX: usize = 20;

/// How long each store is waited for. What does not answer in time is left out.
const PATIENCE: Duration = Duration::from_millis(500);

/// How things stand at this moment. What does not answer is left out.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Standing {
    pub selling: Vec<Selling>,
    pub consumers: Vec<Lag>,
    /// Orders on their way, those among them that wait for their customers, and those that are stuck.
    pub open_sagas: Option<u64>,
    pub waiting_sagas: Option<u64>,
    pub stuck: Vec<Stuck>,
}

/// A product that sells now.
#[derive(Clone, Debug, Serialize)]
pub struct Selling {
    pub id: ProductId,
    pub name: String,
    /// Units sold within the last minute.
    pub sold: u64,
    pub available: i64,
    /// Units held for orders on their way.
    pub held: i64,
}

/// How far a consumer is behind.
#[derive(Clone, Debug, Serialize)]
pub struct Lag {
    pub group: &'static str,
    /// `None`: nobody can tell at the moment.
    pub messages: Option<u64>,
}

/// A saga that needs an administrator.
#[derive(Clone, Debug, Serialize)]
pub struct Stuck {
    pub id: OrderId,
    pub step: &'static str,
    pub since: Timestamp,
}

/// Where to ask.
pub struct Sources {
    pub ledger: Arc<dyn Ledger>,
    pub gate: Arc<dyn StockGate>,
    /// `None` where nobody reads what happened.
    pub log: Option<Arc<dyn EventLog>>,
}

impl Sources {
    /// Asks all of them at once. `best` are the products that sell most, with the units of a minute.
    pub async fn ask(&self, best: Vec<(ProductId, u64)>) -> Standing {
        let sagas = within(self.ledger.saga_overview(STUCK_MAX));
        let (selling, consumers, sagas) = tokio::join!(self.selling(best), self.consumers(), sagas);
        let stuck = sagas.iter().flat_map(|sagas| &sagas.stuck);
        Standing {
            selling,
            consumers,
            stuck: stuck
                .map(|saga| Stuck { id: saga.id, step: saga.step.as_str(), since: saga.since })
                .collect(),
            open_sagas: sagas.as_ref().map(|sagas| sagas.open),
            waiting_sagas: sagas.as_ref().map(|sagas| sagas.waiting),
        }
    }

    async fn selling(&self, best: Vec<(ProductId, u64)>) -> Vec<Selling> {
        let ids: Vec<_> = best.iter().map(|(product, _)| *product).collect();
        let products = futures_util::future::join_all(ids.iter().map(|id| within(self.ledger.product(*id))));
        let (levels, products) = tokio::join!(within(self.gate.levels(&ids)), products);
        let all = best.into_iter().zip(levels.unwrap_or_default()).zip(products);
        let selling = all.filter_map(|(((id, sold), level), product)| {
            let (level, product) = (level?, product.flatten()?);
            let (available, held) = ((level.stock - level.reserved).max(0), level.reserved);
            Some(Selling { id, name: product.name, sold, available, held })
        });
        selling.collect()
    }

    async fn consumers(&self) -> Vec<Lag> {
        let Some(log) = &self.log else { return Vec::new() };
        let lag = async |group: Group| Lag { group: group.as_str(), messages: within(log.lag(group)).await };
        futures_util::future::join_all(Group::ALL.map(lag)).await
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Unavailable>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, call).await.ok()?.ok()
}
