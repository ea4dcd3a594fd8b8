//! The stock gate: answers in microseconds whether units may be had, and holds them for a saga.
//!
//! It may be wrong in both directions; the ledger decides. `reserved` of a product is always the
//! sum of its holds. To add an adapter, see [`crate::ports`].

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{BasketLine, Driver, Left, OrderId, ProductId, StockLevel, Timestamp};

use super::Unavailable;

/// Units to be held for a saga: all lines or none.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    pub saga: OrderId,
    pub driver: Driver,
    pub lines: Arc<[BasketLine]>,
    /// When the hold may be given back if no order came of it.
    pub deadline: Timestamp,
}

/// Names a hold and who says so.
#[derive(Clone, Copy, Debug)]
pub struct HoldRef {
    pub saga: OrderId,
    pub driver: Driver,
}

/// Why units are not held.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldError {
    /// Too few are left. `may_return` says that units are held by sagas without an order yet, so
    /// that a moment later there may be enough after all.
    #[error("too few units are left")]
    SoldOut { lines: Vec<Left>, may_return: bool },
    #[error("product {0} is not known")]
    UnknownProduct(ProductId),
    /// The saga's hold has ended already: it can hold nothing any more.
    #[error("the hold has ended")]
    Finished,
    #[error("the stock gate did not answer: {0}")]
    Unknown(#[from] Unavailable),
}

/// Admits buyers.
#[async_trait]
pub trait StockGate: Send + Sync {
    /// Holds the lines of each request, in order of arrival. Asking again for a hold that exists
    /// changes its driver and nothing else.
    async fn reserve(&self, batch: &[HoldRequest]) -> Vec<Result<(), HoldError>>;

    /// The order of each hold exists now: the hold lasts until it is confirmed or released.
    async fn ordered(&self, batch: &[HoldRef]) -> Result<(), Unavailable>;

    /// The units of each hold are sold: they leave `stock` and `reserved`. Doing it again changes
    /// nothing.
    async fn confirm(&self, batch: &[HoldRef]) -> Result<(), Unavailable>;

    /// Gives the units of each hold back. A hold of another driver, or none, is left alone.
    async fn release(&self, batch: &[HoldRef]) -> Result<(), Unavailable>;

    /// Loads products that are not loaded yet, each with the holds of its PENDING orders; loaded
    /// ones stay as they are.
    async fn load(&self, levels: &[StockLevel], holds: &[HoldRequest]) -> Result<(), Unavailable>;

    /// Adds `delta` units (or takes them) that the ledger has added.
    async fn adjust(&self, product: ProductId, delta: i64) -> Result<(), Unavailable>;

    /// Units of each product that can be had, never negative; `None` for products not loaded.
    async fn available(&self, products: &[ProductId]) -> Result<Vec<Option<i64>>, Unavailable>;

    /// Stock and reserved of each loaded product, for comparison with the ledger.
    async fn levels(&self) -> Result<Vec<StockLevel>, Unavailable>;

    /// Holds without an order whose deadline lies before `now`.
    async fn overdue(&self, now: Timestamp) -> Result<Vec<HoldRef>, Unavailable>;
}
