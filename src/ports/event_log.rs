//! The log of events: what happened, in the order in which it was committed.
//!
//! To add an adapter, see [`crate::ports`].

use async_trait::async_trait;

use crate::domain::Event;

use super::Unavailable;

/// A place in the log. Greater is later; places may be skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Position(pub i64);

/// Events committed together, with the place to continue after them.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub position: Position,
    pub events: Vec<Event>,
}

/// Reads events.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Up to `limit` entries after `position`, in order. None when there is nothing newer.
    async fn read(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>, Unavailable>;
}
