//! The four steps of a purchase, in the order they act. Each file has a step's action and undo.

mod confirm_order;
mod create_order;
mod reserve_stock;
mod take_payment;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Outcome, Reason, Saga, StepName};
use crate::ports::clock::Clock;
use crate::ports::ledger::{SagaError, SagaRef};

pub use confirm_order::ConfirmOrder;
pub use create_order::CreateOrder;
pub use reserve_stock::ReserveStock;
pub use take_payment::TakePayment;

/// A step: an action and its undo, both over a batch, both repeatable because everything they do is
/// keyed by the saga. What an action hands on it writes into the saga's own fields.
#[async_trait]
pub trait Step: Send + Sync {
    /// Its name.
    fn name(&self) -> StepName;

    /// How many sagas share one call at most.
    fn batch_max(&self) -> usize {
        512
    }

    /// Does it; answers for each saga of the batch.
    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome>;

    /// Undoes it, also where it is not known whether it was done.
    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome>;
}

fn saga_ref(saga: &Saga, clock: &Arc<dyn Clock>) -> SagaRef {
    SagaRef { id: saga.id, driver: saga.driver, at: clock.now() }
}

/// What a refused change of a saga means for it.
fn outcome_of(error: &SagaError) -> Outcome {
    match error {
        // Whoever brought the order into another state finishes the saga.
        SagaError::Superseded | SagaError::WrongState => Outcome::Lost,
        SagaError::ToBeUndone(reason) => Outcome::Rejected(*reason),
        SagaError::Unknown(_) => Outcome::Unknown,
    }
}

/// The outcome of an effect that concerns the whole batch alike.
fn all(batch: &[Saga], result: Result<(), crate::ports::Unavailable>) -> Vec<Outcome> {
    let outcome = match result {
        Ok(()) => Outcome::Done,
        Err(error) => {
            tracing::warn!(%error, "the stock gate did not answer");
            Outcome::Unknown
        }
    };
    vec![outcome; batch.len()]
}
