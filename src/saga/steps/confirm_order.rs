//! Step 4: the order becomes CONFIRMED and the units are gone. Undo, only ever for a customer's
//! cancel: the order becomes CANCELLED and the units are in stock again.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Hold, Outcome, Reason, Saga, StepName};
use crate::ports::clock::Clock;
use crate::ports::ledger::{Confirmation, Ledger};
use crate::ports::stock_gate::StockGate;

use super::create_order::undoing_of;
use super::{Step, outcome_of, saga_ref};

/// Confirms orders.
pub struct ConfirmOrder {
    pub ledger: Arc<dyn Ledger>,
    pub gate: Arc<dyn StockGate>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Step for ConfirmOrder {
    fn name(&self) -> StepName {
        StepName::ConfirmOrder
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        let confirmation = |saga: &Saga| Confirmation {
            saga: saga_ref(saga, &self.clock),
            order: Arc::clone(saga.order.as_ref().expect("create_order comes before confirm_order")),
            capture: saga.capture.clone(),
        };
        let answers = self.ledger.confirm_orders(batch.iter().map(confirmation).collect()).await;
        let mut sold = Vec::with_capacity(batch.len());
        let outcomes = batch
            .iter_mut()
            .zip(answers)
            .map(|(saga, answer)| match answer {
                Ok(order) => {
                    saga.order = Some(order);
                    sold.push(Hold::of(saga));
                    Outcome::Done
                }
                Err(error) => outcome_of(&error),
            })
            .collect();
        if let Err(error) = self.gate.confirm(&sold).await {
            // The sale stands; the gate holds the units back until it is compared with the ledger.
            tracing::warn!(%error, "the stock gate was not told of sales");
        }
        outcomes
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        let undoings = batch.iter().zip(reasons).map(|(saga, reason)| undoing_of(saga, *reason, &self.clock));
        let answers = self.ledger.restock_orders(undoings.collect()).await;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (saga, answer) in batch.iter_mut().zip(answers) {
            outcomes.push(match answer {
                Ok(restocked) => {
                    if let Err(error) = self.gate.adjust(&restocked.changes).await {
                        tracing::warn!(%error, "the stock gate was not told of a restock");
                    }
                    saga.order = Some(restocked.order);
                    Outcome::Done
                }
                Err(error) => outcome_of(&error),
            });
        }
        outcomes
    }
}
