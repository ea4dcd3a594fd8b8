//! The payment gateway: an outside service, reached by keys that make every call repeatable.
//!
//! To add an adapter, see [`crate::ports`].

use async_trait::async_trait;

use crate::domain::{Capture, Money, NextAction, OrderId, PaymentToken, Timestamp};

use super::Unavailable;

/// Money to be taken. The order's id is the key: the gateway takes it at most once.
#[derive(Clone, Debug)]
pub struct ChargeRequest {
    pub order: OrderId,
    pub amount: Money,
    pub token: Option<PaymentToken>,
}

/// Why no money was taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChargeError {
    /// Refused, for ever under this key.
    #[error("declined: {code}")]
    Declined { code: String },
    /// The key was voided before.
    #[error("voided")]
    Voided,
    /// No money was taken yet: the customer has to do something first. The same charge asked again tells
    /// whether they have.
    #[error("the customer has to act first")]
    NeedsCustomer(NextAction),
    /// No answer: it may have been taken, or may yet be.
    #[error("the payment gateway did not answer: {0}")]
    Unknown(#[from] Unavailable),
}

/// What voiding a key found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Voided {
    /// No money was taken under the key, and none will be.
    NothingTaken,
    /// Money was taken already; nothing changed. It has to be refunded.
    Captured(Capture),
    /// Money was taken and given back already.
    Refunded(Capture),
}

/// Why it is not certain that no money is kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GiveBackError {
    /// The gateway has said no; asking again will hardly change that.
    #[error("the payment gateway refuses: {0}")]
    Refused(String),
    /// No answer: it may have been done.
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// What the gateway knows of one key, as it lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChargeRecord {
    pub order: OrderId,
    pub amount: Money,
    pub state: ChargeState,
    pub at: Timestamp,
}

/// Where the money of a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChargeState {
    /// Not taken yet: its customer has to act first.
    Waiting,
    Captured,
    Declined,
    Voided,
    Refunded,
}

/// Takes money and gives it back.
#[async_trait]
pub trait Payments: Send + Sync {
    /// How many charges should share one call: more than one only where all of them are answered
    /// at the same time, because a slow one holds up the others.
    fn batch_max(&self) -> usize;

    /// Takes money under each key. Asking again gives the first answer.
    async fn charge(&self, batch: &[ChargeRequest]) -> Vec<Result<Capture, ChargeError>>;

    /// Makes sure that no money is taken under `order` from now on, late requests included. A key that waits
    /// for its customer is voided like an unknown one: whatever the customer does later takes no money.
    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, GiveBackError>;

    /// Gives the money taken under `order`, which is `amount`, back, once.
    async fn refund(&self, order: OrderId, amount: Money) -> Result<Capture, GiveBackError>;

    /// Up to `limit` records with keys after `after`, in order of key: the gateway's own list.
    /// From the first page to the last it is the same picture or a newer one.
    async fn list(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<ChargeRecord>, Unavailable>;

    /// Whether the gateway is known not to answer: a purchase that began now could not be paid.
    fn is_down(&self) -> bool {
        false
    }

    /// Asks whether the gateway answers at all.
    async fn ping(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
