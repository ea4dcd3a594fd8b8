//! Counts how sagas end, for `/metrics` and for the dashboard.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{Ending, Phase, ProductId, Saga};

/// Products whose sales are told apart between two looks; those of further ones are only in the sums.
const PRODUCTS_MAX: usize = 4_096;

/// What has been sold since somebody last asked, by product.
#[derive(Default)]
pub struct Tally(Mutex<HashMap<ProductId, u64>>);

impl Tally {
    /// Takes in where a saga has got to.
    pub(super) fn count(&self, saga: &Saga) {
        let (result, reason) = match saga.phase {
            Phase::Ended(Ending::Confirmed) => ("confirmed", ""),
            Phase::Ended(Ending::Undone(reason)) => ("undone", reason.as_str()),
            Phase::Ended(Ending::Refused(reason)) => ("refused", reason.as_str()),
            Phase::Ended(Ending::Lost) => ("elsewhere", ""),
            Phase::Stuck { .. } => ("stuck", ""),
            Phase::Acting(_) | Phase::Undoing(..) | Phase::Waiting => return,
        };
        metrics::counter!("holdfast_sagas_total", "result" => result, "reason" => reason).increment(1);
        if result == "confirmed"
            && let Some(order) = &saga.order
        {
            let units = order.lines.iter().map(|line| u64::from(line.quantity.get())).sum();
            metrics::counter!("holdfast_sold_units_total").increment(units);
            let mut sold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for line in order.lines.iter() {
                if sold.len() < PRODUCTS_MAX || sold.contains_key(&line.product_id) {
                    *sold.entry(line.product_id).or_default() += u64::from(line.quantity.get());
                }
            }
        }
    }

    /// Units sold since the last call, of each product that was.
    pub fn take(&self) -> HashMap<ProductId, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
