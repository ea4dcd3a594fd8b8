//! The outbox: the events of each commit, written with it and kept as the orders' history. Where the event log
//! is another system, what it is not known to have is the backlog, which a relay sends to it.
//!
//! To add an adapter, see [`crate::ports`].

use std::ops::Range;

use async_trait::async_trait;

use crate::domain::{Event, OrderId, Timestamp};

use super::Unavailable;

/// A place in the outbox. Greater is later; places may be skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Position(pub i64);

/// Events of one saga committed together, with the place to continue after them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub position: Position,
    pub events: Vec<Event>,
}

/// Which entry of a saga: the number of its first event says so.
pub type EntryKey = (OrderId, u32);

/// Reads what commits have written.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Up to `limit` entries after `position`, in order. None when there is nothing newer. Where several servers
    /// write, one that commits late may come to stand behind a reader; entries of one saga keep their order.
    async fn read(&self, after: Position, limit: usize) -> Result<Vec<Entry>, Unavailable>;

    /// The same, of those written in `times`.
    async fn read_between(
        &self,
        times: Range<Timestamp>,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable>;
}

/// How much the event log is not known to have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BacklogSize {
    pub entries: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

/// What the event log is not known to have.
#[async_trait]
pub trait Backlog: Send + Sync {
    /// Up to `limit` entries from before `before` that the log is not known to have: oldest sagas first, each
    /// saga's in sequence.
    async fn unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<Vec<Event>>, Unavailable>;

    /// How much there is of it.
    async fn size(&self) -> Result<BacklogSize, Unavailable>;

    /// Those of the entries that the log must not get yet, because an earlier one of their saga is not known to be
    /// there.
    async fn blocked(&self, entries: &[EntryKey]) -> Result<Vec<EntryKey>, Unavailable>;

    /// The log has them.
    async fn mark_sent(&self, entries: &[EntryKey]) -> Result<(), Unavailable>;
}
