//! Checks the books while the shop is open: no unit sold that was never there, no money kept without an order.
//!
//! `holdfast audit` proves more of a shop at rest. Here everything moves while it is read, so what looks wrong is looked
//! at once more before it counts. It takes its time: a page is read, and then nothing for fifty times as long.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::audit::ChargeList;
use crate::domain::{OrderId, OrderStatus, ProductId};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;
use crate::ports::payments::{ChargeState, Payments};

/// Orders read in one go.
const PAGE: usize = 1_000;

/// Pause after a page, as so many times what it took.
const PAUSE_FACTOR: u32 = 50;

/// Products that are counted exactly, each in one look at all orders, when their sums look wrong.
const RECOUNTED_MAX: usize = 10;

/// What is compared.
pub struct Books {
    pub ledger: Arc<dyn Ledger>,
    pub payments: Arc<dyn Payments>,
    pub clock: Arc<dyn Clock>,
}

/// Charges that look wrong, of one check.
type Suspects = HashSet<OrderId>;

/// Runs for ever, with a pause of `every` between two checks.
pub async fn run(books: Books, every: Duration) {
    let mut before = Suspects::new();
    loop {
        let begun = Instant::now();
        match books.check(&mut before).await {
            Ok((oversold, charged)) => {
                metrics::gauge!("holdfast_oversold_units").set(oversold as f64);
                metrics::gauge!("holdfast_charged_without_order").set(charged as f64);
                metrics::gauge!("holdfast_books_check_duration_seconds").set(begun.elapsed().as_secs_f64());
                metrics::gauge!("holdfast_books_checked_timestamp_seconds")
                    .set(books.clock.now().0 as f64 / 1_000.0);
                if oversold > 0 || charged > 0 {
                    tracing::error!(oversold, charged, "the books do not add up: run `holdfast audit`");
                }
            }
            Err(error) => tracing::warn!(%error, "the books could not be checked"),
        }
        tokio::time::sleep(books.clock.jittered(every)).await;
    }
}

impl Books {
    /// Units oversold, and charges kept without an order. Of the latter those count that `before`, the check before
    /// this one, has met, too.
    async fn check(&self, before: &mut Suspects) -> Result<(i64, usize), Unavailable> {
        let (sold, suspects) = self.read().await?;
        let charged = suspects.intersection(before).count();
        *before = suspects;
        Ok((self.oversold(&sold).await?, charged))
    }

    /// Reads all orders and all charges side by side: units in confirmed orders, and the charges that look wrong.
    async fn read(&self) -> Result<(HashMap<ProductId, i64>, Suspects), Unavailable> {
        let (mut sold, mut suspects) = (HashMap::new(), Suspects::new());
        let mut charges = ChargeList::new(Arc::clone(&self.payments), PAGE);
        let mut after = None;
        loop {
            let begun = Instant::now();
            let page = self.ledger.orders_after(after, PAGE).await?;
            let last = page.last().map(|order| order.id);
            let mut keeps_money = HashSet::new();
            for order in &page {
                match order.status {
                    OrderStatus::Confirmed => {
                        for line in order.lines.iter() {
                            *sold.entry(line.product_id).or_default() += i64::from(line.quantity.get());
                        }
                        keeps_money.insert(order.id);
                    }
                    OrderStatus::Pending => _ = keeps_money.insert(order.id),
                    OrderStatus::Failed | OrderStatus::Cancelled => {}
                }
            }
            // After the last order there are only charges without one.
            while let Some(charge) = charges.next_up_to(last).await? {
                if charge.state == ChargeState::Captured && !keeps_money.contains(&charge.order) {
                    suspects.insert(charge.order);
                }
            }
            if last.is_none() {
                return Ok((sold, suspects));
            }
            after = last;
            tokio::time::sleep(begun.elapsed() * PAUSE_FACTOR).await;
        }
    }

    /// Units sold beyond what was ever stocked. While orders were read page by page, a unit may have been given back by
    /// one and sold to another: what looks wrong is counted again at one moment.
    async fn oversold(&self, sold: &HashMap<ProductId, i64>) -> Result<i64, Unavailable> {
        let mut stocked = self.stocked().await?;
        let too_many = |stocked: &HashMap<ProductId, i64>, product: &ProductId, sold: i64| {
            (sold - stocked.get(product).copied().unwrap_or_default()).max(0)
        };
        let suspects = sold.iter().filter(|(product, sold)| too_many(&stocked, product, **sold) > 0);
        let suspects: Vec<_> = suspects.map(|(product, _)| *product).take(RECOUNTED_MAX).collect();
        let mut oversold = 0;
        for product in suspects {
            let sold = self.ledger.confirmed_units(product).await?;
            stocked = self.stocked().await?;
            oversold += too_many(&stocked, &product, sold);
        }
        Ok(oversold)
    }

    /// Units ever stocked, by product.
    async fn stocked(&self) -> Result<HashMap<ProductId, i64>, Unavailable> {
        let sums = self.ledger.stock_log_sums().await?;
        Ok(sums.into_iter().map(|(product, sum)| (product, sum.stocked)).collect())
    }
}
