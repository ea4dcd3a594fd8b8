//! Step 1: the stock gate holds the units. Undo: it gives them back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Outcome, Reason, Refusal, Saga, StepName};
use crate::ports::stock_gate::{HoldError, HoldRequest, StockGate};

use super::{Step, all, hold_of};

/// How long after its attempt's deadline a hold without an order is given back by the sweeper.
const HOLD_GRACE: Duration = Duration::from_secs(30);

/// Holds units at the gate.
pub struct ReserveStock {
    pub gate: Arc<dyn StockGate>,
}

/// The hold that a saga asks for.
pub fn hold_request(saga: &Saga) -> HoldRequest {
    HoldRequest {
        saga: saga.id,
        driver: saga.driver,
        lines: Arc::clone(saga.purchase.basket.lines()),
        deadline: saga.purchase.deadline.plus(HOLD_GRACE),
    }
}

#[async_trait]
impl Step for ReserveStock {
    fn name(&self) -> StepName {
        StepName::ReserveStock
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        let requests: Vec<_> = batch.iter().map(hold_request).collect();
        let answers = self.gate.reserve(&requests).await;
        batch.iter_mut().zip(answers).map(|(saga, answer)| record(saga, answer)).collect()
    }

    async fn undo(&self, batch: &mut [Saga], _reasons: &[Reason]) -> Vec<Outcome> {
        let holds: Vec<_> = batch.iter().map(hold_of).collect();
        all(batch, self.gate.release(&holds).await)
    }
}

fn record(saga: &mut Saga, answer: Result<(), HoldError>) -> Outcome {
    let (refusal, outcome) = match answer {
        Ok(()) => return Outcome::Done,
        Err(HoldError::SoldOut { lines, may_return: true }) => {
            (Refusal::SoldOut(lines), Outcome::NotYet(Reason::InsufficientStock))
        }
        Err(HoldError::SoldOut { lines, may_return: false }) => {
            (Refusal::SoldOut(lines), Outcome::Rejected(Reason::InsufficientStock))
        }
        Err(HoldError::UnknownProduct(product)) => {
            (Refusal::UnknownProduct(product), Outcome::Rejected(Reason::ReserveFailed))
        }
        Err(HoldError::Finished) => (Refusal::Expired, Outcome::Rejected(Reason::Expired)),
        Err(HoldError::Unknown(error)) => {
            tracing::warn!(%error, "the stock gate did not answer");
            (Refusal::Unavailable, Outcome::Unknown)
        }
    };
    saga.refusal = Some(refusal);
    outcome
}
