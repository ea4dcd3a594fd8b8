//! What the dashboard asks the stores: what is left of the products that sell now, how far consumers are behind, which
//! sagas are stuck.

use serde::Serialize;

use crate::app::App;
use crate::domain::{OrderId, ProductId, Timestamp};
use crate::ports::event_log::Group;

/// Sagas looked through for stuck ones, and how many of those are shown.
const LOOK_THROUGH_MAX: usize = 10_000;
const STUCK_MAX: usize = 20;

/// How things stand at this moment. What does not answer is left out.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Standing {
    pub selling: Vec<Selling>,
    pub consumers: Vec<Lag>,
    /// Orders on their way, those among them that wait for their customers, and those that are stuck.
    pub open_sagas: Option<usize>,
    pub waiting_sagas: Option<usize>,
    pub stuck: Vec<StuckSaga>,
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
pub struct StuckSaga {
    pub id: OrderId,
    pub step: &'static str,
    pub since: Timestamp,
}

impl Standing {
    /// Asks the stores, all at once.
    pub async fn of(shop: &App) -> Self {
        let (selling, consumers, sagas) =
            tokio::join!(selling(shop), consumers(shop), shop.stores.ledger.open_sagas(LOOK_THROUGH_MAX));
        let sagas = sagas.ok();
        let stuck = sagas.iter().flatten().filter_map(|saga| {
            let step = saga.stuck?.as_str();
            Some(StuckSaga { id: saga.order.id, step, since: saga.updated_at })
        });
        let waiting = |sagas: &Vec<crate::ports::ledger::OpenSaga>| {
            sagas.iter().filter(|saga| saga.waits_until.is_some()).count()
        };
        Self {
            selling,
            consumers,
            stuck: stuck.take(STUCK_MAX).collect(),
            open_sagas: sagas.as_ref().map(Vec::len),
            waiting_sagas: sagas.as_ref().map(waiting),
        }
    }
}

async fn selling(shop: &App) -> Vec<Selling> {
    let best = shop.dashboard.best();
    let ids: Vec<_> = best.iter().map(|(product, _)| *product).collect();
    let Ok(levels) = shop.gate.levels(&ids).await else { return Vec::new() };
    let mut selling = Vec::new();
    for ((id, sold), level) in best.into_iter().zip(levels) {
        let (Some(level), Ok(Some(product))) = (level, shop.stores.ledger.product(id).await) else {
            continue;
        };
        let (available, held) = ((level.stock - level.reserved).max(0), level.reserved);
        selling.push(Selling { id, name: product.name.to_string(), sold, available, held });
    }
    selling
}

async fn consumers(shop: &App) -> Vec<Lag> {
    let Some(log) = &shop.stores.log else { return Vec::new() };
    let lags =
        Group::ALL.map(async |group| Lag { group: group.as_str(), messages: log.lag(group).await.ok() });
    futures_util::future::join_all(lags).await
}
