//! [`ConsumerStore`] in the database of the ledger.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::{Conn, Row};

use crate::domain::{Currency, Event, OrderId, ProductId, Timestamp, Topic, UserId};
use crate::ports::Unavailable;
use crate::ports::consumer_store::{
    ConsumerStore, Effects, Finding, Heard, Mail, MailKind, MailOutcome, MailState, Meaning, Minute, Sales,
    Sums, Totals, Watched,
};
use crate::ports::event_log::Group;

use super::error::Result;
use super::ledger::{MysqlLedger, limited};
use super::rows::{optional_word, order_id, word};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;
use super::webhooks::write_notices;

/// The consumers' store of the cluster profile.
pub struct MysqlConsumerStore {
    ledger: Arc<MysqlLedger>,
}

impl MysqlConsumerStore {
    /// The store beside a ledger.
    pub fn new(ledger: Arc<MysqlLedger>) -> Self {
        Self { ledger }
    }

    /// Where its tables are.
    pub(super) fn ledger(&self) -> &MysqlLedger {
        &self.ledger
    }
}

type Known = BTreeMap<(OrderId, &'static str), u32>;

/// What the group remembers of the sagas of `events`; it stays so until the end of the transaction.
async fn known(connection: &mut Conn, group: Group, events: &[Event]) -> Result<Known> {
    let mut sagas: Vec<OrderId> = events.iter().map(|event| event.saga_id).collect();
    sagas.sort_unstable();
    sagas.dedup();
    let message = Message::begin()
        .words("SELECT saga_id, topic, sequence FROM consumed_events WHERE consumer_group = ")
        .value(group.as_str())
        .words(" AND saga_id IN ")
        .list(&sagas)
        .words(" ORDER BY saga_id, topic FOR UPDATE");
    let mut known = Known::new();
    for mut row in send(connection, message).await?.pop().map(|answer| answer.rows).unwrap_or_default() {
        let topic: Topic = word(&mut row, 1)?;
        known.insert((order_id(&mut row, 0)?, topic.as_str()), take(&mut row, 2)?);
    }
    Ok(known)
}

async fn take_in(
    connection: &mut Conn,
    group: Group,
    events: &[Event],
    meaning: Meaning,
    now: Timestamp,
) -> Result<usize> {
    if events.is_empty() {
        return Ok(0);
    }
    let before = known(connection, group, events).await?;
    let mut after = before.clone();
    let is_new = |event: &&Event| {
        let last = after.entry((event.saga_id, event.body.topic().as_str())).or_default();
        let is_new = event.sequence > *last;
        *last = event.sequence.max(*last);
        is_new
    };
    let fresh: Vec<Event> = events.iter().filter(is_new).cloned().collect();
    if fresh.is_empty() {
        roll_back(connection).await?;
        return Ok(0);
    }
    // What is new is inserted and must not be there: should another server have taken it in meanwhile, all of
    // this is done again.
    let (known, new): (Vec<_>, Vec<_>) = after
        .iter()
        .filter(|(key, last)| before.get(*key) != Some(*last))
        .partition(|(key, _)| before.contains_key(*key));
    let mut message = Message::default();
    for (rows, ending) in [(new, ";"), (known, " AS new ON DUPLICATE KEY UPDATE sequence = new.sequence;")] {
        if !rows.is_empty() {
            message = message
                .words("INSERT INTO consumed_events (consumer_group, saga_id, topic, sequence)")
                .rows(rows, |row, ((saga, topic), last)| {
                    row.add(group.as_str()).add(saga).add(*topic).add(*last);
                })
                .words(ending);
        }
    }
    send(connection, write_effects(message, &meaning(&fresh), now).words("COMMIT")).await?;
    Ok(fresh.len())
}

fn write_effects(mut message: Message, effects: &Effects, now: Timestamp) -> Message {
    let Effects { mails, sales, heard, notices } = effects;
    if !mails.is_empty() {
        message = message
            .words("INSERT IGNORE INTO mails (order_id, kind, user_id, created_at, state, due_at)")
            .rows(mails, |row, mail| {
                row.add(&mail.order).add(mail.kind.as_str()).add(mail.user.0).add(mail.at.0);
                row.add(MailState::Waiting.as_str()).add(now.0);
            })
            .words(";");
    }
    let by_minute = sales.by_minute.iter().map(|((minute, currency), sums)| (minute.0, currency, sums));
    message = add_sums(message, "INSERT INTO sales_by_minute (minute, ", by_minute);
    let by_product = sales.by_product.iter().map(|((product, currency), sums)| (product.0, currency, sums));
    message = add_sums(message, "INSERT INTO sales_by_product (product_id, ", by_product);
    if !sales.failures.is_empty() {
        message = message
            .words("INSERT INTO failures_by_minute (minute, reason, orders)")
            .rows(&sales.failures, |row, ((minute, reason), orders)| {
                row.add(minute.0).add(reason.as_str()).add(*orders);
            })
            .words(" AS new ON DUPLICATE KEY UPDATE orders = failures_by_minute.orders + new.orders;");
    }
    if !heard.is_empty() {
        message = message
            .words("INSERT INTO watched_sagas (saga_id, seen, last, ending, heard_at)")
            .rows(heard, |row, Heard { saga, seen, last, ending }| {
                row.add(saga).add(*seen).add(*last).add(ending.map(|ending| ending.as_str())).add(now.0);
            })
            // The columns are changed from left to right: the ending while `last` is still the old one.
            .words(
                " AS new ON DUPLICATE KEY UPDATE seen = watched_sagas.seen + new.seen, \
                 ending = IF(new.last > watched_sagas.last, new.ending, watched_sagas.ending), \
                 last = GREATEST(watched_sagas.last, new.last), heard_at = new.heard_at;",
            );
    }
    write_notices(message, notices, now)
}

const SUMS: &str = "currency, sales, units, revenue_minor, cancelled_sales, cancelled_units, cancelled_minor";

fn add_sums<'a>(
    message: Message,
    insert: &'static str,
    sums: impl Iterator<Item = (i64, &'a Currency, &'a Sums)>,
) -> Message {
    let mut sums = sums.peekable();
    if sums.peek().is_none() {
        return message;
    }
    message
        .words(insert)
        .words(SUMS)
        .words(")")
        .rows(sums, |row, (key, currency, sums)| {
            row.add(key).add(currency.as_str()).add(sums.sales).add(sums.units).add(sums.revenue_minor);
            row.add(sums.cancelled_sales).add(sums.cancelled_units).add(sums.cancelled_minor);
        })
        // A name without a table means the row that stands there.
        .words(
            " AS new (k, c, s, u, r, cs, cu, cm) ON DUPLICATE KEY UPDATE sales = sales + s, units = units + u, \
             revenue_minor = revenue_minor + r, cancelled_sales = cancelled_sales + cs, \
             cancelled_units = cancelled_units + cu, cancelled_minor = cancelled_minor + cm;",
        )
}

/// The columns of [`SUMS`], from column 1 on.
fn sums(row: &mut Row) -> Result<(Currency, Sums)> {
    let sums = Sums {
        sales: take(row, 2)?,
        units: take(row, 3)?,
        revenue_minor: take(row, 4)?,
        cancelled_sales: take(row, 5)?,
        cancelled_units: take(row, 6)?,
        cancelled_minor: take(row, 7)?,
    };
    Ok((word(row, 1)?, sums))
}

async fn sales(connection: &mut Conn, minutes: &Range<Minute>, top: usize) -> Result<Sales> {
    let in_minutes = |message: Message| {
        message.words(" WHERE minute >= ").value(minutes.start.0).words(" AND minute < ").value(minutes.end.0)
    };
    let mut found = Sales::default();
    let by_minute = Message::default().words("SELECT minute, ").words(SUMS).words(" FROM sales_by_minute");
    for mut row in ask(connection, in_minutes(by_minute)).await? {
        let (currency, sums) = sums(&mut row)?;
        found.by_minute.insert((Minute(take(&mut row, 0)?), currency), sums);
    }
    let failures = Message::default().words("SELECT minute, reason, orders FROM failures_by_minute");
    for mut row in ask(connection, in_minutes(failures)).await? {
        let key = (Minute(take(&mut row, 0)?), word(&mut row, 1)?);
        found.failures.insert(key, take(&mut row, 2)?);
    }
    let by_product = Message::default()
        .words("SELECT product_id, ")
        .words(SUMS)
        .words(
            " FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY currency ORDER BY revenue_minor - cancelled_minor DESC, \
             product_id) AS place FROM sales_by_product) AS places WHERE place <= ",
        )
        .value(i64::try_from(top).unwrap_or(i64::MAX));
    for mut row in ask(connection, by_product).await? {
        let (currency, sums) = sums(&mut row)?;
        found.by_product.insert((ProductId(take(&mut row, 0)?), currency), sums);
    }
    Ok(found)
}

const MAIL: &str =
    "SELECT order_id, kind, user_id, created_at, state, attempts, sent_at, error FROM mails WHERE ";

fn mail(row: &mut Row) -> Result<Mail> {
    Ok(Mail {
        order: order_id(row, 0)?,
        kind: word(row, 1)?,
        user: UserId(take(row, 2)?),
        created_at: Timestamp(take(row, 3)?),
        state: word(row, 4)?,
        attempts: take(row, 5)?,
        sent_at: take::<Option<i64>>(row, 6)?.map(Timestamp),
        error: take(row, 7)?,
    })
}

async fn mails_of(connection: &mut Conn, order: OrderId) -> Result<Vec<Mail>> {
    let message = Message::default().words(MAIL).words("order_id = ").value(&order);
    ask(connection, message.words(" ORDER BY created_at, kind")).await?.iter_mut().map(mail).collect()
}

async fn due_mails(
    connection: &mut Conn,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Mail>> {
    let due = Message::begin().words(MAIL).words("state = ").value(MailState::Waiting.as_str());
    let due = limited(due.words(" AND due_at <= ").value(now.0).words(" ORDER BY due_at"), limit);
    let due = send(connection, due.words(" FOR UPDATE SKIP LOCKED")).await?.pop();
    let mut due = due.map(|answer| answer.rows).unwrap_or_default();
    let mut mails = due.iter_mut().map(mail).collect::<Result<Vec<_>>>()?;
    if mails.is_empty() {
        roll_back(connection).await?;
        return Ok(mails);
    }
    let mut message = Message::default()
        .words("UPDATE mails SET attempts = attempts + 1, due_at = ")
        .value(now.plus(lease).0);
    for (n, mail) in mails.iter_mut().enumerate() {
        mail.attempts += 1;
        message = message
            .words(if n == 0 { " WHERE (order_id, kind) IN ((" } else { "),(" })
            .value(&mail.order)
            .words(",")
            .value(mail.kind.as_str());
    }
    send(connection, message.words("));COMMIT")).await?;
    Ok(mails)
}

async fn settle_mail(
    connection: &mut Conn,
    order: OrderId,
    kind: MailKind,
    outcome: &MailOutcome,
    now: Timestamp,
) -> Result<()> {
    let (state, due, error) = match outcome {
        MailOutcome::Ended(state, error) => (*state, now, error.as_deref()),
        MailOutcome::Again(due, error) => (MailState::Waiting, *due, Some(&**error)),
    };
    let message = Message::default()
        .words("UPDATE mails SET state = ")
        .value(state.as_str())
        .words(", due_at = ")
        .value(due.0)
        .words(", sent_at = ")
        .value((state == MailState::Sent).then_some(now.0))
        .words(", error = ")
        .value(error.map(shortened))
        .words(" WHERE order_id = ")
        .value(&order)
        .words(" AND kind = ")
        .value(kind.as_str());
    ask(connection, message).await.map(drop)
}

/// What fits into the column.
pub(super) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(400)]
}

async fn watched(connection: &mut Conn, before: Timestamp, limit: usize) -> Result<Vec<Watched>> {
    let message = Message::default()
        .words("SELECT w.saga_id, seen, last, ending, heard_at, COALESCE(sequence, 0) FROM watched_sagas w ")
        .words("LEFT JOIN consumed_events c ON c.saga_id = w.saga_id AND consumer_group = ")
        .value(Group::Coordination.as_str())
        .words(" AND topic = ")
        .value(Topic::Order.as_str())
        .words(" WHERE heard_at < ")
        .value(before.0)
        .words(" ORDER BY heard_at");
    let mut watched = Vec::new();
    for mut row in ask(connection, limited(message, limit)).await? {
        let row = &mut row;
        let ending = optional_word(row, 3)?;
        let heard = Heard { saga: order_id(row, 0)?, seen: take(row, 1)?, last: take(row, 2)?, ending };
        let heard_at = Timestamp(take(row, 4)?);
        watched.push(Watched { heard, sale_heard_to: take(row, 5)?, heard_at });
    }
    Ok(watched)
}

async fn settle_watched(connection: &mut Conn, ended: &[Watched], findings: &[Finding]) -> Result<()> {
    let mut message = Message::begin();
    if !ended.is_empty() {
        let sagas = || ended.iter().map(|watched| &watched.heard.saga);
        message = message.words("DELETE FROM saga_findings WHERE saga_id IN ").list(sagas());
        for (n, Watched { heard, .. }) in ended.iter().enumerate() {
            message = message
                .words(if n == 0 { ";DELETE FROM watched_sagas WHERE (saga_id, last) IN ((" } else { "),(" })
                .value(&heard.saga)
                .words(",")
                .value(heard.last);
        }
        message = message.words("));");
    }
    if !findings.is_empty() {
        message = message
            .words("INSERT INTO saga_findings (saga_id, kind, detail, found_at)")
            .rows(findings, |row, Finding { saga_id, kind, detail, found_at }| {
                row.add(saga_id).add(kind.as_str()).add(shortened(detail)).add(found_at.0);
            })
            .words(" AS new ON DUPLICATE KEY UPDATE detail = new.detail;");
    }
    send(connection, message.words("COMMIT")).await.map(drop)
}

async fn findings(connection: &mut Conn, limit: usize) -> Result<Vec<Finding>> {
    let message = Message::default()
        .words("SELECT saga_id, kind, detail, found_at FROM saga_findings ORDER BY found_at DESC, saga_id");
    let mut findings = Vec::new();
    for mut row in ask(connection, limited(message, limit)).await? {
        let row = &mut row;
        findings.push(Finding {
            saga_id: order_id(row, 0)?,
            kind: word(row, 1)?,
            detail: take(row, 2)?,
            found_at: Timestamp(take(row, 3)?),
        });
    }
    Ok(findings)
}

async fn totals(connection: &mut Conn) -> Result<Totals> {
    let message = Message::default().words(
        "SELECT CAST(COALESCE(SUM(sales), 0) AS SIGNED), CAST(COALESCE(SUM(units), 0) AS SIGNED), \
         CAST(COALESCE(SUM(cancelled_sales), 0) AS SIGNED) FROM sales_by_minute",
    );
    let mut rows = ask(connection, message).await?;
    let Some(row) = rows.first_mut() else { return Ok(Totals::default()) };
    Ok(Totals { sales: take(row, 0)?, units: take(row, 1)?, cancelled_sales: take(row, 2)? })
}

async fn mail_counts(connection: &mut Conn) -> Result<Vec<(MailKind, MailState, u64)>> {
    let message = Message::default().words("SELECT kind, state, COUNT(*) FROM mails GROUP BY kind, state");
    let mut counts = Vec::new();
    for mut row in ask(connection, message).await? {
        counts.push((word(&mut row, 0)?, word(&mut row, 1)?, take(&mut row, 2)?));
    }
    Ok(counts)
}

#[async_trait]
impl ConsumerStore for MysqlConsumerStore {
    async fn take_in(
        &self,
        group: Group,
        events: Vec<Event>,
        meaning: Meaning,
        now: Timestamp,
    ) -> std::result::Result<usize, Unavailable> {
        let events: Arc<[Event]> = events.into();
        self.ledger
            .write(move |connection| {
                let events = Arc::clone(&events);
                Box::pin(async move { take_in(connection, group, &events, meaning, now).await })
            })
            .await
    }

    async fn mails_of(&self, order: OrderId) -> std::result::Result<Vec<Mail>, Unavailable> {
        self.ledger.write_now(move |connection| Box::pin(mails_of(connection, order))).await
    }

    async fn due_mails(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> std::result::Result<Vec<Mail>, Unavailable> {
        self.ledger.write(move |connection| Box::pin(due_mails(connection, now, lease, limit))).await
    }

    async fn settle_mail(
        &self,
        order: OrderId,
        kind: MailKind,
        outcome: MailOutcome,
        now: Timestamp,
    ) -> std::result::Result<(), Unavailable> {
        let outcome = Arc::new(outcome);
        self.ledger
            .write(move |connection| {
                let outcome = Arc::clone(&outcome);
                Box::pin(async move { settle_mail(connection, order, kind, &outcome, now).await })
            })
            .await
    }

    async fn totals(&self) -> std::result::Result<Totals, Unavailable> {
        self.ledger.write(|connection| Box::pin(totals(connection))).await
    }

    async fn mail_counts(&self) -> std::result::Result<Vec<(MailKind, MailState, u64)>, Unavailable> {
        self.ledger.write(move |connection| Box::pin(mail_counts(connection))).await
    }

    async fn sales(&self, minutes: Range<Minute>, top: usize) -> std::result::Result<Sales, Unavailable> {
        self.ledger
            .read(move |connection| {
                let minutes = minutes.clone();
                Box::pin(async move { sales(connection, &minutes, top).await })
            })
            .await
    }

    async fn watched(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<Watched>, Unavailable> {
        self.ledger.write(move |connection| Box::pin(watched(connection, before, limit))).await
    }

    async fn settle_watched(
        &self,
        ended: Vec<Watched>,
        findings: Vec<Finding>,
    ) -> std::result::Result<(), Unavailable> {
        if ended.is_empty() && findings.is_empty() {
            return Ok(());
        }
        let (ended, findings): (Arc<[Watched]>, Arc<[Finding]>) = (ended.into(), findings.into());
        self.ledger
            .write(move |connection| {
                let (ended, findings) = (Arc::clone(&ended), Arc::clone(&findings));
                Box::pin(async move { settle_watched(connection, &ended, &findings).await })
            })
            .await
    }

    async fn findings(&self, limit: usize) -> std::result::Result<Vec<Finding>, Unavailable> {
        self.ledger.write_now(move |connection| Box::pin(findings(connection, limit))).await
    }
}
