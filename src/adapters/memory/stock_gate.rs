//! The stock gate of one process, loaded from the ledger at start.
//!
//! Every call is one short critical section, so a basket of several products is held at once or
//! not at all, and two buyers never see each other's half.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::{BasketLine, Driver, Left, OrderId, ProductId, StockLevel, Timestamp};
use crate::ports::Unavailable;
use crate::ports::stock_gate::{HoldError, HoldRef, HoldRequest, StockGate};

/// Holds that have ended are remembered, so that a late repetition finds their end. In one process
/// nothing is late by more than what is in flight; this is many times that.
const FINISHED_MAX: usize = 65_536;

/// Stock and holds of this process.
#[derive(Default)]
pub struct MemoryStockGate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    products: HashMap<ProductId, Level>,
    holds: HashMap<OrderId, Hold>,
    finished: HashSet<OrderId>,
    finished_in_order: VecDeque<OrderId>,
}

#[derive(Default)]
struct Level {
    stock: i64,
    reserved: i64,
    /// The part of `reserved` that has no order yet.
    unordered: i64,
}

impl Level {
    fn available(&self) -> i64 {
        self.stock - self.reserved
    }
}

struct Hold {
    driver: Driver,
    lines: Arc<[BasketLine]>,
    deadline: Timestamp,
    ordered: bool,
}

impl State {
    fn reserve(&mut self, request: &HoldRequest) -> Result<(), HoldError> {
        if let Some(hold) = self.holds.get_mut(&request.saga) {
            hold.driver = request.driver;
            return Ok(());
        }
        if self.finished.contains(&request.saga) {
            return Err(HoldError::Finished);
        }
        let (mut short, mut may_return) = (false, true);
        for line in request.lines.iter() {
            let product = line.product_id;
            let level = self.products.get(&product).ok_or(HoldError::UnknownProduct(product))?;
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
        Ok(())
    }

    fn left(&self, lines: &[BasketLine]) -> Vec<Left> {
        let left = |line: &BasketLine| Left {
            product: line.product_id,
            requested: line.quantity.get(),
            left: self.products.get(&line.product_id).map_or(0, |level| level.available().max(0)),
        };
        lines.iter().map(left).collect()
    }

    fn insert(&mut self, request: &HoldRequest, ordered: bool) {
        each_level(&mut self.products, &request.lines, |level, units| {
            level.reserved += units;
            if !ordered {
                level.unordered += units;
            }
        });
        let (driver, lines, deadline) = (request.driver, Arc::clone(&request.lines), request.deadline);
        self.holds.insert(request.saga, Hold { driver, lines, deadline, ordered });
    }

    /// Ends a hold of `driver`; `sold` says whether its units leave the stock.
    fn end(&mut self, hold: &HoldRef, sold: bool) {
        if self.holds.get(&hold.saga).is_none_or(|found| found.driver != hold.driver) {
            return;
        }
        let Some(ended) = self.holds.remove(&hold.saga) else { return };
        each_level(&mut self.products, &ended.lines, |level, units| {
            level.reserved -= units;
            if sold {
                level.stock -= units;
            }
            if !ended.ordered {
                level.unordered -= units;
            }
        });
        if self.finished_in_order.len() == FINISHED_MAX
            && let Some(oldest) = self.finished_in_order.pop_front()
        {
            self.finished.remove(&oldest);
        }
        self.finished.insert(hold.saga);
        self.finished_in_order.push_back(hold.saga);
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
        }
    }
}

impl MemoryStockGate {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two lines that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StockGate for MemoryStockGate {
    async fn reserve(&self, batch: &[HoldRequest]) -> Vec<Result<(), HoldError>> {
        let mut state = self.state();
        batch.iter().map(|request| state.reserve(request)).collect()
    }

    async fn ordered(&self, batch: &[HoldRef]) -> Result<(), Unavailable> {
        let state = &mut *self.state();
        for reference in batch {
            if let Some(hold) = state.holds.get_mut(&reference.saga)
                && hold.driver == reference.driver
                && !hold.ordered
            {
                hold.ordered = true;
                each_level(&mut state.products, &hold.lines, |level, units| level.unordered -= units);
            }
        }
        Ok(())
    }

    async fn confirm(&self, batch: &[HoldRef]) -> Result<(), Unavailable> {
        let mut state = self.state();
        batch.iter().for_each(|hold| state.end(hold, true));
        Ok(())
    }

    async fn release(&self, batch: &[HoldRef]) -> Result<(), Unavailable> {
        let mut state = self.state();
        batch.iter().for_each(|hold| state.end(hold, false));
        Ok(())
    }

    async fn load(&self, levels: &[StockLevel], holds: &[HoldRequest]) -> Result<(), Unavailable> {
        let mut state = self.state();
        for level in levels {
            // What is reserved is the sum of the holds below.
            state.products.entry(level.product).or_insert(Level { stock: level.stock, ..Level::default() });
        }
        for hold in holds {
            if !state.holds.contains_key(&hold.saga) && !state.finished.contains(&hold.saga) {
                state.insert(hold, true);
            }
        }
        Ok(())
    }

    async fn adjust(&self, product: ProductId, delta: i64) -> Result<(), Unavailable> {
        if let Some(level) = self.state().products.get_mut(&product) {
            level.stock += delta;
        }
        Ok(())
    }

    async fn available(&self, products: &[ProductId]) -> Result<Vec<Option<i64>>, Unavailable> {
        let state = self.state();
        let available = |id| state.products.get(id).map(|level| level.available().max(0));
        Ok(products.iter().map(available).collect())
    }

    async fn levels(&self) -> Result<Vec<StockLevel>, Unavailable> {
        let state = self.state();
        let level = |(product, level): (&ProductId, &Level)| StockLevel {
            product: *product,
            stock: level.stock,
            reserved: level.reserved,
        };
        Ok(state.products.iter().map(level).collect())
    }

    async fn overdue(&self, now: Timestamp) -> Result<Vec<HoldRef>, Unavailable> {
        let state = self.state();
        let overdue = state.holds.iter().filter(|(_, hold)| !hold.ordered && hold.deadline < now);
        Ok(overdue.map(|(saga, hold)| HoldRef { saga: *saga, driver: hold.driver }).collect())
    }
}
