//! Step 1: the stock gate holds the units. Undo: it gives them back.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Hold, OrderId, Outcome, ProductId, Reason, Refusal, Saga, StepName};
use crate::ports::Unavailable;
use crate::ports::stock_gate::{HoldError, StockGate};
use crate::saga::GateKeeper;

use super::{Step, all};

/// Holds units at the gate.
pub struct ReserveStock {
    pub gate: Arc<dyn StockGate>,
    pub keeper: Arc<GateKeeper>,
}

#[async_trait]
impl Step for ReserveStock {
    fn name(&self) -> StepName {
        StepName::ReserveStock
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        let requests: Vec<_> = batch.iter().map(Hold::of).collect();
        let mut answers = self.gate.reserve(&requests).await;
        let missing = not_loaded(&answers);
        let mut unknown = Ok(Vec::new());
        if !missing.is_empty() {
            unknown = self.keeper.load(&missing).await;
            if unknown.is_ok() {
                self.reserve_again(&requests, &mut answers).await;
            }
        }
        batch.iter_mut().zip(answers).map(|(saga, answer)| record(saga, answer, &unknown)).collect()
    }

    async fn undo(&self, batch: &mut [Saga], _reasons: &[Reason]) -> Vec<Outcome> {
        let holds: Vec<_> = batch.iter().map(Hold::of).collect();
        all(batch, self.gate.release(&holds).await)
    }
}

impl ReserveStock {
    /// Asks once more for what met a product that was not loaded.
    async fn reserve_again(&self, requests: &[Hold], answers: &mut [Result<OrderId, HoldError>]) {
        let again = |answer: &Result<_, _>| matches!(answer, Err(HoldError::NotLoaded(_)));
        let (places, requests): (Vec<usize>, Vec<Hold>) = (0..)
            .zip(requests)
            .filter(|(place, _)| again(&answers[*place]))
            .map(|(place, hold)| (place, hold.clone()))
            .unzip();
        for (place, answer) in places.into_iter().zip(self.gate.reserve(&requests).await) {
            answers[place] = answer;
        }
    }
}

/// The products that the gate does not know, each once.
fn not_loaded(answers: &[Result<OrderId, HoldError>]) -> Vec<ProductId> {
    let mut missing = BTreeSet::new();
    for answer in answers {
        if let Err(HoldError::NotLoaded(products)) = answer {
            missing.extend(products);
        }
    }
    missing.into_iter().collect()
}

fn record(
    saga: &mut Saga,
    answer: Result<OrderId, HoldError>,
    unknown: &Result<Vec<ProductId>, Unavailable>,
) -> Outcome {
    let (refusal, outcome) = match answer {
        Ok(id) => {
            // The key's earlier attempt, on this server or another one: it is the same purchase.
            saga.id = id;
            return Outcome::Done;
        }
        Err(HoldError::SoldOut { lines, may_return: true }) => {
            (Refusal::SoldOut(lines), Outcome::NotYet(Reason::InsufficientStock))
        }
        Err(HoldError::SoldOut { lines, may_return: false }) => {
            (Refusal::SoldOut(lines), Outcome::Rejected(Reason::InsufficientStock))
        }
        Err(HoldError::NotLoaded(products)) => {
            let is_unknown = |product: &&ProductId| unknown.as_ref().is_ok_and(|all| all.contains(product));
            match products.iter().find(is_unknown) {
                Some(product) => {
                    (Refusal::UnknownProduct(*product), Outcome::Rejected(Reason::ReserveFailed))
                }
                // It could not be loaded, or was lost again at once.
                None => (Refusal::Unavailable, Outcome::Unknown),
            }
        }
        Err(HoldError::KeySold(saga) | HoldError::KeyReused(saga)) => {
            (Refusal::KeyTaken(saga), Outcome::Rejected(Reason::ConcurrentModification))
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
