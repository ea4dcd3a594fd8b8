//! Holds: units kept aside for one purchase.

use std::sync::Arc;

use super::ids::{Digest, Driver, OrderId, ProductId};
use super::order::BasketLine;
use super::product::StockLevel;
use super::saga::Saga;
use super::time::Timestamp;
use std::time::Duration;

/// How long after its attempt's deadline a hold without an order is given back by the sweeper.
const GRACE: Duration = Duration::from_secs(30);

/// A hold: whose it is, what it holds and who speaks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The saga that it is for: its id.
    pub saga: OrderId,
    /// Customer and Idempotency-Key. A key has one open hold at most, on whichever server it arrives.
    pub key: Digest,
    /// The request that the key stands for.
    pub body: Digest,
    pub driver: Driver,
    /// One line a product, in id order.
    pub lines: Arc<[BasketLine]>,
    /// When it may be given back if no order came of it. After this it cannot begin any more.
    pub deadline: Timestamp,
}

impl Hold {
    /// The hold that a saga asks for.
    pub fn of(saga: &Saga) -> Self {
        let purchase = &saga.purchase;
        Self {
            saga: saga.id,
            key: purchase.key,
            body: purchase.body,
            driver: saga.driver,
            lines: Arc::clone(purchase.basket.lines()),
            deadline: purchase.deadline.plus(GRACE),
        }
    }
}

/// A product as a gate is loaded with it: all of it seen at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shelf {
    pub level: StockLevel,
    /// The product's version at that moment; changes of stock up to it are in `level`.
    pub version: i64,
    /// The holds of its PENDING orders, each with this product's line alone.
    pub pending: Vec<Hold>,
}

/// Units that the ledger has added to a product's stock or taken away, other than by a sale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StockChange {
    pub product: ProductId,
    pub delta: i64,
    /// The version that the change gave the product: names the change.
    pub version: i64,
}
