//! The outbox: the events of each commit, written with it, and read as the history of orders.

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Conn, Row};

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::event_log::{EventLog, LogEntry, Position};

use super::error::{DbError, Result};
use super::ledger::MysqlLedger;
use super::rows::order_id;
use super::session::{ask, take};
use super::sql::Message;

/// The events of one saga in one commit; the first of them is number `first`.
pub struct Entry {
    saga: OrderId,
    first: u32,
    at: Timestamp,
    json: String,
}

impl Entry {
    pub fn new(saga: OrderId, first: u32, at: Timestamp, bodies: &[EventBody]) -> Self {
        // The row's own columns say the rest of each event.
        let json = serde_json::to_string(bodies).expect("events are plain data");
        Self { saga, first, at, json }
    }
}

/// Adds the statement that writes the entries, where there are any.
pub fn append(message: Message, entries: &[Entry]) -> Message {
    if entries.is_empty() {
        return message;
    }
    message
        .words("INSERT INTO outbox (saga_id, first_sequence, events, created_at)")
        .rows(entries, |row, entry| {
            row.add(&entry.saga).add(entry.first).add(&*entry.json).add(entry.at.0);
        })
        .words(";")
}

/// The columns that [`events`] reads.
const SELECT: &str = "SELECT saga_id, first_sequence, created_at, events, position FROM outbox ";

/// The events of one row.
fn events(row: &mut Row) -> Result<Vec<Event>> {
    let (saga_id, first, time) = (order_id(row, 0)?, take::<u32>(row, 1)?, Timestamp(take(row, 2)?));
    let json: String = take(row, 3)?;
    let bodies: Vec<EventBody> =
        serde_json::from_str(&json).map_err(|error| DbError::Unreadable(error.to_string()))?;
    let event = |(sequence, body)| Event { saga_id, sequence, time, body };
    Ok((first..).zip(bodies).map(event).collect())
}

/// The events of a saga in sequence.
pub async fn of_saga(connection: &mut Conn, saga: OrderId) -> Result<Vec<Event>> {
    let message = Message::default().words(SELECT).words("WHERE saga_id = ").value(&saga);
    let mut all = Vec::new();
    for mut row in ask(connection, message.words(" ORDER BY first_sequence")).await? {
        all.extend(events(&mut row)?);
    }
    Ok(all)
}

async fn read(connection: &mut Conn, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
    let message = Message::default()
        .words(SELECT)
        .words("WHERE position > ")
        .value(after.0)
        .words(" ORDER BY position LIMIT ")
        .value(i64::try_from(limit).unwrap_or(i64::MAX));
    let mut entries = Vec::new();
    for mut row in ask(connection, message).await? {
        entries.push(LogEntry { position: Position(take(&mut row, 4)?), events: events(&mut row)? });
    }
    Ok(entries)
}

/// The outbox read as a log. Positions are given before their transactions commit, so one that commits late
/// may come to stand behind a reader: it is for looking at a shop at rest. Events of one saga keep their
/// order.
pub struct MysqlOutboxLog {
    ledger: Arc<MysqlLedger>,
}

impl MysqlOutboxLog {
    /// The log of a ledger.
    pub fn new(ledger: Arc<MysqlLedger>) -> Self {
        Self { ledger }
    }
}

#[async_trait]
impl EventLog for MysqlOutboxLog {
    async fn read(&self, after: Position, limit: usize) -> std::result::Result<Vec<LogEntry>, Unavailable> {
        self.ledger.read(move |connection| Box::pin(read(connection, after, limit))).await
    }
}
