//! Webhooks: addresses of the shop's owners that are told what becomes of orders, and the deliveries to them.
//!
//! To add an adapter, see [`crate::ports`].

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::order::UnknownWord;
use crate::domain::{OrderId, Timestamp};

use super::Unavailable;

/// Endpoints that there may be.
pub const ENDPOINTS_MAX: usize = 50;

/// Deliveries that one replay may send again.
pub const REPLAY_MAX: usize = 100_000;

/// How long the secret before a new one still signs.
pub const OLD_SECRET_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// An endpoint that has failed for so long, without a success, is disabled.
pub const FAILING_MAX: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// Failures further apart than this do not belong together: nothing was tried in between. Longer than the longest
/// pause between two tries.
pub const FAILURES_APART: Duration = Duration::from_secs(48 * 60 * 60);

/// What an endpoint can be told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NoticeKind {
    #[serde(rename = "order.created")]
    OrderCreated,
    #[serde(rename = "order.paid")]
    OrderPaid,
    #[serde(rename = "order.confirmed")]
    OrderConfirmed,
    #[serde(rename = "order.cancelled")]
    OrderCancelled,
    #[serde(rename = "order.failed")]
    OrderFailed,
    #[serde(rename = "order.refunded")]
    OrderRefunded,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::OrderCreated,
        Self::OrderPaid,
        Self::OrderConfirmed,
        Self::OrderCancelled,
        Self::OrderFailed,
        Self::OrderRefunded,
    ];

    /// The word used in JSON and in the store. None is a part of another.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "order.created",
            Self::OrderPaid => "order.paid",
            Self::OrderConfirmed => "order.confirmed",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderFailed => "order.failed",
            Self::OrderRefunded => "order.refunded",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NoticeKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// The kinds that an endpoint wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Wanted(Option<Vec<NoticeKind>>);

impl Wanted {
    /// All kinds, also those that are still to be invented.
    pub const ALL: Self = Self(None);

    /// These kinds, each once.
    pub fn only(mut kinds: Vec<NoticeKind>) -> Self {
        kinds.sort_unstable();
        kinds.dedup();
        Self(Some(kinds))
    }

    /// The words with spaces between them, for the store; `None` for all.
    pub fn words(&self) -> Option<String> {
        let words = |kinds: &Vec<NoticeKind>| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>();
        self.0.as_ref().map(|kinds| words(kinds).join(" "))
    }

    /// Reads what [`words`](Self::words) wrote.
    ///
    /// # Errors
    /// A word is not known.
    pub fn read(words: Option<&str>) -> Result<Self, UnknownWord> {
        let kinds = |words: &str| words.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
        Ok(Self(words.map(kinds).transpose()?))
    }
}

/// Something that happened to an order and that an endpoint may be told. What it says is made of the order's event
/// when it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    pub saga: OrderId,
    pub sequence: u32,
    pub kind: NoticeKind,
    pub at: Timestamp,
}

/// What signs the requests to an endpoint. It is shown once, and never written to a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WebhookSecret(pub [u8; 32]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Names an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct EndpointId(pub Uuid);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disabled {
    /// An administrator wants it so.
    Administrator,
    /// It has answered that it is gone for good.
    Gone,
    /// It has failed for [`FAILING_MAX`].
    Failing,
}

impl Disabled {
    /// The word used in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl FromStr for Disabled {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Administrator, Self::Gone, Self::Failing]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// Whether an endpoint is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointState {
    Enabled,
    Disabled(Disabled),
}

/// An address that is told of orders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    /// Absolute, http or https, without user info.
    pub url: String,
    pub description: String,
    pub wanted: Wanted,
    pub state: EndpointState,
    pub secret: WebhookSecret,
    /// The one before, and until when it signs too.
    pub old_secret: Option<(WebhookSecret, Timestamp)>,
    pub created_at: Timestamp,
    /// When the first of its failures was since its last success.
    pub failing_since: Option<Timestamp>,
}

/// An endpoint to be made, enabled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEndpoint {
    pub id: EndpointId,
    pub url: String,
    pub description: String,
    pub wanted: Wanted,
    pub secret: WebhookSecret,
    pub at: Timestamp,
}

/// What is to be another in an endpoint.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub description: Option<String>,
    pub wanted: Option<Wanted>,
    /// Enabling also forgets the failures so far.
    pub enabled: Option<bool>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent, as soon as its endpoint is enabled.
    Waiting,
    /// The endpoint has it.
    Delivered,
    /// It was tried as often as any is.
    Failed,
    /// It came while the endpoint was disabled; only a replay sends it.
    Skipped,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Failed, Self::Skipped];

    /// The word used in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// A notice on its way to an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    pub notice: Notice,
    pub state: DeliveryState,
    /// Times that it was sent since it was made or replayed.
    pub attempts: u32,
    /// When it is tried next, where it waits.
    pub due_at: Timestamp,
    /// When the endpoint took it.
    pub delivered_at: Option<Timestamp>,
    /// The status of the last answer, where there was one.
    pub status: Option<u16>,
    /// Why it was not taken last.
    pub error: Option<String>,
}

/// What came of a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Delivered {
        status: u16,
    },
    /// It is tried again at this time.
    Again {
        at: Timestamp,
        status: Option<u16>,
        error: String,
    },
    Failed {
        status: Option<u16>,
        error: String,
    },
}

/// A delivery that was tried, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    pub saga: OrderId,
    pub sequence: u32,
    pub outcome: Outcome,
}

/// What tries tell of their endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// One of them was a success.
    Works,
    Fails,
    /// It says that it is gone for good.
    Gone,
    /// It was not asked.
    Unasked,
}

/// Where a page of deliveries ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryCursor {
    pub at: Timestamp,
    pub saga: OrderId,
    pub sequence: u32,
}

impl fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at.0, self.saga, self.sequence)
    }
}

/// Why a text is no cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no cursor")]
pub struct NotACursor;

impl FromStr for DeliveryCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NotACursor);
        let at = Timestamp(part()?.parse().map_err(|_| NotACursor)?);
        let saga = part()?.parse().map_err(|_| NotACursor)?;
        let sequence = part()?.parse().map_err(|_| NotACursor)?;
        if parts.next().is_some() { Err(NotACursor) } else { Ok(Self { at, saga, sequence }) }
    }
}

/// Why an endpoint was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateEndpointError {
    #[error("there are {ENDPOINTS_MAX} endpoints already")]
    TooMany,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What became of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// So many deliveries wait again.
    Waiting(u64),
    /// The time has more than [`REPLAY_MAX`]; nothing was changed.
    TooMany,
}

/// Keeps endpoints and what is to be delivered to them. Deliveries are made where events are taken in: see
/// [`ConsumerStore`](super::consumer_store::ConsumerStore).
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Makes an endpoint.
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Endpoint, CreateEndpointError>;

    /// Every endpoint, oldest first.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, Unavailable>;

    /// One endpoint.
    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, Unavailable>;

    /// Changes what is given; `None` where there is no such endpoint.
    async fn change_endpoint(
        &self,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, Unavailable>;

    /// Gives an endpoint another secret; the one before signs until [`OLD_SECRET_FOR`] has passed. `None` where
    /// there is no such endpoint.
    async fn rotate_secret(
        &self,
        id: EndpointId,
        secret: WebhookSecret,
        now: Timestamp,
    ) -> Result<Option<Endpoint>, Unavailable>;

    /// Deletes an endpoint; whether it was there. Its deliveries are swept later.
    async fn delete_endpoint(&self, id: EndpointId) -> Result<bool, Unavailable>;

    /// Up to `limit` deliveries of an enabled endpoint that are to be sent now, the longest due first. Nobody else gets
    /// them until `lease` has passed.
    async fn due_deliveries(
        &self,
        id: EndpointId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, Unavailable>;

    /// Writes down what came of deliveries and what that tells of their endpoint: one that is gone, or has failed
    /// for [`FAILING_MAX`], is disabled. Answers why, where that has just happened.
    async fn settle_deliveries(
        &self,
        id: EndpointId,
        settled: Vec<Settled>,
        health: Health,
        now: Timestamp,
    ) -> Result<Option<Disabled>, Unavailable>;

    /// Up to `limit` deliveries of an endpoint in any state or one, newest first, those before the cursor.
    async fn deliveries(
        &self,
        id: EndpointId,
        state: Option<DeliveryState>,
        before: Option<DeliveryCursor>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Unavailable>;

    /// Lets every delivery of a time wait again, whatever its state, as if it had never been sent.
    async fn replay(
        &self,
        id: EndpointId,
        times: Range<Timestamp>,
        now: Timestamp,
    ) -> Result<Replay, Unavailable>;

    /// Deletes up to `limit` deliveries that are older than `before` or whose endpoint was deleted; returns how many.
    async fn sweep_deliveries(&self, before: Timestamp, limit: usize) -> Result<usize, Unavailable>;
}

/// A signed request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookRequest {
    pub url: String,
    pub id: String,
    /// Seconds since 1970 UTC.
    pub timestamp_s: i64,
    pub signature: String,
    pub body: Vec<u8>,
}

/// What an endpoint has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookAnswer {
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
}

/// Sends requests to endpoints.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Sends one request, and follows no redirect.
    ///
    /// # Errors
    /// Why there was no answer in time. The request may have arrived all the same.
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer, Unavailable>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_a_part_of_another_and_each_is_read_back() {
        for kind in NoticeKind::ALL {
            let holds = NoticeKind::ALL.into_iter().filter(|other| other.as_str().contains(kind.as_str()));
            assert_eq!(holds.count(), 1, "{kind}");
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
        let wanted =
            Wanted::only(vec![NoticeKind::OrderPaid, NoticeKind::OrderCreated, NoticeKind::OrderPaid]);
        assert_eq!(wanted.words().as_deref(), Some("order.created order.paid"));
        assert_eq!(Wanted::read(wanted.words().as_deref()), Ok(wanted));
        assert_eq!(Wanted::read(None), Ok(Wanted::ALL));
        assert!(Wanted::read(Some("order.lost")).is_err());
    }

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        let cursor = DeliveryCursor { at: Timestamp(7), saga: OrderId(Uuid::from_u128(9)), sequence: 3 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "1", "1.2.3", &format!("{cursor}.1"), "x.y.z"] {
            assert_eq!(wrong.parse::<DeliveryCursor>(), Err(NotACursor), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", WebhookSecret([7; 32])), "(secret)");
    }
}
