//! The stock gate: answers in microseconds whether units may be had, and holds them for a saga.
//!
//! It may be wrong in both directions; the ledger decides. `reserved` of a product is always the
//! sum of its holds. To add an adapter, see [`crate::ports`].

use async_trait::async_trait;

use crate::domain::{Hold, Left, OrderId, ProductId, Shelf, StockChange, StockLevel, Timestamp};

use super::Unavailable;

/// Why units are not held.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldError {
    /// Too few are left. `may_return` says that units are held by sagas without an order yet, so
    /// that a moment later there may be enough after all.
    #[error("too few units are left")]
    SoldOut { lines: Vec<Left>, may_return: bool },
    /// The gate knows nothing of these products: they have to be loaded first.
    #[error("products {0:?} are not loaded")]
    NotLoaded(Vec<ProductId>),
    /// The saga's hold has ended already, or comes after its deadline: it can hold nothing any more.
    #[error("the hold has ended")]
    Finished,
    /// The key has its units already: an order of this saga was sold under it.
    #[error("the key has bought its units with saga {0}")]
    KeySold(OrderId),
    /// The key holds units for another request.
    #[error("the key is in use by saga {0} for another request")]
    KeyReused(OrderId),
    #[error("the stock gate did not answer: {0}")]
    Unknown(#[from] Unavailable),
}

/// What a gate knows of one product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    pub level: StockLevel,
    /// Counts every change of the product at the gate.
    pub changes: u64,
    /// The open holds, each with this product's line alone, and whether it has an order.
    pub holds: Vec<(Hold, bool)>,
}

/// Admits buyers.
#[async_trait]
pub trait StockGate: Send + Sync {
    /// Holds the lines of each request, in order of arrival; the answer names the saga whose hold it
    /// is: that of the key's earlier attempt where one stands, so that a retry on another server goes
    /// on with it. The hold gets the driver who asks, unless a later epoch or its order's owner has it.
    async fn reserve(&self, batch: &[Hold]) -> Vec<Result<OrderId, HoldError>>;

    /// The order of each hold exists, and this driver owns it: the hold is this driver's, unless a
    /// later epoch has it, and lasts until it is confirmed or released. A hold that the gate has lost is
    /// there again.
    async fn ordered(&self, batch: &[Hold]) -> Result<(), Unavailable>;

    /// The units of each hold are sold: they leave `stock` and `reserved`. Doing it again changes
    /// nothing, nor does it for a hold of another driver.
    async fn confirm(&self, batch: &[Hold]) -> Result<(), Unavailable>;

    /// Gives the units of each hold back. A hold of another driver, or none, is left alone.
    async fn release(&self, batch: &[Hold]) -> Result<(), Unavailable>;

    /// Loads products that are not loaded yet, each with the holds of its PENDING orders; loaded
    /// ones stay as they are.
    async fn load(&self, shelves: &[Shelf]) -> Result<(), Unavailable>;

    /// Follows changes of stock that the ledger has made. Each is applied once, and not where the
    /// product was loaded after it.
    async fn adjust(&self, changes: &[StockChange]) -> Result<(), Unavailable>;

    /// Stock and reserved of each product; `None` for those not loaded.
    async fn levels(&self, products: &[ProductId]) -> Result<Vec<Option<StockLevel>>, Unavailable>;

    /// Holds without an order whose deadline lies before `now`, among the products that this process
    /// has touched. Each may name a part of its lines.
    async fn overdue(&self, now: Timestamp) -> Result<Vec<Hold>, Unavailable>;

    /// Everything about one product, seen at one moment; `None` when it is not loaded.
    async fn inspect(&self, product: ProductId) -> Result<Option<Inspection>, Unavailable>;

    /// Sets the stock of a product to what the ledger explains at `version`, if nothing has changed since
    /// `changes` was read; whether it did.
    async fn correct(
        &self,
        product: ProductId,
        stock: i64,
        version: i64,
        changes: u64,
    ) -> Result<bool, Unavailable>;

    /// Calls so far that had no answer: after one the gate may have lost what it was told.
    fn troubles(&self) -> u64 {
        0
    }

    /// Whether no call at all has been answered for longer than a moment: nothing can be reserved. It is found out
    /// by calls, so that somebody has to make one.
    fn is_down(&self) -> bool {
        false
    }

    /// Asks whether the gate answers at all.
    async fn ping(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
