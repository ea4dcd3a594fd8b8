//! A customer takes an order back: the wish is durable before anything is done about it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::{Driver, Order, OrderId, OrderStatus, UserId};
use crate::ports::Unavailable;
use crate::ports::ledger::CancelRequest;

use super::engine::{Engine, PurchaseAnswer, wait};
use super::ticket::Answer;

/// What came of a wish to cancel.
#[derive(Debug)]
pub enum CancelAnswer {
    /// The order is CANCELLED.
    Done(Arc<Order>),
    /// The wish is recorded and will be carried out.
    Recorded(Arc<Order>),
    /// The order FAILED, so there is nothing to take back.
    NotPossible(Arc<Order>),
    /// The customer has no such order.
    NotFound,
}

impl Engine {
    /// Cancels an order of `user`.
    ///
    /// # Errors
    /// The ledger does not answer; the wish may or may not be recorded.
    pub async fn cancel_order(&self, order: OrderId, user: UserId) -> Result<CancelAnswer, Unavailable> {
        let router = &self.router;
        let until = Instant::now() + router.config.answer_within;
        let driver = Driver { instance: router.instance, epoch: 1 };
        let at = router.ports.clock.now();
        match router.ports.ledger.request_cancel(order, user, driver, at).await? {
            CancelRequest::NotFound => Ok(CancelAnswer::NotFound),
            CancelRequest::NotPossible(order) => Ok(CancelAnswer::NotPossible(order)),
            CancelRequest::Done(order) => Ok(CancelAnswer::Done(order)),
            CancelRequest::Recorded(order) | CancelRequest::UnderWay(order) => {
                Ok(CancelAnswer::Recorded(order))
            }
            CancelRequest::Undo(saga) => {
                let order = Arc::clone(&saga.order);
                // Without room for it in time, it is found among the idle sagas.
                let adopted = tokio::time::timeout_at(until, self.adopt_soon(*saga)).await;
                let Some(standing) = adopted.unwrap_or(Ok(None))? else {
                    return Ok(CancelAnswer::Recorded(order));
                };
                match wait(standing, until).await {
                    PurchaseAnswer::Ended(Answer::Order(order)) if order.status == OrderStatus::Cancelled => {
                        Ok(CancelAnswer::Done(order))
                    }
                    _ => Ok(CancelAnswer::Recorded(order)),
                }
            }
        }
    }
}
