//! What happened to an order, told once, in order, for ever.
//!
//! Together the events of a saga are the full history of its order. They are written in the
//! ledger transaction that makes them true (the outbox) and told to the world after it.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{OrderId, ProductId, UserId};
use super::money::Money;
use super::order::{BasketLine, Order, OrderLine, OrderStatus, Quantity, Reason, UnknownWord};
use super::saga::Capture;
use super::time::Timestamp;

/// One event of one saga.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    pub saga_id: OrderId,
    /// Counts the events of this saga from 1, without gaps.
    pub sequence: u32,
    pub time: Timestamp,
    #[serde(flatten)]
    pub body: EventBody,
}

/// The kinds of event with what their readers need.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum EventBody {
    /// A customer wants a basket.
    SagaStarted {
        user_id: UserId,
        #[schema(value_type = Vec<BasketLine>)]
        lines: Arc<[BasketLine]>,
    },
    /// Its units are held.
    InventoryReserved {
        #[schema(value_type = Vec<BasketLine>)]
        lines: Arc<[BasketLine]>,
    },
    /// There is an order, PENDING.
    OrderCreated {
        order_id: OrderId,
        user_id: UserId,
        #[schema(value_type = Vec<OrderLine>)]
        lines: Arc<[OrderLine]>,
        total: Money,
    },
    /// The gateway has taken the money.
    PaymentProcessed {
        order_id: OrderId,
        user_id: UserId,
        amount: Money,
        #[schema(value_type = String)]
        transaction_id: Arc<str>,
    },
    /// The order is CONFIRMED: sold.
    OrderConfirmed {
        order_id: OrderId,
        user_id: UserId,
        #[schema(value_type = Vec<SoldLine>)]
        lines: Arc<[SoldLine]>,
        total: Money,
    },
    /// Its units go back.
    InventoryReleaseRequested {
        order_id: OrderId,
        #[schema(value_type = Vec<BasketLine>)]
        lines: Arc<[BasketLine]>,
        reason: Reason,
    },
    /// The customer took the order back. `was` tells a sale that was taken back (CONFIRMED) from an order that never became one (PENDING).
    OrderCancelled {
        order_id: OrderId,
        user_id: UserId,
        reason: Reason,
        was: OrderStatus,
        #[schema(value_type = Vec<SoldLine>)]
        lines: Arc<[SoldLine]>,
        total: Money,
    },
    /// The gateway has given the money back.
    PaymentRefunded {
        order_id: OrderId,
        user_id: UserId,
        amount: Money,
        #[schema(value_type = String)]
        transaction_id: Arc<str>,
    },
    /// The saga gave up and undid everything.
    OrderFailed { order_id: OrderId, user_id: UserId, reason: Reason },
}

/// A line of a sale with the price that was paid for each unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SoldLine {
    pub product_id: ProductId,
    pub quantity: Quantity,
    pub unit_price: Money,
}

fn sold_lines(order: &Order) -> Arc<[SoldLine]> {
    let sold = |line: &OrderLine| SoldLine {
        product_id: line.product_id,
        quantity: line.quantity,
        unit_price: line.unit_price,
    };
    order.lines.iter().map(sold).collect()
}

/// What the commit that creates an order tells.
pub fn of_creation(order: &Order, basket: &Arc<[BasketLine]>) -> Vec<EventBody> {
    let (order_id, user_id) = (order.id, order.user_id);
    vec![
        EventBody::SagaStarted { user_id, lines: Arc::clone(basket) },
        EventBody::InventoryReserved { lines: Arc::clone(basket) },
        EventBody::OrderCreated { order_id, user_id, lines: Arc::clone(&order.lines), total: order.total },
    ]
}

/// What the commit that confirms an order tells. `capture` is `None` where nothing was to be paid.
pub fn of_confirmation(order: &Order, capture: Option<&Capture>) -> Vec<EventBody> {
    let (order_id, user_id) = (order.id, order.user_id);
    let mut events = Vec::with_capacity(2);
    events.extend(capture.map(|capture| paid(order, capture)));
    events.push(EventBody::OrderConfirmed {
        order_id,
        user_id,
        lines: sold_lines(order),
        total: order.total,
    });
    events
}

/// What the commit that ends an order as FAILED or CANCELLED tells. `order` is as it was before.
pub fn of_ending(
    order: &Order,
    reason: Reason,
    capture: Option<&Capture>,
    refund: Option<&Capture>,
) -> Vec<EventBody> {
    let (order_id, user_id, was) = (order.id, order.user_id, order.status);
    let mut events = Vec::with_capacity(4);
    // A sale has told of its payment already.
    events.extend(capture.filter(|_| was == OrderStatus::Pending).map(|capture| paid(order, capture)));
    events.extend(refund.map(|refund| EventBody::PaymentRefunded {
        order_id,
        user_id,
        amount: refund.amount,
        transaction_id: Arc::clone(&refund.transaction_id),
    }));
    events.push(EventBody::InventoryReleaseRequested { order_id, lines: order.basket_lines(), reason });
    events.push(match reason.final_status() {
        OrderStatus::Cancelled => {
            let (lines, total) = (sold_lines(order), order.total);
            EventBody::OrderCancelled { order_id, user_id, reason, was, lines, total }
        }
        _ => EventBody::OrderFailed { order_id, user_id, reason },
    });
    events
}

fn paid(order: &Order, capture: &Capture) -> EventBody {
    EventBody::PaymentProcessed {
        order_id: order.id,
        user_id: order.user_id,
        amount: capture.amount,
        transaction_id: Arc::clone(&capture.transaction_id),
    }
}

/// The stream an event belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// What a sale goes through.
    Order,
    /// What is undone.
    Compensation,
}

impl FromStr for Topic {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 2] = [Self::Order, Self::Compensation];

    /// The name of the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order-events",
            Self::Compensation => "compensation-events",
        }
    }
}

/// So many of the kinds belong to a sale, the others undo one.
const ORDER_KINDS: usize = 5;

impl EventBody {
    /// The names of all kinds, those of [`Topic::Order`] first.
    pub const KINDS: [&str; 9] = [
        "SagaStarted",
        "InventoryReserved",
        "OrderCreated",
        "PaymentProcessed",
        "OrderConfirmed",
        "InventoryReleaseRequested",
        "OrderCancelled",
        "PaymentRefunded",
        "OrderFailed",
    ];

    /// The stream it belongs to.
    pub fn topic(&self) -> Topic {
        Self::topic_of(self.kind()).expect("every kind has a topic")
    }

    /// The stream of a kind of event.
    pub fn topic_of(kind: &str) -> Option<Topic> {
        let place = Self::KINDS.iter().position(|known| *known == kind)?;
        Some(if place < ORDER_KINDS { Topic::Order } else { Topic::Compensation })
    }

    /// The name of the kind, as in the `type` field.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SagaStarted { .. } => "SagaStarted",
            Self::InventoryReserved { .. } => "InventoryReserved",
            Self::OrderCreated { .. } => "OrderCreated",
            Self::PaymentProcessed { .. } => "PaymentProcessed",
            Self::OrderConfirmed { .. } => "OrderConfirmed",
            Self::InventoryReleaseRequested { .. } => "InventoryReleaseRequested",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::PaymentRefunded { .. } => "PaymentRefunded",
            Self::OrderFailed { .. } => "OrderFailed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_field_is_the_kind() {
        let event = Event {
            saga_id: OrderId(uuid::Uuid::nil()),
            sequence: 1,
            time: Timestamp(0),
            body: EventBody::OrderFailed {
                order_id: OrderId(uuid::Uuid::nil()),
                user_id: UserId(7),
                reason: Reason::PaymentDeclined,
            },
        };
        let json = serde_json::to_value(&event).expect("an event is JSON");
        assert_eq!(json["type"], event.body.kind());
        assert_eq!(json["data"]["reason"], "PAYMENT_DECLINED");
        assert_eq!(serde_json::from_value::<Event>(json).expect("read back"), event);
    }
}
