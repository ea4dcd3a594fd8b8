//! The stock gate of one process, loaded from the ledger at start.
//!
//! Every call is one short critical section, so a basket of several products is held at once or
//! not at all, and two buyers never see each other's half.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::{
    BasketLine, Digest, Hold, Left, OrderId, ProductId, Shelf, StockChange, StockLevel, Timestamp,
};
use crate::ports::Unavailable;
use crate::ports::stock_gate::{HoldError, Inspection, StockGate};

/// Holds that have ended are remembered, so that a late repetition finds their end. In one process
/// nothing is late by more than what is in flight; this is many times that.
const FINISHED_MAX: usize = 65_536;

/// Changes of stock that are remembered for each product, so that none is applied twice.
const CHANGES_MAX: usize = 1_024;

/// Stock and holds of this process.
#[derive(Default)]
pub struct MemoryStockGate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    products: HashMap<ProductId, Level>,
    holds: HashMap<OrderId, Open>,
    /// The open hold of each key.
    by_key: HashMap<Digest, OrderId>,
    finished: HashMap<OrderId, Digest>,
    finished_in_order: VecDeque<OrderId>,
    /// Which finished hold of a key was sold.
    sold: HashMap<Digest, OrderId>,
}

#[derive(Default)]
struct Level {
    stock: i64,
    reserved: i64,
    /// The part of `reserved` that has no order yet.
    unordered: i64,
    /// Changes of stock up to this version are in `stock`.
    version: i64,
    /// Later ones that are in it, too.
    applied: BTreeSet<i64>,
    changes: u64,
}

impl Level {
    fn available(&self) -> i64 {
        self.stock - self.reserved
    }
}

struct Open {
    hold: Hold,
    ordered: bool,
}

impl State {
    fn reserve(&mut self, request: &Hold) -> Result<OrderId, HoldError> {
        if let Some(saga) = self.by_key.get(&request.key) {
            let open = self.holds.get_mut(saga).expect("an open hold has its key");
            if open.hold.body != request.body {
                return Err(HoldError::KeyReused(*saga));
            }
            let (old, new) = (open.hold.driver.epoch, request.driver.epoch);
            if new > old || (new == old && !open.ordered) {
                open.hold.driver = request.driver;
            }
            return Ok(*saga);
        }
        if self.finished.contains_key(&request.saga) {
            return Err(HoldError::Finished);
        }
        if let Some(saga) = self.sold.get(&request.key) {
            return Err(HoldError::KeySold(*saga));
        }
        let products = request.lines.iter().map(|line| line.product_id);
        let not_loaded: Vec<_> = products.filter(|id| !self.products.contains_key(id)).collect();
        if !not_loaded.is_empty() {
            return Err(HoldError::NotLoaded(not_loaded));
        }
        let (mut short, mut may_return) = (false, true);
        for line in request.lines.iter() {
            let level = &self.products[&line.product_id];
            let missing = i64::from(line.quantity.get()) - level.available();
            if missing > 0 {
                short = true;
                may_return &= level.unordered >= missing;
            }
        }
        if short {
            return Err(HoldError::SoldOut { lines: self.left(&request.lines), may_return });
        }
        self.insert(request, false);
        Ok(request.saga)
    }

    fn left(&self, lines: &[BasketLine]) -> Vec<Left> {
        let left = |line: &BasketLine| Left {
            product: line.product_id,
            requested: line.quantity.get(),
            left: self.products.get(&line.product_id).map_or(0, |level| level.available().max(0)),
        };
        lines.iter().map(left).collect()
    }

    fn insert(&mut self, hold: &Hold, ordered: bool) {
        each_level(&mut self.products, &hold.lines, |level, units| {
            level.reserved += units;
            if !ordered {
                level.unordered += units;
            }
        });
        self.by_key.insert(hold.key, hold.saga);
        self.holds.insert(hold.saga, Open { hold: hold.clone(), ordered });
    }

    fn ordered(&mut self, hold: &Hold) {
        match self.holds.get_mut(&hold.saga) {
            Some(open) if hold.driver.epoch < open.hold.driver.epoch => {}
            Some(open) => {
                open.hold.driver = hold.driver;
                if !open.ordered {
                    open.ordered = true;
                    each_level(&mut self.products, &open.hold.lines, |level, units| level.unordered -= units);
                }
            }
            None => {
                // What is not loaded yet is loaded with its PENDING orders.
                let loaded = hold.lines.iter().all(|line| self.products.contains_key(&line.product_id));
                if loaded && !self.finished.contains_key(&hold.saga) {
                    self.insert(hold, true);
                }
            }
        }
    }

    /// Ends a hold of its driver; `sold` says whether its units leave the stock.
    fn end(&mut self, hold: &Hold, sold: bool) {
        if self.holds.get(&hold.saga).is_none_or(|open| open.hold.driver != hold.driver) {
            return;
        }
        let Some(Open { hold, ordered }) = self.holds.remove(&hold.saga) else { return };
        each_level(&mut self.products, &hold.lines, |level, units| {
            level.reserved -= units;
            if sold {
                level.stock -= units;
            }
            if !ordered {
                level.unordered -= units;
            }
        });
        self.by_key.remove(&hold.key);
        if self.finished_in_order.len() == FINISHED_MAX
            && let Some(oldest) = self.finished_in_order.pop_front()
            && let Some(key) = self.finished.remove(&oldest)
            && self.sold.get(&key) == Some(&oldest)
        {
            self.sold.remove(&key);
        }
        self.finished.insert(hold.saga, hold.key);
        self.finished_in_order.push_back(hold.saga);
        if sold {
            self.sold.insert(hold.key, hold.saga);
        }
    }

    fn load(&mut self, shelf: &Shelf) {
        let StockLevel { product, stock, .. } = shelf.level;
        if self.products.contains_key(&product) {
            return;
        }
        // What is reserved is the sum of the holds below.
        self.products.insert(product, Level { stock, version: shelf.version, ..Level::default() });
        for pending in shelf.pending.iter().filter(|hold| !self.finished.contains_key(&hold.saga)) {
            let open = self.holds.entry(pending.saga).or_insert_with(|| {
                let hold = Hold { lines: Arc::default(), ..pending.clone() };
                Open { hold, ordered: true }
            });
            // The other lines come with their own products, or came.
            let mut lines = open.hold.lines.to_vec();
            lines.extend(pending.lines.iter());
            lines.sort_by_key(|line| line.product_id);
            open.hold.lines = lines.into();
            self.by_key.insert(pending.key, pending.saga);
            each_level(&mut self.products, &pending.lines, |level, units| level.reserved += units);
        }
    }

    fn adjust(&mut self, change: &StockChange) {
        let Some(level) = self.products.get_mut(&change.product) else { return };
        if change.version <= level.version || !level.applied.insert(change.version) {
            return;
        }
        level.stock += change.delta;
        level.changes += 1;
        if level.applied.len() > CHANGES_MAX
            && let Some(oldest) = level.applied.pop_first()
        {
            level.version = oldest;
        }
    }
}

/// Changes the level of each line's product.
fn each_level(
    products: &mut HashMap<ProductId, Level>,
    lines: &[BasketLine],
    change: impl Fn(&mut Level, i64),
) {
    for line in lines {
        if let Some(level) = products.get_mut(&line.product_id) {
            change(level, i64::from(line.quantity.get()));
            level.changes += 1;
        }
    }
}

impl MemoryStockGate {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two lines that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn level_of(product: ProductId, level: &Level) -> StockLevel {
    StockLevel { product, stock: level.stock, reserved: level.reserved }
}

#[async_trait]
impl StockGate for MemoryStockGate {
    async fn reserve(&self, batch: &[Hold]) -> Vec<Result<OrderId, HoldError>> {
        let mut state = self.state();
        batch.iter().map(|request| state.reserve(request)).collect()
    }

    async fn ordered(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let mut state = self.state();
        batch.iter().for_each(|hold| state.ordered(hold));
        Ok(())
    }

    async fn confirm(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let mut state = self.state();
        batch.iter().for_each(|hold| state.end(hold, true));
        Ok(())
    }

    async fn release(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let mut state = self.state();
        batch.iter().for_each(|hold| state.end(hold, false));
        Ok(())
    }

    async fn load(&self, shelves: &[Shelf]) -> Result<(), Unavailable> {
        let mut state = self.state();
        shelves.iter().for_each(|shelf| state.load(shelf));
        Ok(())
    }

    async fn adjust(&self, changes: &[StockChange]) -> Result<(), Unavailable> {
        let mut state = self.state();
        changes.iter().for_each(|change| state.adjust(change));
        Ok(())
    }

    async fn levels(&self, products: &[ProductId]) -> Result<Vec<Option<StockLevel>>, Unavailable> {
        let state = self.state();
        let level = |id: &ProductId| state.products.get(id).map(|level| level_of(*id, level));
        Ok(products.iter().map(level).collect())
    }

    async fn overdue(&self, now: Timestamp) -> Result<Vec<Hold>, Unavailable> {
        let state = self.state();
        let overdue = state.holds.values().filter(|open| !open.ordered && open.hold.deadline < now);
        Ok(overdue.map(|open| open.hold.clone()).collect())
    }

    async fn inspect(&self, product: ProductId) -> Result<Option<Inspection>, Unavailable> {
        let state = self.state();
        let Some(level) = state.products.get(&product) else { return Ok(None) };
        let part = |open: &Open| {
            let line = open.hold.lines.iter().find(|line| line.product_id == product)?;
            Some((Hold { lines: [*line].into(), ..open.hold.clone() }, open.ordered))
        };
        let holds = state.holds.values().filter_map(part).collect();
        Ok(Some(Inspection { level: level_of(product, level), changes: level.changes, holds }))
    }

    async fn correct(
        &self,
        product: ProductId,
        stock: i64,
        version: i64,
        changes: u64,
    ) -> Result<bool, Unavailable> {
        let mut state = self.state();
        let Some(level) = state.products.get_mut(&product).filter(|level| level.changes == changes) else {
            return Ok(false);
        };
        level.stock = stock;
        level.version = version;
        level.applied.clear();
        level.changes += 1;
        Ok(true)
    }
}
