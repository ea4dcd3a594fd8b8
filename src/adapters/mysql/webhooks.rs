//! [`WebhookStore`] in the database of the ledger.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::{Conn, Row};
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::ports::Unavailable;
use crate::ports::webhooks::{
    CreateEndpointError, Delivery, DeliveryCursor, DeliveryState, Disabled, ENDPOINTS_MAX, Endpoint,
    EndpointChange, EndpointId, EndpointState, FAILING_MAX, FAILURES_APART, Health, NewEndpoint, Notice,
    OLD_SECRET_FOR, Outcome, REPLAY_MAX, Replay, Settled, Wanted, WebhookSecret, WebhookStore,
};

use super::consumer_store::{MysqlConsumerStore, shortened};
use super::error::{DbError, Result};
use super::ledger::limited;
use super::rows::{flag, optional_word, order_id, sixteen, word};
use super::session::{ask, roll_back, send, take};
use super::sql::{Message, Value};

const ENDPOINT: &str = "SELECT id, url, description, wanted, disabled, secret, old_secret, old_until, created_at, \
     failing_since FROM webhook_endpoints WHERE deleted = 0";

fn secret(bytes: Vec<u8>) -> Result<WebhookSecret> {
    let bytes = bytes.try_into().map_err(|_| DbError::Unreadable("a secret has not 32 bytes".into()));
    bytes.map(WebhookSecret)
}

fn endpoint(row: &mut Row) -> Result<Endpoint> {
    let wanted = Wanted::read(take::<Option<String>>(row, 3)?.as_deref());
    let disabled = optional_word(row, 4)?;
    let old = take::<Option<Vec<u8>>>(row, 6)?.map(secret).transpose()?;
    let until = take::<Option<i64>>(row, 7)?.map(Timestamp);
    Ok(Endpoint {
        id: EndpointId(Uuid::from_bytes(sixteen(row, 0)?)),
        url: take(row, 1)?,
        description: take(row, 2)?,
        wanted: wanted.map_err(|error| DbError::Unreadable(error.to_string()))?,
        state: disabled.map_or(EndpointState::Enabled, EndpointState::Disabled),
        secret: secret(take(row, 5)?)?,
        old_secret: old.zip(until),
        created_at: Timestamp(take(row, 8)?),
        failing_since: take::<Option<i64>>(row, 9)?.map(Timestamp),
    })
}

const DELIVERY: &str = "SELECT saga_id, sequence, kind, at, state, attempts, due_at, delivered_at, status, error \
     FROM webhook_deliveries WHERE endpoint_id = ";

fn delivery(row: &mut Row) -> Result<Delivery> {
    let notice = Notice {
        saga: order_id(row, 0)?,
        sequence: take(row, 1)?,
        kind: word(row, 2)?,
        at: Timestamp(take(row, 3)?),
    };
    Ok(Delivery {
        notice,
        state: word(row, 4)?,
        attempts: take(row, 5)?,
        due_at: Timestamp(take(row, 6)?),
        delivered_at: take::<Option<i64>>(row, 7)?.map(Timestamp),
        status: take(row, 8)?,
        error: take(row, 9)?,
    })
}

impl<'a> From<&'a EndpointId> for Value<'a> {
    fn from(id: &'a EndpointId) -> Self {
        Self::Bytes(id.0.as_bytes())
    }
}

impl<'a> From<&'a WebhookSecret> for Value<'a> {
    fn from(secret: &'a WebhookSecret) -> Self {
        Self::Bytes(&secret.0)
    }
}

async fn find(connection: &mut Conn, id: EndpointId) -> Result<Option<Endpoint>> {
    let message = Message::default().words(ENDPOINT).words(" AND id = ").value(&id);
    ask(connection, message).await?.first_mut().map(endpoint).transpose()
}

/// Adds the statements that make the deliveries of notices.
pub(super) fn write_notices(mut message: Message, notices: &[Notice], now: Timestamp) -> Message {
    for Notice { saga, sequence, kind, at } in notices {
        message = message
            .words(
                "INSERT IGNORE INTO webhook_deliveries (endpoint_id, saga_id, sequence, kind, at, state, due_at) \
                 SELECT id, ",
            )
            .value(saga)
            .words(",")
            .value(*sequence)
            .words(",")
            .value(kind.as_str())
            .words(",")
            .value(at.0)
            .words(",IF(disabled IS NULL, 'waiting', 'skipped'),")
            .value(now.0)
            .words(" FROM webhook_endpoints WHERE deleted = 0 AND created_at <= ")
            .value(at.0)
            .words(" AND (wanted IS NULL OR INSTR(wanted, ")
            .value(kind.as_str())
            .words(") > 0);");
    }
    message
}

async fn create(connection: &mut Conn, new: &NewEndpoint) -> Result<Option<Endpoint>> {
    // It may be there already, by a try whose answer was lost.
    if let Some(there) = find(connection, new.id).await? {
        return Ok(Some(there));
    }
    let there = Message::begin().words("SELECT id FROM webhook_endpoints WHERE deleted = 0 FOR UPDATE");
    let there = send(connection, there).await?.pop().map(|answer| answer.rows.len());
    if there.unwrap_or_default() >= ENDPOINTS_MAX {
        roll_back(connection).await?;
        return Ok(None);
    }
    let NewEndpoint { id, url, description, wanted, secret, at } = new;
    let message = Message::default()
        .words("INSERT INTO webhook_endpoints (id, url, description, wanted, secret, created_at)")
        .rows([()], |row, ()| {
            row.add(id).add(&**url).add(&**description).add(wanted.words().as_deref()).add(secret).add(at.0);
        })
        .words(";COMMIT");
    send(connection, message).await?;
    find(connection, *id).await
}

async fn change(connection: &mut Conn, id: EndpointId, change: &EndpointChange) -> Result<Option<Endpoint>> {
    let EndpointChange { url, description, wanted, enabled } = change;
    let mut message = Message::default().words("UPDATE webhook_endpoints SET deleted = 0");
    if let Some(url) = url {
        message = message.words(", url = ").value(&**url);
    }
    if let Some(description) = description {
        message = message.words(", description = ").value(&**description);
    }
    if let Some(wanted) = wanted {
        message = message.words(", wanted = ").value(wanted.words().as_deref());
    }
    message = match enabled {
        Some(true) => message.words(", disabled = NULL, failing_since = NULL, last_failed_at = NULL"),
        Some(false) => message.words(", disabled = ").value(Disabled::Administrator.as_str()),
        None => message,
    };
    send(connection, message.words(" WHERE deleted = 0 AND id = ").value(&id)).await?;
    find(connection, id).await
}

async fn rotate(
    connection: &mut Conn,
    id: EndpointId,
    secret: WebhookSecret,
    now: Timestamp,
) -> Result<Option<Endpoint>> {
    // The columns are changed from left to right. A try whose answer was lost is not repeated: the old secret would be
    // the new one.
    let message = Message::default()
        .words("UPDATE webhook_endpoints SET old_secret = secret, old_until = ")
        .value(now.plus(OLD_SECRET_FOR).0)
        .words(", secret = ")
        .value(&secret)
        .words(" WHERE deleted = 0 AND id = ")
        .value(&id)
        .words(" AND secret <> ")
        .value(&secret);
    send(connection, message).await?;
    find(connection, id).await
}

async fn delete(connection: &mut Conn, id: EndpointId) -> Result<bool> {
    let message =
        Message::default().words("UPDATE webhook_endpoints SET deleted = 1 WHERE deleted = 0 AND id = ");
    let answer = send(connection, message.value(&id)).await?.pop();
    Ok(answer.is_some_and(|answer| answer.affected > 0))
}

async fn due(
    connection: &mut Conn,
    id: EndpointId,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let due = Message::begin().words(DELIVERY).value(&id);
    let due = due.words(" AND state = 'waiting' AND due_at <= ").value(now.0);
    let due = due
        .words(
            " AND EXISTS (SELECT 1 FROM webhook_endpoints WHERE disabled IS NULL AND deleted = 0 AND id = ",
        )
        .value(&id)
        .words(") ORDER BY due_at");
    let due = limited(due, limit).words(" FOR UPDATE OF webhook_deliveries SKIP LOCKED");
    let mut due = send(connection, due).await?.pop().map(|answer| answer.rows).unwrap_or_default();
    let mut deliveries = due.iter_mut().map(delivery).collect::<Result<Vec<_>>>()?;
    if deliveries.is_empty() {
        roll_back(connection).await?;
        return Ok(deliveries);
    }
    let until = now.plus(lease);
    let mut message = Message::default()
        .words("UPDATE webhook_deliveries SET attempts = attempts + 1, due_at = ")
        .value(until.0)
        .words(" WHERE endpoint_id = ")
        .value(&id);
    for (n, delivery) in deliveries.iter_mut().enumerate() {
        (delivery.attempts, delivery.due_at) = (delivery.attempts + 1, until);
        message = message
            .words(if n == 0 { " AND (saga_id, sequence) IN ((" } else { "),(" })
            .value(&delivery.notice.saga)
            .words(",")
            .value(delivery.notice.sequence);
    }
    send(connection, message.words("));COMMIT")).await?;
    Ok(deliveries)
}

/// Where another server was told meanwhile that a delivery was taken, it stays so.
const STILL_WAITING: &str = " AND state = 'waiting';";

fn settle_one(message: Message, id: EndpointId, settled: &Settled, now: Timestamp) -> Message {
    let message = message.words("UPDATE webhook_deliveries SET ");
    let status = |status: Option<u16>| status.map(i64::from);
    let (message, ending) = match &settled.outcome {
        Outcome::Delivered { status: answered } => {
            let message = message.words("state = 'delivered', error = NULL, delivered_at = ").value(now.0);
            (message.words(", status = ").value(status(Some(*answered))), ";")
        }
        Outcome::Again { at, status: answered, error } => {
            let message =
                message.words("due_at = ").value(at.0).words(", status = ").value(status(*answered));
            (message.words(", error = ").value(shortened(error)), STILL_WAITING)
        }
        Outcome::Failed { status: answered, error } => {
            let message = message.words("state = 'failed', status = ").value(status(*answered));
            (message.words(", error = ").value(shortened(error)), STILL_WAITING)
        }
    };
    message
        .words(" WHERE endpoint_id = ")
        .value(&id)
        .words(" AND saga_id = ")
        .value(&settled.saga)
        .words(" AND sequence = ")
        .value(settled.sequence)
        .words(ending)
}

async fn settle(
    connection: &mut Conn,
    id: EndpointId,
    settled: &[Settled],
    health: Health,
    now: Timestamp,
) -> Result<Option<Disabled>> {
    let message =
        settled.iter().fold(Message::begin(), |message, settled| settle_one(message, id, settled, now));
    let message = match health {
        Health::Unasked => message,
        Health::Works => message
            .words(
                "UPDATE webhook_endpoints SET failing_since = NULL, last_failed_at = NULL \
                 WHERE failing_since IS NOT NULL AND id = ",
            )
            .value(&id)
            .words(";"),
        Health::Fails | Health::Gone => message
            // The columns are changed from left to right: the first while `last_failed_at` is still the old one.
            .words(
                "UPDATE webhook_endpoints SET failing_since = IF(failing_since IS NULL OR last_failed_at < ",
            )
            .value(now.minus(FAILURES_APART).0)
            .words(", ")
            .value(now.0)
            .words(", failing_since), last_failed_at = ")
            .value(now.0)
            .words(" WHERE id = ")
            .value(&id)
            .words(";"),
    };
    let verdict = match health {
        Health::Gone => Some((Disabled::Gone, now)),
        Health::Fails => Some((Disabled::Failing, now.minus(FAILING_MAX))),
        Health::Works | Health::Unasked => None,
    };
    let Some((why, since)) = verdict else {
        send(connection, message.words("COMMIT")).await?;
        return Ok(None);
    };
    let message = message
        .words("UPDATE webhook_endpoints SET disabled = ")
        .value(why.as_str())
        .words(" WHERE disabled IS NULL AND failing_since <= ")
        .value(since.0)
        .words(" AND id = ")
        .value(&id);
    let answers = send(connection, message.words(";COMMIT")).await?;
    // The one before COMMIT.
    let disabled = answers.iter().rev().nth(1).is_some_and(|answer| answer.affected > 0);
    Ok(disabled.then_some(why))
}

async fn list(
    connection: &mut Conn,
    id: EndpointId,
    state: Option<DeliveryState>,
    before: Option<DeliveryCursor>,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let mut message = Message::default().words(DELIVERY).value(&id);
    if let Some(state) = state {
        message = message.words(" AND state = ").value(state.as_str());
    }
    if let Some(DeliveryCursor { at, saga, sequence }) = before {
        // The first condition is for the index.
        message = message
            .words(" AND at <= ")
            .value(at.0)
            .words(" AND (at, saga_id, sequence) < (")
            .value(at.0)
            .words(",")
            .value(&saga)
            .words(",")
            .value(sequence)
            .words(")");
    }
    let message = limited(message.words(" ORDER BY at DESC, saga_id DESC, sequence DESC"), limit);
    ask(connection, message).await?.iter_mut().map(delivery).collect()
}

async fn replay(
    connection: &mut Conn,
    id: EndpointId,
    times: &Range<Timestamp>,
    now: Timestamp,
) -> Result<Replay> {
    let of_time = |message: Message| {
        message
            .words(" WHERE endpoint_id = ")
            .value(&id)
            .words(" AND at >= ")
            .value(times.start.0)
            .words(" AND at < ")
            .value(times.end.0)
    };
    let found = Message::begin().words("SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries");
    let found = limited(of_time(found), REPLAY_MAX + 1).words(") AS found");
    let mut found = send(connection, found).await?.pop().map(|answer| answer.rows).unwrap_or_default();
    let found: i64 = found.first_mut().map(|row| take(row, 0)).transpose()?.unwrap_or_default();
    if usize::try_from(found).unwrap_or(usize::MAX) > REPLAY_MAX {
        roll_back(connection).await?;
        return Ok(Replay::TooMany);
    }
    let message = Message::default()
        .words(
            "UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, delivered_at = NULL, status = NULL, \
             error = NULL, due_at = ",
        )
        .value(now.0);
    send(connection, of_time(message).words(";COMMIT")).await?;
    // Rows that were as they are now do not count as changed.
    Ok(Replay::Waiting(found.unsigned_abs()))
}

async fn sweep(connection: &mut Conn, before: Timestamp, limit: usize) -> Result<usize> {
    let mut swept = 0;
    let endpoints = Message::default().words("SELECT id, deleted FROM webhook_endpoints");
    for mut row in ask(connection, endpoints).await? {
        let (id, deleted) = (EndpointId(Uuid::from_bytes(sixteen(&mut row, 0)?)), flag(&mut row, 1)?);
        let (before, room) = (if deleted { i64::MAX } else { before.0 }, limit - swept);
        let message =
            Message::default().words("DELETE FROM webhook_deliveries WHERE endpoint_id = ").value(&id);
        let message = message.words(" AND at < ").value(before).words(" ORDER BY at");
        let gone = send(connection, limited(message, room)).await?.pop();
        let gone = usize::try_from(gone.map_or(0, |answer| answer.affected)).unwrap_or(usize::MAX);
        swept = swept.saturating_add(gone);
        if deleted && gone < room {
            let message = Message::default().words("DELETE FROM webhook_endpoints WHERE id = ").value(&id);
            send(connection, message).await?;
        }
    }
    Ok(swept)
}

#[async_trait]
impl WebhookStore for MysqlConsumerStore {
    async fn create_endpoint(
        &self,
        endpoint: NewEndpoint,
    ) -> std::result::Result<Endpoint, CreateEndpointError> {
        let endpoint = Arc::new(endpoint);
        let made = self.ledger().write_now(move |connection| {
            let endpoint = Arc::clone(&endpoint);
            Box::pin(async move { create(connection, &endpoint).await })
        });
        made.await?.ok_or(CreateEndpointError::TooMany)
    }

    async fn endpoints(&self) -> std::result::Result<Vec<Endpoint>, Unavailable> {
        self.ledger()
            .write(move |connection| {
                Box::pin(async move {
                    let message = Message::default().words(ENDPOINT).words(" ORDER BY created_at, id");
                    ask(connection, message).await?.iter_mut().map(endpoint).collect()
                })
            })
            .await
    }

    async fn endpoint(&self, id: EndpointId) -> std::result::Result<Option<Endpoint>, Unavailable> {
        self.ledger().write_now(move |connection| Box::pin(find(connection, id))).await
    }

    async fn change_endpoint(
        &self,
        id: EndpointId,
        wanted: EndpointChange,
    ) -> std::result::Result<Option<Endpoint>, Unavailable> {
        let wanted = Arc::new(wanted);
        self.ledger()
            .write_now(move |connection| {
                let wanted = Arc::clone(&wanted);
                Box::pin(async move { change(connection, id, &wanted).await })
            })
            .await
    }

    async fn rotate_secret(
        &self,
        id: EndpointId,
        secret: WebhookSecret,
        now: Timestamp,
    ) -> std::result::Result<Option<Endpoint>, Unavailable> {
        self.ledger().write_now(move |connection| Box::pin(rotate(connection, id, secret, now))).await
    }

    async fn delete_endpoint(&self, id: EndpointId) -> std::result::Result<bool, Unavailable> {
        self.ledger().write_now(move |connection| Box::pin(delete(connection, id))).await
    }

    async fn due_deliveries(
        &self,
        id: EndpointId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> std::result::Result<Vec<Delivery>, Unavailable> {
        self.ledger().write(move |connection| Box::pin(due(connection, id, now, lease, limit))).await
    }

    async fn settle_deliveries(
        &self,
        id: EndpointId,
        settled: Vec<Settled>,
        health: Health,
        now: Timestamp,
    ) -> std::result::Result<Option<Disabled>, Unavailable> {
        let settled: Arc<[Settled]> = settled.into();
        self.ledger()
            .write(move |connection| {
                let settled = Arc::clone(&settled);
                Box::pin(async move { settle(connection, id, &settled, health, now).await })
            })
            .await
    }

    async fn deliveries(
        &self,
        id: EndpointId,
        state: Option<DeliveryState>,
        before: Option<DeliveryCursor>,
        limit: usize,
    ) -> std::result::Result<Vec<Delivery>, Unavailable> {
        self.ledger().write_now(move |connection| Box::pin(list(connection, id, state, before, limit))).await
    }

    async fn replay(
        &self,
        id: EndpointId,
        times: Range<Timestamp>,
        now: Timestamp,
    ) -> std::result::Result<Replay, Unavailable> {
        self.ledger()
            .write_now(move |connection| {
                let times = times.clone();
                Box::pin(async move { replay(connection, id, &times, now).await })
            })
            .await
    }

    async fn sweep_deliveries(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> std::result::Result<usize, Unavailable> {
        self.ledger().write(move |connection| Box::pin(sweep(connection, before, limit))).await
    }
}
