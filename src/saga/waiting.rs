//! Sagas that rest until their customer has acted: who says so, or looks, goes on with them.
//!
//! Nobody drives such a saga. Whoever wants to go on takes it with the next epoch, on whichever server, and
//! repeats the charge under its key: the gateway tells whether the customer has acted, and if not, the saga
//! rests again. So it does no harm to look too often, and a message of the gateway need not be believed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::domain::{Order, OrderId, OrderStatus, UserId};
use crate::ports::Unavailable;
use crate::ports::ledger::OpenSaga;

use super::engine::{Engine, PurchaseAnswer, wait};
use super::ticket::Answer;

/// Sagas taken up in one go, at most. Each is in flight for as long as the gateway takes to answer.
const SAGAS_PER_LOOK: usize = 256;

/// What a customer is told who comes back from what they had to do.
#[derive(Debug)]
pub enum ContinueAnswer {
    /// Where the purchase stands now.
    Known(PurchaseAnswer),
    /// The customer has no such order.
    NotFound,
}

impl Engine {
    /// Somebody says that the customer of an order has acted: its saga goes on here, if it waits; where it is
    /// being looked at right now, it is looked at once more. Whether it was taken up here. For messages of the
    /// gateway: any server may get them, in any number, also wrong ones.
    ///
    /// # Errors
    /// The ledger does not answer, or this server is about to stop: another one may be told.
    pub async fn nudge(self: &Arc<Self>, order: OrderId) -> Result<bool, Unavailable> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Unavailable("this server is about to stop".into()));
        }
        let ports = &self.router.ports;
        let woken = ports.ledger.wake_saga(order, self.instance(), ports.clock.now()).await?;
        Ok(self.drive(woken) > 0)
    }

    /// Takes up sagas that wait and are due: their time is over, or nobody has said for a while whether the
    /// customer has acted. Returns how many.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn look_at_waiting(self: &Arc<Self>) -> Result<usize, Unavailable> {
        // What waits may wait for the next server.
        if self.closing.load(Ordering::Relaxed) {
            return Ok(0);
        }
        // In a full shop they come one by one, so that they do come.
        let limit = self.router.desk.room().clamp(1, SAGAS_PER_LOOK);
        let ports = &self.router.ports;
        let due = ports.ledger.wake_due_sagas(self.instance(), ports.clock.now(), limit).await?;
        Ok(self.drive(due))
    }

    /// Drives sagas that were just given to this instance. Returns how many.
    fn drive(self: &Arc<Self>, woken: impl IntoIterator<Item = OpenSaga>) -> usize {
        let drive = |open: OpenSaga| {
            let engine = Arc::clone(self);
            tokio::spawn(async move {
                let order = open.order.id;
                if let Err(error) = engine.adopt_soon(open).await {
                    tracing::error!(%error, order_id = %order, "an order could not be gone on with; it is tried again later");
                }
            });
        };
        woken.into_iter().map(drive).count()
    }

    /// A customer says that they have done what they had to: goes on with the order, and answers like the
    /// purchase itself.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn continue_payment(
        &self,
        order: OrderId,
        user: UserId,
    ) -> Result<ContinueAnswer, Unavailable> {
        let router = &self.router;
        let until = Instant::now() + router.config.answer_within;
        let ledger = &router.ports.ledger;
        let mut tries = 0;
        loop {
            let found = ledger.order(order).await?.filter(|order| order.user_id == user);
            let Some(known) = found else { return Ok(ContinueAnswer::NotFound) };
            if known.status != OrderStatus::Pending {
                return Ok(ContinueAnswer::Known(PurchaseAnswer::Ended(Answer::Order(known))));
            }
            if let Some(open) = ledger.wake_saga(order, self.instance(), router.ports.clock.now()).await? {
                // Without room for it in time, it is found among the idle sagas.
                let adopted = tokio::time::timeout_at(until, self.adopt_soon(open)).await;
                let answer = match adopted.unwrap_or(Ok(None))? {
                    Some(standing) => wait(standing, until).await,
                    None => PurchaseAnswer::TimedOut,
                };
                return self.known_at_least(answer, known).await.map(ContinueAnswer::Known);
            }
            // Somebody is at work on it, here or elsewhere.
            tries += 1;
            let pause = router.follow_pause(tries);
            if Instant::now() + pause >= until {
                let answer = self.known_at_least(PurchaseAnswer::TimedOut, known).await;
                return answer.map(ContinueAnswer::Known);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// An answer about an order that is there, whatever became of asking.
    async fn known_at_least(
        &self,
        answer: PurchaseAnswer,
        order: Arc<Order>,
    ) -> Result<PurchaseAnswer, Unavailable> {
        let order = match answer {
            PurchaseAnswer::Ended(Answer::Order(_) | Answer::NeedsCustomer(..) | Answer::Stuck(_)) => {
                return Ok(answer);
            }
            PurchaseAnswer::Pending(order) | PurchaseAnswer::Ended(Answer::Elsewhere(order)) => order,
            _ => order,
        };
        let actions = self.router.ports.ledger.next_actions(&[order.id]).await?;
        Ok(match actions.into_values().next() {
            Some(action) => PurchaseAnswer::Ended(Answer::NeedsCustomer(order, action)),
            None => PurchaseAnswer::Pending(order),
        })
    }
}
