//! The outbox: the events of each commit, written with it. Read by offset it is the event log of
//! the embedded profile.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, params};

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::event_log::{EventLog, LogEntry, Position};

use super::readers::Readers;
use super::rows::blob;

/// Writes the events of one saga in this commit; the first of them is number `first`.
pub fn append(
    connection: &Connection,
    saga: OrderId,
    first: u32,
    at: Timestamp,
    bodies: impl IntoIterator<Item = EventBody>,
) -> rusqlite::Result<()> {
    let events: Vec<Event> = (first..)
        .zip(bodies)
        .map(|(sequence, body)| Event { saga_id: saga, sequence, time: at, body })
        .collect();
    let json = serde_json::to_string(&events).expect("events are plain data");
    connection
        .prepare_cached(
            "INSERT INTO outbox (saga_id, first_sequence, events, created_at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![blob(saga), first, json, at.0])?;
    Ok(())
}

/// Reads one column of events.
pub fn parse(text: &str) -> rusqlite::Result<Vec<Event>> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// The events of a saga in sequence.
pub fn of_saga(connection: &Connection, saga: OrderId) -> rusqlite::Result<Vec<Event>> {
    let mut statement =
        connection.prepare_cached("SELECT events FROM outbox WHERE saga_id = ? ORDER BY first_sequence")?;
    let mut rows = statement.query([blob(saga)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.extend(parse(row.get_ref(0)?.as_str()?)?);
    }
    Ok(events)
}

/// The outbox read as a log.
pub struct OutboxLog {
    readers: Readers,
}

impl OutboxLog {
    /// The log of the store that `readers` read.
    pub fn new(readers: Readers) -> Arc<Self> {
        Arc::new(Self { readers })
    }
}

#[async_trait]
impl EventLog for OutboxLog {
    async fn read(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>, Unavailable> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT position, events FROM outbox WHERE position > ? ORDER BY position LIMIT ?",
            )?;
            let entries = statement.query_map([after.0, limit], |row| {
                let events = parse(row.get_ref(1)?.as_str()?)?;
                Ok(LogEntry { position: Position(row.get(0)?), events })
            })?;
            entries.collect()
        };
        self.readers.read(query).await
    }
}
