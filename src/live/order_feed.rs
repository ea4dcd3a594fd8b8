//! What open pages are told of their orders.
//!
//! All orders with streams are read together, several times a second, from the ledger's writer: an order is driven by
//! any server, and its events need not reach this one. So nothing else has to work for it, and what it costs does
//! not grow with the number of streams an order has.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::domain::{Digest, NextAction, Order, OrderId};
use crate::ports::Unavailable;
use crate::ports::ledger::{Ledger, OrderState, SagaState};

use super::topics::{Frame, Frames, Topics};

/// Pause between two rounds. It is longer when rounds take long: they never take more than a part of the time.
const PAUSE: Duration = Duration::from_millis(150);
const PAUSE_FOR_EACH_ROUND: u32 = 4;

/// Orders of one question.
const ORDERS_AT_ONCE: usize = 500;

/// Orders with open pages.
pub struct OrderFeed {
    ledger: Arc<dyn Ledger>,
    topics: Topics<OrderId, Told>,
}

/// What the streams of an order were told last.
struct Told {
    order: Arc<Order>,
    state: OrderState,
    id: Arc<str>,
}

/// What there is to tell of an order.
pub enum Opened {
    /// It is on its way.
    Stream(Frames),
    /// It is settled, and this is all.
    Settled(Frame),
}

/// An order as its customer sees it, and the step that its saga is at.
#[derive(Serialize)]
struct LiveOrder<'a> {
    #[serde(flatten)]
    order: &'a Order,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<&'a NextAction>,
    step: &'static str,
}

/// What is going on, in a word.
fn step(saga: Option<&SagaState>) -> &'static str {
    match saga {
        None => "done",
        Some(SagaState { stuck: true, .. }) => "stuck",
        Some(SagaState { undoing: true, .. }) => "undo",
        Some(SagaState { next_action: Some(_), .. }) => "wait_for_customer",
        Some(saga) => saga.step.as_str(),
    }
}

/// The event of a state. Its id is the number of the order's last event, and a digest, because a saga also moves without
/// one: the same on every server, and another whenever there is something new to see.
fn frame(order: &Order, state: &OrderState) -> Frame {
    let order = order.turned(state.status, state.reason, state.updated_at);
    let next_action = state.saga.as_ref().and_then(|saga| saga.next_action.as_ref());
    let live = LiveOrder { order: &order, next_action, step: step(state.saga.as_ref()) };
    let data = serde_json::to_string(&live).expect("an order is plain data");
    let Digest([a, b, c, d, ..]) = Digest::of(&[data.as_bytes()]);
    let id = format!("{}-{:08x}", state.event_count, u32::from_be_bytes([a, b, c, d]));
    Frame::new("order", &id, &data)
}

impl OrderFeed {
    /// A feed of what the ledger knows.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, topics: Topics::default() }
    }

    /// A stream of an order for whoever has seen the event `last_seen`: it begins with where the order stands, unless
    /// that is what they saw.
    ///
    /// # Errors
    /// The ledger does not answer, or the server is about to stop.
    pub async fn open(&self, order: Arc<Order>, last_seen: Option<&str>) -> Result<Opened, Unavailable> {
        let id = order.id;
        let mut frames = match self.topics.hear(id) {
            Some(frames) => frames,
            None => {
                let state = self.ledger.order_states(&[id]).await?.pop().flatten();
                let state = state.ok_or_else(|| Unavailable(format!("order {id} is not there any more")))?;
                let frame = frame(&order, &state);
                if state.saga.is_none() {
                    return Ok(Opened::Settled(frame));
                }
                let told = Told { order, state, id: Arc::clone(&frame.id) };
                self.topics.hear_or_open(id, (told, frame))?
            }
        };
        let seen = last_seen.is_some_and(|last_seen| *frames.borrow().id == *last_seen);
        if !seen {
            frames.mark_changed();
        }
        Ok(Opened::Stream(frames))
    }

    /// Reads orders for as long as they have streams; runs for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.topics.wanted().await;
            let begun = Instant::now();
            for orders in self.topics.next(None, usize::MAX).chunks(ORDERS_AT_ONCE) {
                match self.ledger.order_states(orders).await {
                    Ok(states) => {
                        for (id, state) in orders.iter().zip(states) {
                            self.take_in(*id, state).await;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "live pages are not told of orders for a moment");
                        break;
                    }
                }
            }
            tokio::time::sleep((begun.elapsed() * PAUSE_FOR_EACH_ROUND).max(PAUSE)).await;
        }
    }

    async fn take_in(&self, id: OrderId, state: Option<OrderState>) {
        let Some(state) = state else { return };
        let settled = state.saga.is_none();
        let told = self.topics.update(id, |told| {
            if told.state == state {
                return None;
            }
            // A saga also changes in ways that nobody sees, such as its driver.
            let frame = frame(&told.order, &state);
            told.state = state;
            let before = std::mem::replace(&mut told.id, Arc::clone(&frame.id));
            (frame.id != before).then_some(frame)
        });
        told.await;
        if settled {
            self.topics.end(id);
        }
    }

    /// Ends all streams, for good.
    pub fn close(&self) {
        self.topics.close();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::domain::{Currency, Money, OrderStatus, Reason, StepName, Timestamp, UserId};

    use super::*;

    fn order() -> Order {
        Order {
            id: OrderId(Uuid::from_u128(7)),
            user_id: UserId(1),
            status: OrderStatus::Pending,
            reason: None,
            lines: Arc::default(),
            total: Money::new(250, Currency::EUR),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    fn at_payment() -> SagaState {
        SagaState { step: StepName::TakePayment, undoing: false, stuck: false, next_action: None }
    }

    fn state(status: OrderStatus, event_count: u32, saga: Option<SagaState>) -> OrderState {
        OrderState { status, reason: None, updated_at: Timestamp(1_000), event_count, saga }
    }

    #[test]
    fn the_step_says_what_an_order_waits_for() {
        let action = NextAction::RedirectToUrl { url: "/there".into() };
        let waits = SagaState { next_action: Some(action), ..at_payment() };
        assert_eq!(step(Some(&at_payment())), "take_payment");
        assert_eq!(step(Some(&waits)), "wait_for_customer");
        assert_eq!(step(Some(&SagaState { undoing: true, ..at_payment() })), "undo");
        assert_eq!(step(Some(&SagaState { undoing: true, stuck: true, ..at_payment() })), "stuck");
        assert_eq!(step(None), "done");
    }

    #[test]
    fn an_event_shows_the_order_as_it_is_now() {
        let mut failed = state(OrderStatus::Failed, 5, None);
        failed.reason = Some(Reason::PaymentDeclined);
        let frame = frame(&order(), &failed);
        let text = std::str::from_utf8(&frame.bytes).expect("text");
        let (head, data) = text.split_once("data: ").expect("data");
        assert_eq!(head, format!("id: {}\nevent: order\n", frame.id));
        assert!(frame.id.starts_with("5-") && frame.id.len() == 10, "{}", frame.id);
        assert_eq!(
            data,
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000007","status":"FAILED","reason":"PAYMENT_DECLINED","lines":[],"#,
                r#""total":{"amount":250,"currency":"EUR"},"created_at":"1970-01-01T00:00:00.000Z","#,
                r#""updated_at":"1970-01-01T00:00:01.000Z","step":"done"}"#,
                "\n\n"
            )
        );
    }

    #[test]
    fn whatever_there_is_to_see_changes_the_id_and_nothing_else_does() {
        let pending = state(OrderStatus::Pending, 3, Some(at_payment()));
        let id = |state: &OrderState| frame(&order(), state).id;
        assert_eq!(id(&pending), id(&pending.clone()));
        let waits = Some(NextAction::RedirectToUrl { url: "/there".into() });
        let waiting =
            OrderState { saga: Some(SagaState { next_action: waits, ..at_payment() }), ..pending.clone() };
        let undone =
            OrderState { saga: Some(SagaState { undoing: true, ..at_payment() }), ..pending.clone() };
        let confirmed = state(OrderStatus::Confirmed, 5, None);
        let ids = std::collections::BTreeSet::from([id(&pending), id(&waiting), id(&undone), id(&confirmed)]);
        assert_eq!(ids.len(), 4);
    }
}
