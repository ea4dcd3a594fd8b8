//! Keeps the stock gate equal to the ledger: loads what the gate does not know, finds where the two
//! differ, and mends it hold by hold.
//!
//! Purchases go on meanwhile. A hold is ended or made good by the same repeatable calls that its saga
//! uses, so it does not matter who of the two is first. Totals are corrected only when nothing has
//! changed at the gate between looking at both sides; expected at the gate is what the ledger has in
//! stock, and the units still held for orders that are CONFIRMED already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use moka::future::Cache;

use crate::domain::{Hold, OrderId, OrderStatus, ProductId, Reason, Shelf};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::{Comparison, Ledger, SagaRef};
use crate::ports::stock_gate::StockGate;

use super::product_lock::ProductLocks;

/// How long somebody waits for the lock of a product before they say that it cannot be had.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Products loaded side by side.
const LOADS_AT_ONCE: usize = 16;

/// Products that do not exist are remembered: so many, so long.
const UNKNOWN_MAX: u64 = 100_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

/// Products loaded in one go.
const SHELVES_PER_PAGE: usize = 1_000;

/// Tries to correct the totals of a product that is being sold.
const CORRECTIONS_MAX: u32 = 20;

/// The keeper of one process.
pub struct GateKeeper {
    ledger: Arc<dyn Ledger>,
    gate: Arc<dyn StockGate>,
    locks: ProductLocks,
    clock: Arc<dyn Clock>,
    suspects: Mutex<Suspects>,
    /// Products that did not exist a moment ago.
    unknown: Cache<ProductId, ()>,
}

#[derive(Default)]
struct Suspects {
    products: HashSet<ProductId>,
    all: bool,
}

/// What a comparison of one product found and did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drift {
    /// Units that the gate had too many (positive) or too few.
    pub stock: i64,
    /// Holds that were ended, made good or given back.
    pub holds: u64,
}

/// What a comparison of many products found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Products that the gate knows.
    pub compared: u64,
    /// Products whose gate differed.
    pub drifted: u64,
    /// Units by which their stock differed, added up without sign.
    pub units: u64,
    /// Holds that were ended, made good or given back.
    pub holds: u64,
}

impl GateKeeper {
    /// A keeper over the shop's ports.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        gate: Arc<dyn StockGate>,
        locks: ProductLocks,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let unknown = Cache::builder().max_capacity(UNKNOWN_MAX).time_to_live(UNKNOWN_FOR).build();
        Self { ledger, gate, locks, clock, suspects: Mutex::default(), unknown }
    }

    /// Loads every product that the gate does not know.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn load_all(&self) -> Result<(), Unavailable> {
        let mut after = None;
        loop {
            let shelves = self.ledger.shelves(after, SHELVES_PER_PAGE).await?;
            let Some(last) = shelves.last() else { return Ok(()) };
            after = Some(last.level.product);
            self.gate.load(&shelves).await?;
        }
    }

    /// Loads these products; answers those that do not exist. One server at a time loads a product, and
    /// whoever waited for it finds it loaded.
    ///
    /// # Errors
    /// The ledger, the gate or the lock does not answer.
    pub async fn load(&self, products: &[ProductId]) -> Result<Vec<ProductId>, Unavailable> {
        let mut unknown = Vec::new();
        for some in products.chunks(LOADS_AT_ONCE) {
            let loaded = join_all(some.iter().map(|product| self.load_one(*product))).await;
            for (product, exists) in some.iter().zip(loaded) {
                if !exists? {
                    unknown.push(*product);
                }
            }
        }
        Ok(unknown)
    }

    /// Whether there is such a product. One that does not exist costs a look at the ledger, and that once in a
    /// while: a buyer of things that are not there keeps nobody waiting.
    async fn load_one(&self, product: ProductId) -> Result<bool, Unavailable> {
        if self.unknown.contains_key(&product) {
            return Ok(false);
        }
        if self.ledger.compare(product, &[]).await?.is_none() {
            self.unknown.insert(product, ()).await;
            return Ok(false);
        }
        let lock = self.locks.acquire(&[product], LOCK_PATIENCE).await?;
        let loaded = self.load_locked(product).await;
        lock.release().await;
        loaded
    }

    /// Whether there is such a product.
    async fn load_locked(&self, product: ProductId) -> Result<bool, Unavailable> {
        if self.gate.levels(&[product]).await?.first().is_some_and(Option::is_some) {
            return Ok(true);
        }
        let Some(found) = self.ledger.compare(product, &[]).await? else { return Ok(false) };
        self.gate.load(&[found.shelf]).await?;
        Ok(true)
    }

    /// The gate may be wrong about these products: the next look begins with them.
    pub fn suspect(&self, products: impl IntoIterator<Item = ProductId>) {
        self.suspects().products.extend(products);
    }

    /// The gate may have lost what it was told.
    pub fn suspect_all(&self) {
        self.suspects().all = true;
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, Suspects> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares and mends the products that are suspected, or all of them when all are. What has changed
    /// within `settling` is left to whoever is changing it.
    ///
    /// # Errors
    /// The ledger or the gate does not answer; what is suspected stays so.
    pub async fn check_suspects(&self, settling: Duration) -> Result<Summary, Unavailable> {
        let Suspects { products, all } = std::mem::take(&mut *self.suspects());
        let checked = match all {
            true => self.check_all(settling).await,
            // Compared is what was suspected.
            false => self.check(products.iter().copied().collect(), settling).await,
        };
        if checked.is_err() {
            let mut suspects = self.suspects();
            suspects.products.extend(products);
            suspects.all |= all;
        }
        checked
    }

    /// Compares and mends every product that the gate knows.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn check_all(&self, settling: Duration) -> Result<Summary, Unavailable> {
        let mut summary = Summary::default();
        let mut after = None;
        loop {
            let shelves = self.ledger.shelves(after, SHELVES_PER_PAGE).await?;
            let Some(last) = shelves.last() else { return Ok(summary) };
            after = Some(last.level.product);
            let products: Vec<_> = shelves.iter().map(|shelf| shelf.level.product).collect();
            let levels = self.gate.levels(&products).await?;
            summary.compared += levels.iter().flatten().count() as u64;
            // Most are equal at first sight; the others are being sold, or differ.
            let differs = |(shelf, level): &(&Shelf, _)| *level != Some(shelf.level);
            let loaded = shelves.iter().zip(levels).filter(|(_, level)| level.is_some());
            let others = loaded.filter(differs).map(|(shelf, _)| shelf.level.product).collect();
            let found = self.check(others, settling).await?;
            summary.drifted += found.drifted;
            summary.units += found.units;
            summary.holds += found.holds;
        }
    }

    async fn check(&self, products: Vec<ProductId>, settling: Duration) -> Result<Summary, Unavailable> {
        let mut summary = Summary::default();
        for product in products {
            let Some(drift) = self.mend(product, settling).await? else { continue };
            summary.holds += drift.holds;
            if drift != Drift::default() {
                summary.drifted += 1;
                summary.units += drift.stock.unsigned_abs();
                tracing::info!(%product, stock = drift.stock, holds = drift.holds, "the gate was mended");
            }
        }
        Ok(summary)
    }

    /// Compares one product and mends what differs; `None` when the gate does not know it.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn mend(&self, product: ProductId, settling: Duration) -> Result<Option<Drift>, Unavailable> {
        let mut found = Drift::default();
        for _ in 0..CORRECTIONS_MAX {
            // The gate first: what it holds is then either still on its way or ended in the ledger.
            let Some(here) = self.gate.inspect(product).await? else { return Ok(None) };
            let sagas: Vec<OrderId> = here.holds.iter().map(|(hold, _)| hold.saga).collect();
            let Some(there) = self.ledger.compare(product, &sagas).await? else { return Ok(None) };
            let mended = self.mend_holds(&here.holds, &there, settling).await?;
            found.holds += mended;
            let units = |(hold, _): &(Hold, bool)| {
                hold.lines.iter().map(|l| i64::from(l.quantity.get())).sum::<i64>()
            };
            let sold = here.holds.iter().zip(&there.statuses);
            let sold = sold.filter(|(_, found)| matches!(found, Some((OrderStatus::Confirmed, _))));
            let expected = there.shelf.level.stock + sold.map(|(held, _)| units(held)).sum::<i64>();
            let drift = here.level.stock - expected;
            if drift == 0 && mended == 0 {
                return Ok(Some(found));
            }
            // After mended holds the counter has moved: look again.
            if mended == 0 && self.gate.correct(product, expected, there.shelf.version, here.changes).await? {
                found.stock += drift;
                return Ok(Some(found));
            }
        }
        // It is being sold too fast for a moment's rest; the next look tries again.
        self.suspect([product]);
        Ok(Some(found))
    }

    /// Ends, makes good or gives back what the ledger knows better. Returns how many.
    async fn mend_holds(
        &self,
        held: &[(Hold, bool)],
        there: &Comparison,
        settling: Duration,
    ) -> Result<u64, Unavailable> {
        let now = self.clock.now();
        let settled_before = now.minus(settling);
        let (mut sold, mut failed, mut ordered) = (Vec::new(), Vec::new(), Vec::new());
        let mut mended = 0;
        for ((hold, has_order), status) in held.iter().zip(&there.statuses) {
            match status {
                Some((_, at)) if *at > settled_before => {}
                Some((OrderStatus::Confirmed, _)) => sold.push(hold.clone()),
                Some((OrderStatus::Failed | OrderStatus::Cancelled, _)) => failed.push(hold.clone()),
                Some((OrderStatus::Pending, _)) if !has_order => ordered.push(hold.saga),
                Some((OrderStatus::Pending, _)) => {}
                None if hold.deadline < now => mended += u64::from(self.give_up(hold).await?),
                None => {}
            }
        }
        let known: HashSet<OrderId> = held.iter().map(|(hold, _)| hold.saga).collect();
        let lost = |hold: &&Hold| !known.contains(&hold.saga) && hold.saga.time() <= settled_before;
        let pending = &there.shelf.pending;
        ordered.extend(pending.iter().filter(lost).map(|hold| hold.saga));
        let ordered: Vec<Hold> =
            pending.iter().filter(|hold| ordered.contains(&hold.saga)).cloned().collect();
        for (holds, told) in [
            (&sold, self.gate.confirm(&sold).await),
            (&failed, self.gate.release(&failed).await),
            (&ordered, self.gate.ordered(&ordered).await),
        ] {
            told?;
            mended += holds.len() as u64;
        }
        Ok(mended)
    }

    /// Gives a hold back whose attempt went away, once no order can come of it any more; `false` when
    /// there is an order after all, which the hold then belongs to.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn give_up(&self, hold: &Hold) -> Result<bool, Unavailable> {
        let saga = SagaRef { id: hold.saga, driver: hold.driver, at: self.clock.now() };
        let buried = self.ledger.bury_saga(saga, Reason::Expired).await?;
        if buried {
            self.gate.release(std::slice::from_ref(hold)).await?;
        }
        Ok(buried)
    }
}
