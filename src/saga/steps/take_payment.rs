//! Step 3: the gateway takes the money, once, under the order's id. Undo: the ledger marks the saga,
//! so that nobody can confirm it any more, and only then is the money given back.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::domain::{Capture, Outcome, Reason, Saga, StepName};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;
use crate::ports::payments::{ChargeError, ChargeRequest, Payments, Voided};

use super::{Step, outcome_of, saga_ref};

/// Takes payments.
pub struct TakePayment {
    pub payments: Arc<dyn Payments>,
    pub ledger: Arc<dyn Ledger>,
    pub clock: Arc<dyn Clock>,
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
            None => Outcome::Done,
            Some(_) => record(saga, answers.next().expect("the gateway answers for every charge")),
        };
        batch.iter_mut().map(record).collect()
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        let marks = batch.iter().zip(reasons).map(|(saga, reason)| (saga_ref(saga, &self.clock), *reason));
        let marks = self.ledger.mark_undoing(marks.collect()).await;
        let give_back = batch.iter_mut().zip(marks).map(async |(saga, marked)| match marked {
            Err(error) => outcome_of(&error),
            Ok(()) => match self.give_back(saga).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(%error, saga = %saga.id, "giving money back was not answered");
                    Outcome::Unknown
                }
            },
        });
        join_all(give_back).await
    }
}

impl TakePayment {
    /// Makes sure that the gateway keeps no money of this saga, now and later.
    async fn give_back(&self, saga: &mut Saga) -> Result<(), Unavailable> {
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

fn charge_of(saga: &Saga) -> Option<ChargeRequest> {
    let order = saga.order.as_ref().expect("create_order comes before take_payment");
    (order.total.minor > 0).then(|| ChargeRequest {
        order: order.id,
        amount: order.total,
        token: saga.purchase.payment_token.clone(),
    })
}

fn record(saga: &mut Saga, answer: Result<Capture, ChargeError>) -> Outcome {
    match answer {
        Ok(capture) => {
            saga.capture = Some(capture);
            Outcome::Done
        }
        Err(ChargeError::Declined { .. }) => Outcome::Rejected(Reason::PaymentDeclined),
        // Somebody gave up on this charge before: whatever happens, no money will be taken.
        Err(ChargeError::Voided) => Outcome::Rejected(Reason::PaymentUnknown),
        Err(ChargeError::NeedsCustomer(_)) => Outcome::Unknown,
        Err(ChargeError::Unknown(error)) => {
            tracing::debug!(%error, saga = %saga.id, "a charge was not answered");
            Outcome::Unknown
        }
    }
}
