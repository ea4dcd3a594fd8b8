//! The outbox: the events of each commit, written with it, and read as the history of orders.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::{Conn, Row};
use tokio::sync::mpsc;

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::outbox::{self, Backlog, BacklogSize, EntryKey, Outbox, Position};

use super::error::{DbError, Result};
use super::ledger::{MysqlLedger, limited};
use super::rows::order_id;
use super::session::{ask, take};
use super::sql::Message;

/// The events of one saga in one commit; the first of them is number `first`.
pub struct Entry {
    saga: OrderId,
    first: u32,
    at: Timestamp,
    bodies: Vec<EventBody>,
}

impl Entry {
    pub fn new(saga: OrderId, first: u32, at: Timestamp, bodies: Vec<EventBody>) -> Self {
        Self { saga, first, at, bodies }
    }

    fn into_events(self) -> Vec<Event> {
        let Self { saga, first, at, bodies } = self;
        numbered(saga, first, at, bodies)
    }
}

fn numbered(saga_id: OrderId, first: u32, time: Timestamp, bodies: Vec<EventBody>) -> Vec<Event> {
    (first..).zip(bodies).map(|(sequence, body)| Event { saga_id, sequence, time, body }).collect()
}

/// Where commits put their events: into the outbox with them, and after them to the relay, where there is
/// one. What the relay has no room for it finds in the outbox later.
#[derive(Clone, Default)]
pub struct Feed(Option<mpsc::Sender<Vec<Event>>>);

impl Feed {
    /// A feed to a relay that may be `room` entries behind, and the relay's end of it.
    pub fn to_relay(room: usize) -> (Self, mpsc::Receiver<Vec<Event>>) {
        let (sender, receiver) = mpsc::channel(room);
        (Self(Some(sender)), receiver)
    }

    /// Adds the statements that write the entries, where there are any.
    pub fn append(&self, message: Message, entries: &[Entry]) -> Message {
        if entries.is_empty() {
            return message;
        }
        let message = message
            .words("INSERT INTO outbox (saga_id, first_sequence, events, created_at)")
            .rows(entries, |row, entry| {
                // The row's own columns say the rest of each event.
                let json = serde_json::to_string(&entry.bodies).expect("events are plain data");
                row.add(&entry.saga).add(entry.first).add(&*json).add(entry.at.0);
            })
            .words(";");
        if self.0.is_none() {
            return message;
        }
        message
            .words("INSERT INTO outbox_unsent (saga_id, first_sequence, created_at)")
            .rows(entries, |row, entry| {
                row.add(&entry.saga).add(entry.first).add(entry.at.0);
            })
            .words(";")
    }

    /// Tells the relay of entries that are committed.
    pub fn committed(&self, entries: Vec<Entry>) {
        let Some(relay) = &self.0 else { return };
        for entry in entries {
            if relay.try_send(entry.into_events()).is_err() {
                return;
            }
        }
    }
}

/// The columns that [`events`] reads.
const SELECT: &str = "SELECT saga_id, first_sequence, created_at, events, position FROM outbox ";

/// The events of one row.
fn events(row: &mut Row) -> Result<Vec<Event>> {
    let (saga_id, first, time) = (order_id(row, 0)?, take::<u32>(row, 1)?, Timestamp(take(row, 2)?));
    let json: String = take(row, 3)?;
    let bodies: Vec<EventBody> =
        serde_json::from_str(&json).map_err(|error| DbError::Unreadable(error.to_string()))?;
    Ok(numbered(saga_id, first, time, bodies))
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

async fn read(connection: &mut Conn, which: Message, limit: usize) -> Result<Vec<outbox::Entry>> {
    let mut entries = Vec::new();
    for mut row in ask(connection, limited(which.words(" ORDER BY position"), limit)).await? {
        let position = Position(take(&mut row, 4)?);
        entries.push(outbox::Entry { position, events: events(&mut row)? });
    }
    Ok(entries)
}

async fn unsent(connection: &mut Conn, before: Timestamp, limit: usize) -> Result<Vec<Vec<Event>>> {
    let message = Message::default()
        .words(
            "SELECT o.saga_id, o.first_sequence, o.created_at, o.events FROM outbox_unsent u JOIN outbox o \
             ON o.saga_id = u.saga_id AND o.first_sequence = u.first_sequence WHERE u.created_at < ",
        )
        .value(before.0)
        .words(" ORDER BY u.saga_id, u.first_sequence");
    ask(connection, limited(message, limit)).await?.iter_mut().map(events).collect()
}

async fn size(connection: &mut Conn) -> Result<BacklogSize> {
    let message = Message::default().words("SELECT COUNT(*), MIN(created_at) FROM outbox_unsent");
    let mut rows = ask(connection, message).await?;
    let Some(row) = rows.first_mut() else { return Ok(BacklogSize::default()) };
    Ok(BacklogSize { entries: take(row, 0)?, oldest: take::<Option<i64>>(row, 1)?.map(Timestamp) })
}

async fn blocked(connection: &mut Conn, entries: &[EntryKey]) -> Result<Vec<EntryKey>> {
    let message = Message::default()
        .words("SELECT saga_id, MIN(first_sequence) FROM outbox_unsent WHERE saga_id IN ")
        .list(entries.iter().map(|(saga, _)| saga))
        .words(" GROUP BY saga_id");
    let mut least: HashMap<OrderId, u32> = HashMap::new();
    for mut row in ask(connection, message).await? {
        least.insert(order_id(&mut row, 0)?, take(&mut row, 1)?);
    }
    let is_blocked = |(saga, first): &&EntryKey| least.get(saga).is_some_and(|least| least < first);
    Ok(entries.iter().filter(is_blocked).copied().collect())
}

async fn mark_sent(connection: &mut Conn, entries: &[EntryKey]) -> Result<()> {
    let mut message =
        Message::default().words("DELETE FROM outbox_unsent WHERE (saga_id, first_sequence) IN (");
    for (n, (saga, first)) in entries.iter().enumerate() {
        message =
            message.words(if n == 0 { "(" } else { ",(" }).value(saga).words(",").value(*first).words(")");
    }
    ask(connection, message.words(")")).await.map(drop)
}

/// The outbox of a ledger, and what of it the log is not known to have. Positions are given before their
/// transactions commit, so one that commits late may come to stand behind a reader.
pub struct MysqlOutbox {
    ledger: Arc<MysqlLedger>,
}

impl MysqlOutbox {
    /// The outbox of a ledger.
    pub fn new(ledger: Arc<MysqlLedger>) -> Self {
        Self { ledger }
    }
}

#[async_trait]
impl Outbox for MysqlOutbox {
    async fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> std::result::Result<Vec<outbox::Entry>, Unavailable> {
        self.ledger
            .read(move |connection| {
                let which = Message::default().words(SELECT).words("WHERE position > ").value(after.0);
                Box::pin(read(connection, which, limit))
            })
            .await
    }

    async fn read_between(
        &self,
        times: Range<Timestamp>,
        after: Position,
        limit: usize,
    ) -> std::result::Result<Vec<outbox::Entry>, Unavailable> {
        self.ledger
            .read(move |connection| {
                let which = Message::default()
                    .words(SELECT)
                    .words("WHERE created_at >= ")
                    .value(times.start.0)
                    .words(" AND created_at < ")
                    .value(times.end.0)
                    .words(" AND position > ")
                    .value(after.0);
                Box::pin(read(connection, which, limit))
            })
            .await
    }
}

#[async_trait]
impl Backlog for MysqlOutbox {
    async fn unsent(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<Vec<Event>>, Unavailable> {
        self.ledger.write(move |connection| Box::pin(unsent(connection, before, limit))).await
    }

    async fn size(&self) -> std::result::Result<BacklogSize, Unavailable> {
        self.ledger.write(|connection| Box::pin(size(connection))).await
    }

    async fn blocked(&self, entries: &[EntryKey]) -> std::result::Result<Vec<EntryKey>, Unavailable> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let entries: Arc<[EntryKey]> = entries.into();
        self.ledger
            .write(move |connection| {
                let entries = Arc::clone(&entries);
                Box::pin(async move { blocked(connection, &entries).await })
            })
            .await
    }

    async fn mark_sent(&self, entries: &[EntryKey]) -> std::result::Result<(), Unavailable> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries: Arc<[EntryKey]> = entries.into();
        self.ledger
            .write(move |connection| {
                let entries = Arc::clone(&entries);
                Box::pin(async move { mark_sent(connection, &entries).await })
            })
            .await
    }
}
