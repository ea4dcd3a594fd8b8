//! The outbox: the events of each commit, written with it. Read by offset it is the event log of
//! the embedded profile.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::event_log::{EventLog, LogEntry, Position};

use super::readers::Readers;
use super::rows::{blob, order_id};

/// Writes the events of one saga in this commit; the first of them is number `first`.
pub fn append(
    connection: &Connection,
    saga: OrderId,
    first: u32,
    at: Timestamp,
    bodies: impl IntoIterator<Item = EventBody>,
) -> rusqlite::Result<()> {
    // The row's own columns say the rest of each event.
    let bodies: Vec<EventBody> = bodies.into_iter().collect();
    let json = serde_json::to_string(&bodies).expect("events are plain data");
    connection
        .prepare_cached(
            "INSERT INTO outbox (saga_id, first_sequence, events, created_at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![blob(saga), first, json, at.0])?;
    Ok(())
}

/// The columns that [`events`] reads.
const COLUMNS: &str = "saga_id, first_sequence, created_at, events";

/// The events of one row.
fn events(row: &Row<'_>) -> rusqlite::Result<Vec<Event>> {
    let (saga_id, first, time): (_, u32, _) = (order_id(row, 0)?, row.get(1)?, Timestamp(row.get(2)?));
    let bodies: Vec<EventBody> = serde_json::from_str(row.get_ref(3)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))?;
    let event = |(sequence, body)| Event { saga_id, sequence, time, body };
    Ok((first..).zip(bodies).map(event).collect())
}

/// The events of a saga in sequence.
pub fn of_saga(connection: &Connection, saga: OrderId) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE saga_id = ? ORDER BY first_sequence"))?;
    let mut rows = statement.query([blob(saga)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.extend(events(row)?);
    }
    Ok(all)
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
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, position FROM outbox WHERE position > ? ORDER BY position LIMIT ?"
            ))?;
            let entries = statement.query_map([after.0, limit], |row| {
                Ok(LogEntry { position: Position(row.get(4)?), events: events(row)? })
            })?;
            entries.collect()
        };
        self.readers.read(query).await
    }
}
