//! The outbox: the events of each commit, written with it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::outbox::{Entry, Outbox, Position};

use super::readers::Readers;
use super::rows::{blob, count, order_id};

/// Writes the events of one saga in this commit; the first of them is number `first`.
pub fn append(
    connection: &Connection,
    saga: OrderId,
    first: u32,
    at: Timestamp,
    bodies: &[EventBody],
) -> rusqlite::Result<()> {
    // The row's own columns say the rest of each event.
    let json = serde_json::to_string(bodies).expect("events are plain data");
    connection
        .prepare_cached(
            "INSERT INTO outbox (saga_id, first_sequence, events, created_at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![blob(saga), first, json, at.0])?;
    Ok(())
}

/// The columns that [`events`] reads.
const COLUMNS: &str = "saga_id, first_sequence, created_at, events";

/// The events of one row, or why they cannot be read and what stands there.
type Readable = Result<Vec<Event>, (serde_json::Error, Vec<u8>)>;

fn readable(row: &Row<'_>) -> rusqlite::Result<Readable> {
    let (saga_id, first, time): (_, u32, _) = (order_id(row, 0)?, row.get(1)?, Timestamp(row.get(2)?));
    let text = row.get_ref(3)?.as_str()?;
    let event = |(sequence, body)| Event { saga_id, sequence, time, body };
    Ok(match serde_json::from_str::<Vec<EventBody>>(text) {
        Ok(bodies) => Ok((first..).zip(bodies).map(event).collect()),
        Err(error) => Err((error, text.as_bytes().to_owned())),
    })
}

fn events(row: &Row<'_>) -> rusqlite::Result<Vec<Event>> {
    readable(row)?
        .map_err(|(error, _)| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))
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

/// The outbox of a ledger.
pub struct SqliteOutbox {
    readers: Readers,
}

impl SqliteOutbox {
    /// The outbox of the store that `readers` read.
    pub fn new(readers: Readers) -> Arc<Self> {
        Arc::new(Self { readers })
    }

    /// Up to `limit` entries after a position, the unreadable among them.
    pub(super) async fn read_any(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Readable)>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, position FROM outbox WHERE position > ? ORDER BY position LIMIT ?"
            ))?;
            let entries = statement
                .query_map([after.0, count(limit)], |row| Ok((Position(row.get(4)?), readable(row)?)))?;
            entries.collect()
        };
        self.readers.read(query).await
    }

    /// How many entries there are after a position.
    pub(super) async fn count_after(&self, after: Position) -> Result<u64, Unavailable> {
        let query = move |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM outbox WHERE position > ?", [after.0], |row| {
                row.get::<_, i64>(0)
            })
        };
        Ok(u64::try_from(self.readers.read(query).await?).unwrap_or_default())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { position: Position(row.get(4)?), events: events(row)? })
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn read(&self, after: Position, limit: usize) -> Result<Vec<Entry>, Unavailable> {
        let entry = |(position, events): (Position, Readable)| match events {
            Ok(events) => Ok(Entry { position, events }),
            Err((error, _)) => Err(Unavailable(error.to_string())),
        };
        self.read_any(after, limit).await?.into_iter().map(entry).collect()
    }

    async fn read_between(
        &self,
        times: Range<Timestamp>,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, position FROM outbox WHERE created_at >= ? AND created_at < ? AND position > ? \
                 ORDER BY position LIMIT ?"
            ))?;
            statement.query_map([times.start.0, times.end.0, after.0, count(limit)], entry)?.collect()
        };
        self.readers.read(query).await
    }
}
