//! The log of events, from which consumer groups learn what happened. Each group is told everything at least
//! once, the events of one saga and topic for the first time in their order.
//!
//! To add an adapter, see [`crate::ports`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::domain::cloud_event::Undecodable;
use crate::domain::order::UnknownWord;
use crate::domain::{Event, Topic, TraceContext};

use super::Unavailable;

/// Somebody who wants to be told of everything once, on whichever server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// Keeps caches and live views fresh.
    Inventory,
    /// Mails customers.
    Notification,
    /// Counts sales.
    Analytics,
    /// Reports sagas that have stopped or contradict the ledger.
    Coordination,
    /// Tells the shop's owners through webhooks.
    Webhooks,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 5] =
        [Self::Inventory, Self::Notification, Self::Analytics, Self::Coordination, Self::Webhooks];

    /// The name of the group in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inventory => "inventory-service",
            Self::Notification => "notification-service",
            Self::Analytics => "analytics-service",
            Self::Coordination => "saga-orchestrator",
            Self::Webhooks => "webhook-service",
        }
    }

    /// What it reads.
    pub fn topics(self) -> &'static [Topic] {
        match self {
            Self::Notification => &[Topic::Order],
            _ => &Topic::ALL,
        }
    }
}

impl FromStr for Group {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|group| group.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a message stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// A message of the log.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: Topic,
    pub place: Place,
    /// What it says, or why nobody can tell and its bytes.
    pub content: Result<Event, (Undecodable, Vec<u8>)>,
    /// That it was published, where whoever did it says so.
    pub publication: Option<TraceContext>,
}

/// A message that cannot be decoded, put aside for a person to look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeadLetter {
    pub topic: &'static str,
    /// Where the message stood when it was put aside.
    pub place: Place,
    /// By which group.
    pub group: String,
    pub reason: String,
    #[serde(skip)]
    pub payload: Vec<u8>,
}

/// Partitions of the log, by how they are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Partitions {
    /// On as many brokers as they are meant to be.
    pub whole: u64,
    /// On fewer: what goes away next may take them along.
    pub under_replicated: u64,
    /// Led by nobody, so that they are neither written nor read.
    pub offline: u64,
}

/// One group's reading of the log. Several of them on several servers share the work.
#[async_trait]
pub trait Subscription: Send {
    /// The next messages, at most `limit`. Waits for a moment when there are none, and then answers without any.
    async fn next(&mut self, limit: usize, patience: Duration) -> Result<Vec<Message>, Unavailable>;

    /// Everything that [`next`](Self::next) has given so far has had its effect.
    async fn commit(&mut self) -> Result<(), Unavailable>;
}

/// Publishes events and tells them to groups.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Makes the topics, or checks that they are as they have to be.
    async fn prepare(&self) -> Result<(), Unavailable>;

    /// Publishes events in order; when it answers, all of them are kept for good. Otherwise any of them may be, but
    /// none without those before it of its saga and topic.
    async fn publish(&self, events: Vec<Event>) -> Result<(), Unavailable>;

    /// Takes part in a group, which begins with the oldest message there is.
    async fn subscribe(&self, group: Group) -> Result<Box<dyn Subscription>, Unavailable>;

    /// Reads the log as it stands, from its beginning, as nobody's group. It has ended when nothing more comes.
    async fn history(&self) -> Result<Box<dyn Subscription>, Unavailable>;

    /// Messages that the group has not taken in yet.
    async fn lag(&self, group: Group) -> Result<u64, Unavailable>;

    /// How the log is kept. One that is part of the ledger has no partitions of its own.
    async fn partitions(&self) -> Result<Partitions, Unavailable>;

    /// Lets a group begin again with the oldest message. Nobody of it may be reading.
    async fn rewind(&self, group: Group) -> Result<(), Unavailable>;

    /// Puts a message aside.
    async fn bury(&self, letter: DeadLetter) -> Result<(), Unavailable>;

    /// Up to `limit` messages that were put aside, oldest first, each group's.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Unavailable>;

    /// Puts a message that was put aside into the log once more; `false` when it still cannot be decoded, and
    /// nothing was done.
    async fn resend(&self, letter: &DeadLetter) -> Result<bool, Unavailable>;
}
