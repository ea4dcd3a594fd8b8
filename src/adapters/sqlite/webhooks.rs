//! [`WebhookStore`] in the file of the consumers, so that an event and its deliveries are one transaction.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::ports::Unavailable;
use crate::ports::webhooks::{
    CreateEndpointError, Delivery, DeliveryCursor, DeliveryState, Disabled, ENDPOINTS_MAX, Endpoint,
    EndpointChange, EndpointId, EndpointState, FAILING_MAX, FAILURES_APART, Health, NewEndpoint, Notice,
    OLD_SECRET_FOR, Outcome, REPLAY_MAX, Replay, Settled, Wanted, WebhookSecret, WebhookStore,
};

use super::consumer_store::SqliteConsumerStore;
use super::rows::{blob, count, optional_word, order_id, unreadable, word};

const ENDPOINT: &str = "SELECT id, url, description, wanted, disabled, secret, old_secret, old_until, created_at, \
     failing_since FROM webhook_endpoints WHERE deleted = 0";

fn endpoint(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let wanted = Wanted::read(row.get::<_, Option<String>>(3)?.as_deref());
    let disabled = optional_word(row, 4)?;
    let old = row.get::<_, Option<[u8; 32]>>(6)?.map(WebhookSecret);
    let until = row.get::<_, Option<i64>>(7)?.map(Timestamp);
    Ok(Endpoint {
        id: EndpointId(Uuid::from_bytes(row.get(0)?)),
        url: row.get(1)?,
        description: row.get(2)?,
        wanted: wanted.map_err(|error| unreadable(3, rusqlite::types::Type::Text, error.to_string()))?,
        state: disabled.map_or(EndpointState::Enabled, EndpointState::Disabled),
        secret: WebhookSecret(row.get(5)?),
        old_secret: old.zip(until),
        created_at: Timestamp(row.get(8)?),
        failing_since: row.get::<_, Option<i64>>(9)?.map(Timestamp),
    })
}

const DELIVERY: &str = "saga_id, sequence, kind, at, state, attempts, due_at, delivered_at, status, error";

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let notice = Notice {
        saga: order_id(row, 0)?,
        sequence: row.get(1)?,
        kind: word(row, 2)?,
        at: Timestamp(row.get(3)?),
    };
    Ok(Delivery {
        notice,
        state: word(row, 4)?,
        attempts: row.get(5)?,
        due_at: Timestamp(row.get(6)?),
        delivered_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        status: row.get(8)?,
        error: row.get(9)?,
    })
}

fn key(id: EndpointId) -> [u8; 16] {
    id.0.into_bytes()
}

fn find(connection: &Connection, id: EndpointId) -> rusqlite::Result<Option<Endpoint>> {
    connection.prepare_cached(&format!("{ENDPOINT} AND id = ?"))?.query_row([key(id)], endpoint).optional()
}

/// Makes the deliveries of a notice.
pub(super) fn write_notice(connection: &Connection, notice: &Notice, now: Timestamp) -> rusqlite::Result<()> {
    let Notice { saga, sequence, kind, at } = notice;
    connection
        .prepare_cached(
            "INSERT INTO webhook_deliveries (endpoint_id, saga_id, sequence, kind, at, state, due_at) \
             SELECT id, ?1, ?2, ?3, ?4, iif(disabled IS NULL, 'waiting', 'skipped'), ?5 FROM webhook_endpoints \
             WHERE deleted = 0 AND created_at <= ?4 AND (wanted IS NULL OR instr(wanted, ?3) > 0) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![blob(*saga), sequence, kind.as_str(), at.0, now.0])
        .map(drop)
}

fn settle(
    connection: &Connection,
    id: EndpointId,
    settled: &Settled,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (saga, sequence) = (blob(settled.saga), settled.sequence);
    match &settled.outcome {
        Outcome::Delivered { status } => connection
            .prepare_cached(
                "UPDATE webhook_deliveries SET state = 'delivered', delivered_at = ?, status = ?, error = NULL \
                 WHERE endpoint_id = ? AND saga_id = ? AND sequence = ?",
            )?
            .execute(params![now.0, status, key(id), saga, sequence]),
        // Where somebody else was told meanwhile that it was taken, it stays so.
        Outcome::Again { at, status, error } => connection
            .prepare_cached(
                "UPDATE webhook_deliveries SET due_at = ?, status = ?, error = ? \
                 WHERE endpoint_id = ? AND saga_id = ? AND sequence = ? AND state = 'waiting'",
            )?
            .execute(params![at.0, status, error, key(id), saga, sequence]),
        Outcome::Failed { status, error } => connection
            .prepare_cached(
                "UPDATE webhook_deliveries SET state = 'failed', status = ?, error = ? \
                 WHERE endpoint_id = ? AND saga_id = ? AND sequence = ? AND state = 'waiting'",
            )?
            .execute(params![status, error, key(id), saga, sequence]),
    }
    .map(drop)
}

fn judge(
    connection: &Connection,
    id: EndpointId,
    health: Health,
    now: Timestamp,
) -> rusqlite::Result<Option<Disabled>> {
    let id = key(id);
    match health {
        Health::Unasked => return Ok(None),
        Health::Works => {
            connection
                .prepare_cached(
                    "UPDATE webhook_endpoints SET failing_since = NULL, last_failed_at = NULL \
                     WHERE id = ? AND failing_since IS NOT NULL",
                )?
                .execute([id])?;
            return Ok(None);
        }
        Health::Fails | Health::Gone => connection
            .prepare_cached(
                "UPDATE webhook_endpoints SET last_failed_at = ?1, failing_since = \
                 iif(failing_since IS NULL OR last_failed_at < ?2, ?1, failing_since) WHERE id = ?3",
            )?
            .execute(params![now.0, now.minus(FAILURES_APART).0, id])?,
    };
    let (why, since) = match health {
        Health::Gone => (Disabled::Gone, now),
        _ => (Disabled::Failing, now.minus(FAILING_MAX)),
    };
    let disabled = connection
        .prepare_cached(
            "UPDATE webhook_endpoints SET disabled = ? WHERE id = ? AND disabled IS NULL AND failing_since <= ?",
        )?
        .execute(params![why.as_str(), id, since.0])?;
    Ok((disabled > 0).then_some(why))
}

#[async_trait]
impl WebhookStore for SqliteConsumerStore {
    async fn create_endpoint(&self, new: NewEndpoint) -> Result<Endpoint, CreateEndpointError> {
        let made = self.write(move |connection| {
            let there: i64 = connection.query_row(
                "SELECT count(*) FROM webhook_endpoints WHERE deleted = 0",
                [],
                |row| row.get(0),
            )?;
            if there >= count(ENDPOINTS_MAX) {
                return Ok(None);
            }
            let NewEndpoint { id, url, description, wanted, secret, at } = &new;
            connection
                .prepare_cached(
                    "INSERT INTO webhook_endpoints (id, url, description, wanted, secret, created_at) \
                     VALUES (?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![key(*id), url, description, wanted.words(), secret.0, at.0])?;
            find(connection, *id)
        });
        made.await?.ok_or(CreateEndpointError::TooMany)
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Unavailable> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(&format!("{ENDPOINT} ORDER BY created_at, id"))?;
            statement.query_map([], endpoint)?.collect()
        };
        self.read(query).await
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, Unavailable> {
        self.read(move |connection| find(connection, id)).await
    }

    async fn change_endpoint(
        &self,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, Unavailable> {
        self.write(move |connection| {
            let EndpointChange { url, description, wanted, enabled } = &change;
            let set = |sql: &str, value: &Option<String>| {
                let sql = format!("UPDATE webhook_endpoints SET {sql} = ? WHERE id = ? AND deleted = 0");
                connection.prepare_cached(&sql)?.execute(params![value, key(id)])
            };
            if url.is_some() {
                set("url", url)?;
            }
            if description.is_some() {
                set("description", description)?;
            }
            if let Some(wanted) = wanted {
                set("wanted", &wanted.words())?;
            }
            match enabled {
                Some(true) => connection
                    .prepare_cached(
                        "UPDATE webhook_endpoints SET disabled = NULL, failing_since = NULL, last_failed_at = NULL \
                         WHERE id = ?",
                    )?
                    .execute([key(id)])?,
                Some(false) => set("disabled", &Some(Disabled::Administrator.as_str().to_owned()))?,
                None => 0,
            };
            find(connection, id)
        })
        .await
    }

    async fn rotate_secret(
        &self,
        id: EndpointId,
        secret: WebhookSecret,
        now: Timestamp,
    ) -> Result<Option<Endpoint>, Unavailable> {
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE webhook_endpoints SET old_secret = secret, old_until = ?, secret = ? \
                     WHERE id = ? AND deleted = 0",
                )?
                .execute(params![now.plus(OLD_SECRET_FOR).0, secret.0, key(id)])?;
            find(connection, id)
        })
        .await
    }

    async fn delete_endpoint(&self, id: EndpointId) -> Result<bool, Unavailable> {
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE webhook_endpoints SET deleted = 1 WHERE id = ? AND deleted = 0")?
                .execute([key(id)])
                .map(|changed| changed > 0)
        })
        .await
    }

    async fn due_deliveries(
        &self,
        id: EndpointId,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, Unavailable> {
        // Looking is no commit; mostly there is nothing.
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM webhook_deliveries WHERE endpoint_id = ? AND state = 'waiting' \
                 AND due_at <= ?)",
            )?;
            statement.query_row(params![key(id), now.0], |row| row.get::<_, bool>(0))
        };
        if !self.read(query).await? {
            return Ok(Vec::new());
        }
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "UPDATE webhook_deliveries SET due_at = ?1, attempts = attempts + 1 \
                 WHERE (endpoint_id, saga_id, sequence) IN (SELECT endpoint_id, saga_id, sequence \
                 FROM webhook_deliveries WHERE endpoint_id = ?2 AND state = 'waiting' AND due_at <= ?3 \
                 AND EXISTS (SELECT 1 FROM webhook_endpoints WHERE id = ?2 AND disabled IS NULL AND deleted = 0) \
                 ORDER BY due_at LIMIT ?4) RETURNING {DELIVERY}"
            ))?;
            let due = params![now.plus(lease).0, key(id), now.0, count(limit)];
            statement.query_map(due, delivery)?.collect()
        })
        .await
    }

    async fn settle_deliveries(
        &self,
        id: EndpointId,
        settled: Vec<Settled>,
        health: Health,
        now: Timestamp,
    ) -> Result<Option<Disabled>, Unavailable> {
        self.write(move |connection| {
            for settled in &settled {
                settle(connection, id, settled, now)?;
            }
            judge(connection, id, health, now)
        })
        .await
    }

    async fn deliveries(
        &self,
        id: EndpointId,
        state: Option<DeliveryState>,
        before: Option<DeliveryCursor>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Unavailable> {
        let query = move |connection: &Connection| {
            let (at, saga, sequence) = match before {
                Some(DeliveryCursor { at, saga, sequence }) => (at.0, blob(saga), sequence),
                None => (i64::MAX, [0; 16], 0),
            };
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {DELIVERY} FROM webhook_deliveries WHERE endpoint_id = ?1 \
                 AND (at, saga_id, sequence) < (?2, ?3, ?4) AND (?5 IS NULL OR state = ?5) \
                 ORDER BY at DESC, saga_id DESC, sequence DESC LIMIT ?6"
            ))?;
            let state = state.map(DeliveryState::as_str);
            statement
                .query_map(params![key(id), at, saga, sequence, state, count(limit)], delivery)?
                .collect()
        };
        self.read(query).await
    }

    async fn replay(
        &self,
        id: EndpointId,
        times: Range<Timestamp>,
        now: Timestamp,
    ) -> Result<Replay, Unavailable> {
        self.write(move |connection| {
            let (from, to) = (times.start.0, times.end.0);
            let found: i64 = connection
                .prepare_cached(
                    "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries \
                     WHERE endpoint_id = ? AND at >= ? AND at < ? LIMIT ?)",
                )?
                .query_row(params![key(id), from, to, count(REPLAY_MAX + 1)], |row| row.get(0))?;
            if found > count(REPLAY_MAX) {
                return Ok(Replay::TooMany);
            }
            connection
                .prepare_cached(
                    "UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, due_at = ?, delivered_at = NULL, \
                     status = NULL, error = NULL WHERE endpoint_id = ? AND at >= ? AND at < ?",
                )?
                .execute(params![now.0, key(id), from, to])
                .map(|changed| Replay::Waiting(changed as u64))
        })
        .await
    }

    async fn sweep_deliveries(&self, before: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("SELECT id, deleted FROM webhook_endpoints")?;
            let endpoints = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let endpoints: Vec<([u8; 16], bool)> = endpoints.collect::<rusqlite::Result<_>>()?;
            let mut swept = 0;
            for (id, deleted) in endpoints {
                let (before, room) = (if deleted { i64::MAX } else { before.0 }, limit - swept);
                let gone = connection
                    .prepare_cached(
                        "DELETE FROM webhook_deliveries WHERE (endpoint_id, saga_id, sequence) IN \
                         (SELECT endpoint_id, saga_id, sequence FROM webhook_deliveries \
                         WHERE endpoint_id = ? AND at < ? ORDER BY at LIMIT ?)",
                    )?
                    .execute(params![id, before, count(room)])?;
                swept += gone;
                if deleted && gone < room {
                    connection.prepare_cached("DELETE FROM webhook_endpoints WHERE id = ?")?.execute([id])?;
                }
            }
            Ok(swept)
        })
        .await
    }
}
