//! Counts what buyers are told, what steps do and how sagas end, for `/metrics` and for the dashboard.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Ending, Order, OrderStatus, Phase, ProductId, Reason, Refusal, Saga, Timestamp};
use crate::ports::Unavailable;
use crate::ports::saga_watcher::Taken;

use super::engine::PurchaseAnswer;
use super::ticket::Answer;

/// Products whose sales are told apart between two looks; those of further ones are only in the sums.
const PRODUCTS_MAX: usize = 4_096;

/// What has been sold since somebody last asked, by product.
#[derive(Default)]
pub struct Tally(Mutex<HashMap<ProductId, u64>>);

impl Tally {
    /// Takes in where a saga has got to at `now`.
    pub(super) fn count(&self, saga: &Saga, now: Timestamp) {
        let (result, reason) = match saga.phase {
            Phase::Ended(Ending::Confirmed) => ("confirmed", ""),
            Phase::Ended(Ending::Undone(reason)) => ("undone", reason.as_str()),
            Phase::Ended(Ending::Refused(reason)) => ("refused", reason.as_str()),
            Phase::Ended(Ending::Lost) => ("elsewhere", ""),
            Phase::Stuck { .. } => ("stuck", ""),
            Phase::Acting(_) | Phase::Undoing(..) | Phase::Waiting => return,
        };
        metrics::counter!("holdfast_sagas_total", "result" => result, "reason" => reason).increment(1);
        let took = u64::try_from(now.0 - saga.purchase.at.0).unwrap_or_default();
        metrics::histogram!("holdfast_saga_duration_seconds", "result" => result)
            .record(Duration::from_millis(took));
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

/// Counts what a step did with one batch, and how long that took.
pub(super) fn count_step(taken: &Taken<'_>) {
    let (step, action) = (taken.step.as_str(), if taken.undone { "undo" } else { "act" });
    metrics::histogram!("holdfast_saga_step_duration_seconds", "step" => step, "action" => action)
        .record(taken.took);
    metrics::histogram!("holdfast_saga_batch_size", "step" => step, "action" => action)
        .record(taken.outcomes.len() as f64);
    // Run by run: most batches have one outcome only.
    for outcomes in taken.outcomes.chunk_by(|a, b| a.as_str() == b.as_str()) {
        let outcome = outcomes[0].as_str();
        metrics::counter!(
            "holdfast_saga_step_outcomes_total", "step" => step, "action" => action, "outcome" => outcome
        )
        .increment(outcomes.len() as u64);
    }
}

/// Counts what a buyer is told.
pub(super) fn count_answer(answer: &Result<PurchaseAnswer, Unavailable>) {
    let result = match answer {
        Ok(PurchaseAnswer::Ended(Answer::Order(order))) => of_order(order),
        Ok(PurchaseAnswer::Ended(Answer::Refused(refusal))) => match refusal {
            Refusal::SoldOut(_) | Refusal::PriceChanged { .. } => "refused",
            Refusal::UnknownProduct(_)
            | Refusal::MixedCurrencies
            | Refusal::TotalOverflow
            | Refusal::KeyTaken(_)
            | Refusal::Expired => "invalid",
            Refusal::Unavailable => "failed",
        },
        Ok(PurchaseAnswer::Ended(Answer::Elsewhere(_) | Answer::Stuck(_) | Answer::NeedsCustomer(..)))
        | Ok(PurchaseAnswer::Pending(_)) => "pending",
        Ok(PurchaseAnswer::KeyReused) => "invalid",
        Ok(PurchaseAnswer::Busy) => "busy",
        Ok(PurchaseAnswer::TimedOut) | Err(_) => "failed",
    };
    metrics::counter!("holdfast_purchases_total", "result" => result).increment(1);
}

fn of_order(order: &Order) -> &'static str {
    match (order.status, order.reason) {
        (OrderStatus::Confirmed | OrderStatus::Cancelled, _) => "sold",
        (OrderStatus::Pending, _) => "pending",
        // The customer's bank has refused, or the customer has.
        (OrderStatus::Failed, Some(Reason::PaymentDeclined | Reason::Expired)) => "declined",
        (OrderStatus::Failed, Some(Reason::CancelledByCustomer)) => "refused",
        (OrderStatus::Failed, _) => "failed",
    }
}
