//! What consumer groups have made of the events: mails, sums of sales, sagas under watch. A group takes each
//! event in once, and its effect is written in the same transaction as the memory of it.
//!
//! To add an adapter, see [`crate::ports`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::domain::order::UnknownWord;
use crate::domain::{Currency, Event, OrderId, OrderStatus, ProductId, Reason, Timestamp, UserId};

use super::Unavailable;
use super::event_log::Group;
use super::webhooks::Notice;

/// A minute since 1970 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute of a moment.
    pub fn of(time: Timestamp) -> Self {
        Self(time.0.div_euclid(60_000))
    }

    /// Its beginning.
    pub fn begins(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(60_000))
    }
}

/// Sums of sales, and of those of them that were taken back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Sums {
    pub sales: i64,
    pub units: i64,
    pub revenue_minor: i64,
    pub cancelled_sales: i64,
    pub cancelled_units: i64,
    pub cancelled_minor: i64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.sales += other.sales;
        self.units += other.units;
        self.revenue_minor = self.revenue_minor.saturating_add(other.revenue_minor);
        self.cancelled_sales += other.cancelled_sales;
        self.cancelled_units += other.cancelled_units;
        self.cancelled_minor = self.cancelled_minor.saturating_add(other.cancelled_minor);
    }
}

/// Sales of all time, whatever their currency.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    pub sales: i64,
    pub units: i64,
    pub cancelled_sales: i64,
}

/// Sales, counted in several ways.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sales {
    pub by_minute: BTreeMap<(Minute, Currency), Sums>,
    pub by_product: BTreeMap<(ProductId, Currency), Sums>,
    /// Orders that FAILED.
    pub failures: BTreeMap<(Minute, Reason), i64>,
}

impl AddAssign for Sales {
    fn add_assign(&mut self, other: Self) {
        for (key, sums) in other.by_minute {
            *self.by_minute.entry(key).or_default() += sums;
        }
        for (key, sums) in other.by_product {
            *self.by_product.entry(key).or_default() += sums;
        }
        for (key, orders) in other.failures {
            *self.failures.entry(key).or_default() += orders;
        }
    }
}

/// What a customer is told by mail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailKind {
    OrderConfirmation,
    ShippingNotice,
}

impl MailKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::OrderConfirmation, Self::ShippingNotice];

    /// The word used in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmation => "order-confirmation",
            Self::ShippingNotice => "shipping-notice",
        }
    }
}

impl fmt::Display for MailKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MailKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// Where a mail stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailState {
    /// To be sent, where there is a mail server.
    Waiting,
    /// A mail server has it.
    Sent,
    /// A mail server will never take it.
    Refused,
    /// The customer has no address.
    Unaddressed,
}

impl MailState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::Refused, Self::Unaddressed];

    /// The word used in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Unaddressed => "unaddressed",
        }
    }
}

impl FromStr for MailState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// A mail to a customer. What it says is made of the order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    pub order: OrderId,
    pub kind: MailKind,
    pub user: UserId,
    pub created_at: Timestamp,
    pub state: MailState,
    /// Times that it was handed to a mail server.
    pub attempts: u32,
    pub sent_at: Option<Timestamp>,
    /// What the mail server said last, if it did not take it.
    pub error: Option<String>,
}

/// A mail to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewMail {
    pub order: OrderId,
    pub kind: MailKind,
    pub user: UserId,
    pub at: Timestamp,
}

/// What came of handing a mail to a mail server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MailOutcome {
    /// It ends in this state.
    Ended(MailState, Option<String>),
    /// It is tried again at this time.
    Again(Timestamp, String),
}

/// What a batch of events tells of a saga.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    pub saga: OrderId,
    /// Events of it, each counted once.
    pub seen: u32,
    /// The number of the last one.
    pub last: u32,
    pub ending: Option<OrderStatus>,
}

/// A saga under watch: not ended, or not yet compared with the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watched {
    pub heard: Heard,
    /// The last event of [`Topic::Order`](crate::domain::Topic::Order) that the group has had of it, also before this
    /// watch: an order may be cancelled long after its sale was settled.
    pub sale_heard_to: u32,
    /// When the last event was taken in.
    pub heard_at: Timestamp,
}

/// What can be wrong with a saga.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// No event for too long, and none that ends it.
    Stopped,
    /// Its events say something else than the ledger.
    Contradiction,
}

impl FindingKind {
    /// The word used in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Contradiction => "contradiction",
        }
    }
}

impl FromStr for FindingKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Stopped, Self::Contradiction]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// Something that is wrong with a saga.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub saga_id: OrderId,
    pub kind: FindingKind,
    pub detail: String,
    pub found_at: Timestamp,
}

/// What a group makes of events that it has not taken in before.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Effects {
    pub mails: Vec<NewMail>,
    pub sales: Sales,
    pub heard: Vec<Heard>,
    /// Each becomes a delivery to every endpoint that wants it and was there when it happened: see
    /// [`WebhookStore`](super::webhooks::WebhookStore).
    pub notices: Vec<Notice>,
}

/// Says what events mean for a group. Pure: the store calls it inside its transaction, again if need be.
pub type Meaning = fn(&[Event]) -> Effects;

/// Keeps what groups have made of the events.
#[async_trait]
pub trait ConsumerStore: Send + Sync {
    /// Takes events in for a group: those that it has taken in before are left out, the others have the effect
    /// that `meaning` says, and all of that is one transaction. Answers how many were new.
    async fn take_in(
        &self,
        group: Group,
        events: Vec<Event>,
        meaning: Meaning,
        now: Timestamp,
    ) -> Result<usize, Unavailable>;

    /// The mails of an order, oldest first.
    async fn mails_of(&self, order: OrderId) -> Result<Vec<Mail>, Unavailable>;

    /// Up to `limit` mails that are to be sent now. Nobody else gets them until `lease` has passed.
    async fn due_mails(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Mail>, Unavailable>;

    /// Writes down what came of a mail.
    async fn settle_mail(
        &self,
        order: OrderId,
        kind: MailKind,
        outcome: MailOutcome,
        now: Timestamp,
    ) -> Result<(), Unavailable>;

    /// How many mails there are of each kind and state.
    async fn mail_counts(&self) -> Result<Vec<(MailKind, MailState, u64)>, Unavailable>;

    /// Sales of some minutes, by minute and failures by minute, in order of time; and over all time the `top`
    /// products by revenue that was not given back, for each currency.
    async fn sales(&self, minutes: Range<Minute>, top: usize) -> Result<Sales, Unavailable>;

    /// Sales of all time.
    async fn totals(&self) -> Result<Totals, Unavailable>;

    /// Up to `limit` sagas under watch that were last heard of before `before`, the longest silent first.
    async fn watched(&self, before: Timestamp, limit: usize) -> Result<Vec<Watched>, Unavailable>;

    /// Ends the watch over sagas that have not been heard of since, with what was found about them before; and
    /// writes findings down, each once.
    async fn settle_watched(&self, ended: Vec<Watched>, findings: Vec<Finding>) -> Result<(), Unavailable>;

    /// Up to `limit` findings, newest first.
    async fn findings(&self, limit: usize) -> Result<Vec<Finding>, Unavailable>;
}
