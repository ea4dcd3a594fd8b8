//! Step 3: the gateway takes the money, once, under the order's id. When the customer has to act first, the
//! ledger is told that the saga rests until then. Undo: the ledger marks the saga, so that nobody can confirm
//! it any more, and only then is the money given back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::domain::{Capture, NextAction, Outcome, Reason, Saga, StepName, Timestamp, next_look};
use crate::ports::clock::Clock;
use crate::ports::ledger::{Ledger, Rest, SagaError};
use crate::ports::payments::{ChargeError, ChargeRequest, GiveBackError, Payments, Voided};

use super::{Step, outcome_of, saga_ref};

/// Takes payments.
pub struct TakePayment {
    pub payments: Arc<dyn Payments>,
    pub ledger: Arc<dyn Ledger>,
    pub clock: Arc<dyn Clock>,
    /// How long after the order was created its customer may still act.
    pub customer_within: Duration,
}

/// What came of a charge.
enum Charged {
    /// The step is over, or to be tried again.
    Settled(Outcome),
    /// The customer has to act, or had to the last time that the gateway answered.
    NeedsCustomer(NextAction),
}

#[async_trait]
impl Step for TakePayment {
    fn name(&self) -> StepName {
        StepName::TakePayment
    }

    fn batch_max(&self) -> usize {
        self.payments.batch_max()
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        let charges: Vec<ChargeRequest> = batch.iter().filter_map(charge_of).collect();
        let answers = if charges.is_empty() { Vec::new() } else { self.payments.charge(&charges).await };
        let mut answers = answers.into_iter();
        let record = |saga: &mut Saga| match charge_of(saga) {
            // A total of 0 takes no payment.
            None => Charged::Settled(Outcome::Done),
            Some(_) => record(saga, answers.next().expect("the gateway answers for every charge")),
        };
        let charged = batch.iter_mut().map(record).collect();
        self.rest(batch, charged).await
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        let marks = batch.iter().zip(reasons).map(|(saga, reason)| (saga_ref(saga, &self.clock), *reason));
        let marks = self.ledger.mark_undoing(marks.collect()).await;
        let give_back = batch.iter_mut().zip(reasons).zip(marks).map(async |((saga, reason), marked)| match marked {
            Err(error) => outcome_of(&error),
            Ok(()) => match self.give_back(saga).await {
                Ok(()) => Outcome::Done,
                Err(GiveBackError::Refused(error)) => {
                    tracing::warn!(error, saga_id = %saga.id, "the payment gateway refuses to give money back");
                    Outcome::Rejected(*reason)
                }
                Err(GiveBackError::Unknown(error)) => {
                    tracing::warn!(%error, saga_id = %saga.id, "giving money back was not answered");
                    Outcome::Unknown
                }
            },
        });
        join_all(give_back).await
    }
}

impl TakePayment {
    /// Writes down which sagas rest until their customers have acted. Those that have no time left are given up.
    async fn rest(&self, batch: &mut [Saga], charged: Vec<Charged>) -> Vec<Outcome> {
        let now = self.clock.now();
        let mut rests = Vec::new();
        let charged: Vec<_> = batch
            .iter_mut()
            .zip(charged)
            .map(|(saga, charged)| match charged {
                Charged::Settled(outcome) => Some(outcome),
                Charged::NeedsCustomer(_) if now >= self.until(saga) => {
                    Some(Outcome::GivenUp(Reason::Expired))
                }
                Charged::NeedsCustomer(next_action) => {
                    saga.next_action = Some(next_action.clone());
                    let until = self.until(saga);
                    let look_at = next_look(created_at(saga), now, until);
                    rests.push(Rest { saga: saga_ref(saga, &self.clock), next_action, until, look_at });
                    None
                }
            })
            .collect();
        let rested = if rests.is_empty() { Vec::new() } else { self.ledger.rest_sagas(rests).await };
        let mut rested = rested.into_iter();
        let mut outcome = || match rested.next().expect("the ledger answers for every saga") {
            Ok(()) => Outcome::Waits,
            // The gateway waits for the customer, so the charge has to be voided.
            Err(SagaError::ToBeUndone(reason)) => Outcome::GivenUp(reason),
            Err(error) => outcome_of(&error),
        };
        charged.into_iter().map(|settled| settled.unwrap_or_else(&mut outcome)).collect()
    }

    /// Until when the customer may act.
    fn until(&self, saga: &Saga) -> Timestamp {
        created_at(saga).plus(self.customer_within)
    }

    /// Makes sure that the gateway keeps no money of this saga, now and later.
    async fn give_back(&self, saga: &mut Saga) -> Result<(), GiveBackError> {
        let Some(charge) = charge_of(saga) else { return Ok(()) };
        if saga.capture.is_none() {
            match self.payments.void(charge.order, charge.amount).await? {
                Voided::NothingTaken => return Ok(()),
                Voided::Captured(capture) => saga.capture = Some(capture),
                Voided::Refunded(capture) => {
                    saga.refund = Some(capture.clone());
                    saga.capture = Some(capture);
                    return Ok(());
                }
            }
        }
        saga.refund = Some(self.payments.refund(charge.order, charge.amount).await?);
        Ok(())
    }
}

fn created_at(saga: &Saga) -> Timestamp {
    saga.order.as_ref().map_or(saga.purchase.at, |order| order.created_at)
}

fn charge_of(saga: &Saga) -> Option<ChargeRequest> {
    let order = saga.order.as_ref().expect("create_order comes before take_payment");
    (order.total.minor > 0).then(|| ChargeRequest {
        order: order.id,
        amount: order.total,
        token: saga.purchase.payment_token.clone(),
    })
}

fn record(saga: &mut Saga, answer: Result<Capture, ChargeError>) -> Charged {
    Charged::Settled(match answer {
        Ok(capture) => {
            saga.capture = Some(capture);
            Outcome::Done
        }
        Err(ChargeError::Declined { .. }) => Outcome::Rejected(Reason::PaymentDeclined),
        // Somebody gave up on this charge before: whatever happens, no money will be taken.
        Err(ChargeError::Voided) => Outcome::Rejected(Reason::PaymentUnknown),
        Err(ChargeError::NeedsCustomer(action)) => return Charged::NeedsCustomer(action),
        Err(ChargeError::Unknown(error)) => {
            tracing::debug!(%error, saga_id = %saga.id, "a charge was not answered");
            match saga.next_action.clone() {
                None => Outcome::Unknown,
                // A gateway that is silent for a while is no reason to send a customer away who is at it.
                Some(action) => return Charged::NeedsCustomer(action),
            }
        }
    })
}
