//! What happened to an order, told once, in order, for ever.
//!
//! Together the events of a saga are the full history of its order. They are written in the
//! ledger transaction that makes them true (the outbox) and told to the world after it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{OrderId, UserId};
use super::money::Money;
use super::order::{BasketLine, OrderLine, Reason};
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum EventBody {
    SagaStarted { user_id: UserId, lines: Arc<[BasketLine]> },
    InventoryReserved { lines: Arc<[BasketLine]> },
    OrderCreated { order_id: OrderId, user_id: UserId, lines: Arc<[OrderLine]>, total: Money },
    PaymentProcessed { order_id: OrderId, user_id: UserId, amount: Money, transaction_id: Arc<str> },
    OrderConfirmed { order_id: OrderId, user_id: UserId, lines: Arc<[BasketLine]>, total: Money },
    InventoryReleaseRequested { order_id: OrderId, lines: Arc<[BasketLine]>, reason: Reason },
    OrderCancelled { order_id: OrderId, user_id: UserId, reason: Reason },
    PaymentRefunded { order_id: OrderId, user_id: UserId, amount: Money, transaction_id: Arc<str> },
    OrderFailed { order_id: OrderId, user_id: UserId, reason: Reason },
}

/// The stream an event belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// What a sale goes through.
    Order,
    /// What is undone.
    Compensation,
}

impl Topic {
    /// The name of the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order-events",
            Self::Compensation => "compensation-events",
        }
    }
}

impl EventBody {
    /// The stream it belongs to.
    pub fn topic(&self) -> Topic {
        match self {
            Self::SagaStarted { .. }
            | Self::InventoryReserved { .. }
            | Self::OrderCreated { .. }
            | Self::PaymentProcessed { .. }
            | Self::OrderConfirmed { .. } => Topic::Order,
            Self::InventoryReleaseRequested { .. }
            | Self::OrderCancelled { .. }
            | Self::PaymentRefunded { .. }
            | Self::OrderFailed { .. } => Topic::Compensation,
        }
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
