//! What open pages are told: server-sent events of a product's stock and of a customer's order.
//!
//! One task a feed looks at everything that has open streams ([`StockFeed`], [`OrderFeed`]), and each event is made once
//! for all streams of its topic. A stream holds nothing but the newest event of its topic, so whoever reads slowly skips
//! what is between, and memory stays the same. Streams are bounded in number and end at once when the server stops.

mod order_feed;
mod response;
mod stock_feed;
mod topics;

pub use order_feed::OrderFeed;
pub use response::{order_response, stock_response};
pub use stock_feed::StockFeed;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::catalog::Catalog;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;

/// The live pages of a server.
pub struct Live {
    pub stock: Arc<StockFeed>,
    pub orders: Arc<OrderFeed>,
    free: Arc<Semaphore>,
}

/// The place of one open stream, given back when it is dropped.
struct Slot {
    kind: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Live {
    /// Feeds for at most `streams_max` open streams.
    pub fn new(catalog: Catalog, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>, streams_max: usize) -> Self {
        Self {
            stock: Arc::new(StockFeed::new(catalog, clock)),
            orders: Arc::new(OrderFeed::new(ledger)),
            free: Arc::new(Semaphore::new(streams_max)),
        }
    }

    /// Starts what looks at everything that has open streams.
    pub fn start(&self) -> Vec<JoinHandle<()>> {
        let (stock, orders) = (Arc::clone(&self.stock), Arc::clone(&self.orders));
        vec![tokio::spawn(stock.run()), tokio::spawn(orders.run())]
    }

    /// Ends all streams, for good.
    pub fn close(&self) {
        self.stock.close();
        self.orders.close();
    }

    /// A place for a stream, unless there are as many as there may be.
    fn slot(&self, kind: &'static str) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        metrics::gauge!("holdfast_live_streams", "kind" => kind).increment(1.0);
        Some(Slot { kind, _permit: permit })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        metrics::gauge!("holdfast_live_streams", "kind" => self.kind).decrement(1.0);
    }
}
