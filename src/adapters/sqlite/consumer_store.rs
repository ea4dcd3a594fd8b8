//! [`ConsumerStore`] over a SQLite file of its own, so that no sale waits for what is made of its events.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::domain::{Event, OrderId, Timestamp, Topic, UserId};
use crate::ports::Unavailable;
use crate::ports::consumer_store::{
    ConsumerStore, Effects, Finding, Heard, Mail, MailKind, MailOutcome, MailState, Meaning, Minute, Sales,
    Sums, Totals, Watched,
};
use crate::ports::event_log::{DeadLetter, Group, Place};
use crate::ports::outbox::Position;

use super::file::{OpenError, StoreFile};
use super::readers::Readers;
use super::rows::{blob, count, optional_word, order_id, word};
use super::webhooks::write_notice;
use super::writer::Writer;

const FILE: StoreFile = StoreFile {
    name: "store of the consumers",
    application_id: 0x48_43_4f_4e, // "HCON"
    migrations: &[
        include_str!("../../../migrations/sqlite/consumers_0001.sql"),
        include_str!("../../../migrations/sqlite/consumers_0002_webhooks.sql"),
    ],
};

/// The consumers' store of the embedded profile.
pub struct SqliteConsumerStore {
    // Closed first: whoever closes last tidies the files up, and only the writer can.
    readers: Readers,
    writer: Writer,
}

impl SqliteConsumerStore {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let writer = Writer::start("consumers", FILE.open(path)?);
        Ok(Self { writer, readers: Readers::new(path.to_owned()) })
    }

    /// Whether the file, where there is one, can be opened as it is. Changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn inspect(path: &Path) -> Result<(), OpenError> {
        FILE.inspect(path)
    }

    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.readers.read(query).await
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.write(work).await.map_err(|error| Unavailable(format!("the consumers' store: {error}")))
    }

    /// How far a group has read.
    pub(super) async fn offset(&self, group: Group) -> Result<Position, Unavailable> {
        let query = move |connection: &Connection| {
            connection
                .query_row(
                    "SELECT position FROM consumer_offsets WHERE consumer_group = ?",
                    [group.as_str()],
                    |row| Ok(Position(row.get(0)?)),
                )
                .optional()
        };
        Ok(self.readers.read(query).await?.unwrap_or_default())
    }

    /// Remembers how far a group has read.
    pub(super) async fn set_offset(&self, group: Group, position: Position) -> Result<(), Unavailable> {
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO consumer_offsets (consumer_group, position) VALUES (?, ?)",
                )?
                .execute(params![group.as_str(), position.0])
                .map(drop)
        })
        .await
    }

    pub(super) async fn bury(&self, letter: DeadLetter) -> Result<(), Unavailable> {
        self.write(move |connection| {
            let DeadLetter { topic, place, group, reason, payload } = &letter;
            connection
                .execute(
                    "INSERT INTO dead_letters (consumer_group, topic, position, reason, payload) \
                     VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    params![group, topic, place.offset, reason, payload],
                )
                .map(drop)
        })
        .await
    }

    pub(super) async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT topic, position, consumer_group, reason, payload FROM dead_letters ORDER BY id LIMIT ?",
            )?;
            let letters = statement.query_map([count(limit)], |row| {
                Ok(DeadLetter {
                    topic: word::<Topic>(row, 0)?.as_str(),
                    place: Place { partition: 0, offset: row.get(1)? },
                    group: row.get(2)?,
                    reason: row.get(3)?,
                    payload: row.get(4)?,
                })
            })?;
            letters.collect()
        };
        self.readers.read(query).await
    }

    pub(super) async fn forget_letter(&self, letter: &DeadLetter) -> Result<(), Unavailable> {
        let (group, offset) = (letter.group.clone(), letter.place.offset);
        self.write(move |connection| {
            connection
                .execute(
                    "DELETE FROM dead_letters WHERE consumer_group = ? AND position = ?",
                    params![group, offset],
                )
                .map(drop)
        })
        .await
    }
}

/// Remembers the events of a group and leaves out those that it had.
fn new_events(connection: &Connection, group: Group, events: &[Event]) -> rusqlite::Result<Vec<Event>> {
    let mut last = connection.prepare_cached(
        "SELECT sequence FROM consumed_events WHERE consumer_group = ? AND saga_id = ? AND topic = ?",
    )?;
    let mut remember = connection.prepare_cached(
        "INSERT OR REPLACE INTO consumed_events (consumer_group, saga_id, topic, sequence) VALUES (?, ?, ?, ?)",
    )?;
    let mut known: BTreeMap<(OrderId, &'static str), (u32, bool)> = BTreeMap::new();
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let key = (event.saga_id, event.body.topic().as_str());
        let last = match known.get_mut(&key) {
            Some(last) => last,
            None => {
                let found = last.query_row(params![group.as_str(), blob(key.0), key.1], |row| row.get(0));
                known.entry(key).or_insert((found.optional()?.unwrap_or(0), false))
            }
        };
        if event.sequence > last.0 {
            *last = (event.sequence, true);
            fresh.push(event.clone());
        }
    }
    for ((saga, topic), (sequence, changed)) in known {
        if changed {
            remember.execute(params![group.as_str(), blob(saga), topic, sequence])?;
        }
    }
    Ok(fresh)
}

fn write_effects(connection: &Connection, effects: &Effects, now: Timestamp) -> rusqlite::Result<()> {
    for mail in &effects.mails {
        connection
            .prepare_cached(
                "INSERT INTO mails (order_id, kind, user_id, created_at, state, due_at) \
                 VALUES (?, ?, ?, ?, 'waiting', ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![blob(mail.order), mail.kind.as_str(), mail.user.0, mail.at.0, now.0])?;
    }
    add_sums(
        connection,
        ADD_BY_MINUTE,
        effects.sales.by_minute.iter().map(|((minute, currency), sums)| (minute.0, currency.as_str(), sums)),
    )?;
    add_sums(
        connection,
        ADD_BY_PRODUCT,
        effects
            .sales
            .by_product
            .iter()
            .map(|((product, currency), sums)| (product.0, currency.as_str(), sums)),
    )?;
    for ((minute, reason), orders) in &effects.sales.failures {
        connection
            .prepare_cached(
                "INSERT INTO failures_by_minute (minute, reason, orders) VALUES (?, ?, ?) \
                 ON CONFLICT DO UPDATE SET orders = orders + excluded.orders",
            )?
            .execute(params![minute.0, reason.as_str(), orders])?;
    }
    for Heard { saga, seen, last, ending } in &effects.heard {
        connection
            .prepare_cached(
                "INSERT INTO watched_sagas (saga_id, seen, last, ending, heard_at) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET seen = seen + excluded.seen, \
                 ending = iif(excluded.last > last, excluded.ending, ending), \
                 last = max(last, excluded.last), heard_at = excluded.heard_at",
            )?
            .execute(params![blob(*saga), seen, last, ending.map(|ending| ending.as_str()), now.0])?;
    }
    for notice in &effects.notices {
        write_notice(connection, notice, now)?;
    }
    Ok(())
}

macro_rules! add_sums_into {
    ($table:literal, $key:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (",
            $key,
            ", currency, sales, units, revenue_minor, cancelled_sales, cancelled_units, cancelled_minor) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET sales = sales + excluded.sales, \
             units = units + excluded.units, revenue_minor = revenue_minor + excluded.revenue_minor, \
             cancelled_sales = cancelled_sales + excluded.cancelled_sales, \
             cancelled_units = cancelled_units + excluded.cancelled_units, \
             cancelled_minor = cancelled_minor + excluded.cancelled_minor"
        )
    };
}
const ADD_BY_MINUTE: &str = add_sums_into!("sales_by_minute", "minute");
const ADD_BY_PRODUCT: &str = add_sums_into!("sales_by_product", "product_id");

fn add_sums<'a>(
    connection: &Connection,
    statement: &'static str,
    sums: impl Iterator<Item = (i64, &'a str, &'a Sums)>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(statement)?;
    for (key, currency, sums) in sums {
        let Sums { sales, units, revenue_minor, cancelled_sales, cancelled_units, cancelled_minor } = sums;
        statement.execute(params![
            key,
            currency,
            sales,
            units,
            revenue_minor,
            cancelled_sales,
            cancelled_units,
            cancelled_minor
        ])?;
    }
    Ok(())
}

const SUMS: &str = "currency, sales, units, revenue_minor, cancelled_sales, cancelled_units, cancelled_minor";

/// The columns of [`SUMS`], from column 1 on.
fn sums(row: &Row<'_>) -> rusqlite::Result<(crate::domain::Currency, Sums)> {
    let sums = Sums {
        sales: row.get(2)?,
        units: row.get(3)?,
        revenue_minor: row.get(4)?,
        cancelled_sales: row.get(5)?,
        cancelled_units: row.get(6)?,
        cancelled_minor: row.get(7)?,
    };
    Ok((word(row, 1)?, sums))
}

fn sales(connection: &Connection, minutes: &Range<Minute>, top: usize) -> rusqlite::Result<Sales> {
    let mut found = Sales::default();
    let range = [minutes.start.0, minutes.end.0];
    let mut by_minute = connection.prepare_cached(&format!(
        "SELECT minute, {SUMS} FROM sales_by_minute WHERE minute >= ? AND minute < ?"
    ))?;
    let mut rows = by_minute.query(range)?;
    while let Some(row) = rows.next()? {
        let (currency, sums) = sums(row)?;
        found.by_minute.insert((Minute(row.get(0)?), currency), sums);
    }
    let mut failures = connection.prepare_cached(
        "SELECT minute, reason, orders FROM failures_by_minute WHERE minute >= ? AND minute < ?",
    )?;
    let mut rows = failures.query(range)?;
    while let Some(row) = rows.next()? {
        found.failures.insert((Minute(row.get(0)?), word(row, 1)?), row.get(2)?);
    }
    let mut by_product = connection.prepare_cached(&format!(
        "SELECT product_id, {SUMS} FROM (SELECT *, row_number() OVER (PARTITION BY currency \
         ORDER BY revenue_minor - cancelled_minor DESC, product_id) AS place FROM sales_by_product) WHERE place <= ?"
    ))?;
    let mut rows = by_product.query([count(top)])?;
    while let Some(row) = rows.next()? {
        let (currency, sums) = sums(row)?;
        found.by_product.insert((crate::domain::ProductId(row.get(0)?), currency), sums);
    }
    Ok(found)
}

fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let sums = "SELECT coalesce(sum(sales), 0), coalesce(sum(units), 0), coalesce(sum(cancelled_sales), 0) \
                FROM sales_by_minute";
    connection.query_row(sums, [], |row| {
        Ok(Totals { sales: row.get(0)?, units: row.get(1)?, cancelled_sales: row.get(2)? })
    })
}

const MAIL: &str = "order_id, kind, user_id, created_at, state, attempts, sent_at, error";

fn mail(row: &Row<'_>) -> rusqlite::Result<Mail> {
    Ok(Mail {
        order: order_id(row, 0)?,
        kind: word(row, 1)?,
        user: UserId(row.get(2)?),
        created_at: Timestamp(row.get(3)?),
        state: word(row, 4)?,
        attempts: row.get(5)?,
        sent_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        error: row.get(7)?,
    })
}

#[async_trait]
impl ConsumerStore for SqliteConsumerStore {
    async fn take_in(
        &self,
        group: Group,
        events: Vec<Event>,
        meaning: Meaning,
        now: Timestamp,
    ) -> Result<usize, Unavailable> {
        self.write(move |connection| {
            let fresh = new_events(connection, group, &events)?;
            write_effects(connection, &meaning(&fresh), now)?;
            Ok(fresh.len())
        })
        .await
    }

    async fn mails_of(&self, order: OrderId) -> Result<Vec<Mail>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {MAIL} FROM mails WHERE order_id = ? ORDER BY created_at, kind"
            ))?;
            statement.query_map([blob(order)], mail)?.collect()
        };
        self.readers.read(query).await
    }

    async fn due_mails(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Mail>, Unavailable> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "UPDATE mails SET due_at = ?, attempts = attempts + 1 WHERE (order_id, kind) IN \
                 (SELECT order_id, kind FROM mails WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at LIMIT ?) \
                 RETURNING {MAIL}"
            ))?;
            statement.query_map(params![now.plus(lease).0, now.0, count(limit)], mail)?.collect()
        })
        .await
    }

    async fn settle_mail(
        &self,
        order: OrderId,
        kind: MailKind,
        outcome: MailOutcome,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        self.write(move |connection| {
            let (state, due, error) = match &outcome {
                MailOutcome::Ended(state, error) => (*state, now, error.as_deref()),
                MailOutcome::Again(due, error) => (MailState::Waiting, *due, Some(&**error)),
            };
            let sent_at = (state == MailState::Sent).then_some(now.0);
            connection
                .prepare_cached(
                    "UPDATE mails SET state = ?, due_at = ?, sent_at = ?, error = ? WHERE order_id = ? AND kind = ?",
                )?
                .execute(params![state.as_str(), due.0, sent_at, error, blob(order), kind.as_str()])
                .map(drop)
        })
        .await
    }

    async fn totals(&self) -> Result<Totals, Unavailable> {
        self.readers.read(totals).await
    }

    async fn mail_counts(&self) -> Result<Vec<(MailKind, MailState, u64)>, Unavailable> {
        let query = |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT kind, state, count(*) FROM mails GROUP BY kind, state")?;
            let counts = statement.query_map([], |row| {
                let count: i64 = row.get(2)?;
                Ok((word(row, 0)?, word(row, 1)?, u64::try_from(count).unwrap_or_default()))
            })?;
            counts.collect()
        };
        self.readers.read(query).await
    }

    async fn sales(&self, minutes: Range<Minute>, top: usize) -> Result<Sales, Unavailable> {
        self.readers.read(move |connection| sales(connection, &minutes, top)).await
    }

    async fn watched(&self, before: Timestamp, limit: usize) -> Result<Vec<Watched>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT w.saga_id, seen, last, ending, heard_at, ifnull(sequence, 0) FROM watched_sagas w \
                 LEFT JOIN consumed_events c ON c.saga_id = w.saga_id AND consumer_group = ? AND topic = ? \
                 WHERE heard_at < ? ORDER BY heard_at LIMIT ?",
            )?;
            let (group, topic) = (Group::Coordination.as_str(), Topic::Order.as_str());
            let watched = statement.query_map(params![group, topic, before.0, count(limit)], |row| {
                let ending = optional_word(row, 3)?;
                let heard = Heard { saga: order_id(row, 0)?, seen: row.get(1)?, last: row.get(2)?, ending };
                Ok(Watched { heard, sale_heard_to: row.get(5)?, heard_at: Timestamp(row.get(4)?) })
            })?;
            watched.collect()
        };
        self.readers.read(query).await
    }

    async fn settle_watched(&self, ended: Vec<Watched>, findings: Vec<Finding>) -> Result<(), Unavailable> {
        self.write(move |connection| {
            for watched in &ended {
                let saga = blob(watched.heard.saga);
                connection
                    .prepare_cached("DELETE FROM watched_sagas WHERE saga_id = ? AND last = ?")?
                    .execute(params![saga, watched.heard.last])?;
                connection.prepare_cached("DELETE FROM saga_findings WHERE saga_id = ?")?.execute([saga])?;
            }
            for Finding { saga_id, kind, detail, found_at } in &findings {
                connection
                    .prepare_cached(
                        "INSERT INTO saga_findings (saga_id, kind, detail, found_at) VALUES (?, ?, ?, ?) \
                         ON CONFLICT DO UPDATE SET detail = excluded.detail",
                    )?
                    .execute(params![blob(*saga_id), kind.as_str(), detail, found_at.0])?;
            }
            Ok(())
        })
        .await
    }

    async fn findings(&self, limit: usize) -> Result<Vec<Finding>, Unavailable> {
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT saga_id, kind, detail, found_at FROM saga_findings ORDER BY found_at DESC, saga_id LIMIT ?",
            )?;
            let findings = statement.query_map([count(limit)], |row| {
                Ok(Finding {
                    saga_id: order_id(row, 0)?,
                    kind: word(row, 1)?,
                    detail: row.get(2)?,
                    found_at: Timestamp(row.get(3)?),
                })
            })?;
            findings.collect()
        };
        self.readers.read(query).await
    }
}
