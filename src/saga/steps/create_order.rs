//! Step 2: the ledger decides and writes the order as PENDING. Undo: the order becomes FAILED (or
//! CANCELLED), and where none was written a tombstone makes sure that none will be.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Hold, Order, Outcome, Reason, Refusal, Saga, StepName};
use crate::ports::clock::Clock;
use crate::ports::ledger::{CreateOrderError, Ledger, NewOrder, Undoing};
use crate::ports::stock_gate::StockGate;
use crate::saga::GateKeeper;

use super::{Step, outcome_of, saga_ref};

/// Writes orders.
pub struct CreateOrder {
    pub ledger: Arc<dyn Ledger>,
    pub gate: Arc<dyn StockGate>,
    pub clock: Arc<dyn Clock>,
    pub keeper: Arc<GateKeeper>,
}

#[async_trait]
impl Step for CreateOrder {
    fn name(&self) -> StepName {
        StepName::CreateOrder
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        let at = self.clock.now();
        // A first try that waited past its deadline was answered 503 already, and leaves nothing
        // behind. A repeated one may have written the order, so it has to ask.
        let late = |saga: &Saga| saga.attempts == 0 && at > saga.purchase.deadline;
        let in_time = batch.iter().filter(|saga| !late(saga));
        let orders: Vec<NewOrder> = in_time
            .map(|saga| NewOrder {
                id: saga.id,
                driver: saga.driver,
                purchase: Arc::clone(&saga.purchase),
                at,
            })
            .collect();
        let created = if orders.is_empty() { Vec::new() } else { self.ledger.create_orders(orders).await };
        let mut created = created.into_iter();
        let outcomes: Vec<Outcome> = batch
            .iter_mut()
            .map(|saga| {
                if late(saga) {
                    return refuse(saga, Refusal::Unavailable, Reason::Expired);
                }
                let answer = created.next().expect("the ledger answers for every order");
                self.record(saga, answer)
            })
            .collect();
        let done = batch.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
        let ordered: Vec<_> = done.map(|(saga, _)| Hold::of(saga)).collect();
        if let Err(error) = self.gate.ordered(&ordered).await {
            // The sweeper asks the ledger before it gives a hold back, so nothing depends on this.
            tracing::warn!(%error, "the stock gate was not told of new orders");
        }
        outcomes
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        let undoings = batch.iter().zip(reasons).map(|(saga, reason)| undoing_of(saga, *reason, &self.clock));
        let answers = self.ledger.fail_orders(undoings.collect()).await;
        let record = |(saga, answer): (&mut Saga, _)| match answer {
            Ok(order) => {
                saga.order = order;
                Outcome::Done
            }
            Err(error) => outcome_of(&error),
        };
        batch.iter_mut().zip(answers).map(record).collect()
    }
}

/// What the ledger is told about an order that is given up.
pub fn undoing_of(saga: &Saga, reason: Reason, clock: &Arc<dyn Clock>) -> Undoing {
    Undoing {
        saga: saga_ref(saga, clock),
        reason,
        capture: saga.capture.clone(),
        refund: saga.refund.clone(),
    }
}

fn refuse(saga: &mut Saga, refusal: Refusal, reason: Reason) -> Outcome {
    saga.refusal = Some(refusal);
    Outcome::Rejected(reason)
}

impl CreateOrder {
    fn record(&self, saga: &mut Saga, answer: Result<Arc<Order>, CreateOrderError>) -> Outcome {
        match answer {
            Ok(order) => {
                saga.order = Some(order);
                Outcome::Done
            }
            Err(CreateOrderError::InsufficientStock { lines }) => {
                // The gate has admitted too many.
                self.keeper.suspect(lines.iter().map(|line| line.product));
                refuse(saga, Refusal::SoldOut(lines), Reason::InsufficientStock)
            }
            Err(CreateOrderError::UnknownProduct(product)) => {
                refuse(saga, Refusal::UnknownProduct(product), Reason::CreateOrderFailed)
            }
            Err(CreateOrderError::MixedCurrencies) => {
                refuse(saga, Refusal::MixedCurrencies, Reason::CreateOrderFailed)
            }
            Err(CreateOrderError::TotalOverflow) => {
                refuse(saga, Refusal::TotalOverflow, Reason::CreateOrderFailed)
            }
            Err(CreateOrderError::PriceChanged { total }) => {
                refuse(saga, Refusal::PriceChanged { total }, Reason::PriceChanged)
            }
            Err(CreateOrderError::KeyTaken(order)) => {
                refuse(saga, Refusal::KeyTaken(order), Reason::ConcurrentModification)
            }
            Err(CreateOrderError::Driven(order)) => {
                saga.order = Some(order);
                Outcome::Lost
            }
            Err(CreateOrderError::Expired) => refuse(saga, Refusal::Expired, Reason::Expired),
            Err(CreateOrderError::Unknown(error)) => {
                tracing::warn!(%error, saga_id = %saga.id, "creating an order was not answered");
                saga.refusal = Some(Refusal::Unavailable);
                Outcome::Unknown
            }
        }
    }
}
