//! Rows of sagas that are not finished: reading, parking, claiming and resuming them; and the heartbeats
//! of the servers that own them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::{Conn, Row};

use crate::domain::{
    Basket, Driver, InstanceId, NextAction, OrderId, PaymentToken, Purchase, Reason, StepName, Timestamp,
};
use crate::ports::ledger::{
    OpenSaga, OrderState, Progress, SagaError, SagaOverview, SagaRef, SagaState, StuckSaga,
};

use super::error::Result;
use super::rows::{digest, driver, find_orders, flag, optional_word, order_id, word};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;
use super::waiting::next_action;

/// The clock of the database, in milliseconds.
const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";

/// A row of `saga_states`.
pub struct SagaRow {
    pub id: OrderId,
    pub step: StepName,
    pub undoing: Option<Reason>,
    pub cancel_wanted: bool,
    pub stuck: bool,
    pub tombstone: bool,
    pub payment_token: Option<PaymentToken>,
    pub driver: Driver,
    pub updated_at: Timestamp,
    /// Until when it waits for its customer; `None` when it does not.
    pub waits_until: Option<Timestamp>,
    pub next_action: Option<NextAction>,
}

impl SagaRow {
    /// Whether its customer has to act, as far as is known: also while somebody looks.
    pub fn needs_customer(&self) -> bool {
        self.next_action.is_some() && self.undoing.is_none() && !self.cancel_wanted && !self.stuck
    }
}

/// `SELECT` of the columns that [`saga_row`] reads.
pub const SELECT_SAGA: &str = "SELECT saga_id, current_step, undoing, cancel_wanted, stuck, tombstone, state_data, \
     owner, epoch, updated_at, waiting_until, next_action FROM saga_states ";

fn saga_row(row: &mut Row) -> Result<SagaRow> {
    Ok(SagaRow {
        id: order_id(row, 0)?,
        step: word(row, 1)?,
        undoing: optional_word(row, 2)?,
        cancel_wanted: flag(row, 3)?,
        stuck: flag(row, 4)?,
        tombstone: flag(row, 5)?,
        payment_token: take::<Option<String>>(row, 6)?.map(|token| PaymentToken(token.into())),
        driver: driver(row, 7)?,
        updated_at: Timestamp(take(row, 9)?),
        waits_until: take::<Option<i64>>(row, 10)?.map(Timestamp),
        next_action: next_action(row, 11)?,
    })
}

/// Rows by id.
pub fn by_id(mut rows: Vec<Row>) -> Result<HashMap<OrderId, SagaRow>> {
    rows.iter_mut().map(|row| saga_row(row).map(|saga| (saga.id, saga))).collect()
}

/// The rows of these sagas, except of those that are finished.
pub async fn find_all(connection: &mut Conn, ids: &[OrderId]) -> Result<HashMap<OrderId, SagaRow>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    by_id(ask(connection, Message::default().words(SELECT_SAGA).words("WHERE saga_id IN ").list(ids)).await?)
}

/// Where orders and their sagas stand: both of one moment, because one statement reads them.
pub async fn order_states(connection: &mut Conn, ids: &[OrderId]) -> Result<Vec<Option<OrderState>>> {
    let message = Message::default()
        .words(
            "SELECT o.id, o.status, o.reason, o.updated_at, o.event_count, s.current_step, \
             COALESCE(s.undoing IS NOT NULL OR s.cancel_wanted, 0), COALESCE(s.stuck, 0), s.next_action \
             FROM orders o LEFT JOIN saga_states s ON s.saga_id = o.id WHERE o.id IN ",
        )
        .list(ids);
    let mut found = HashMap::with_capacity(ids.len());
    for mut row in ask(connection, message).await? {
        found.insert(order_id(&mut row, 0)?, order_state(&mut row)?);
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

fn order_state(row: &mut Row) -> Result<OrderState> {
    let saga = match optional_word(row, 5)? {
        Some(step) => {
            let (undoing, stuck) = (flag(row, 6)?, flag(row, 7)?);
            let next_action = next_action(row, 8)?.filter(|_| !undoing && !stuck);
            Some(SagaState { step, undoing, stuck, next_action })
        }
        None => None,
    };
    Ok(OrderState {
        status: word(row, 1)?,
        reason: optional_word(row, 2)?,
        updated_at: Timestamp(take(row, 3)?),
        event_count: take(row, 4)?,
        saga,
    })
}

/// Adds the clause that reads sagas so that they stay as they are until the end of the transaction.
pub fn locking(message: Message, ids: &[OrderId]) -> Message {
    message.words(SELECT_SAGA).words("WHERE saga_id IN ").list(ids).words(" ORDER BY saga_id FOR UPDATE;")
}

/// Marks a saga as stuck.
pub async fn park(
    connection: &mut Conn,
    saga: &SagaRef,
    step: StepName,
    undoing: Option<Reason>,
) -> Result<std::result::Result<(), SagaError>> {
    let message = Message::default()
        .words("UPDATE saga_states SET stuck = 1, waiting_until = NULL, current_step = ")
        .value(step.as_str())
        .words(", undoing = COALESCE(undoing, ")
        .value(undoing.map(Reason::as_str))
        .words("), updated_at = ")
        .value(saga.at.0)
        .words(" WHERE saga_id = ")
        .value(&saga.id)
        .words(" AND tombstone = 0 AND ")
        .owned_by(&saga.driver);
    send(connection, message).await?;
    Ok(match find_all(connection, &[saga.id]).await?.remove(&saga.id) {
        // Parked again by the same driver, nothing changes.
        Some(row) if !row.tombstone && row.driver == saga.driver => Ok(()),
        Some(row) if !row.tombstone => Err(SagaError::Superseded),
        _ => Err(SagaError::WrongState),
    })
}

/// Says that an instance lives.
pub async fn heartbeat(connection: &mut Conn, instance: InstanceId) -> Result<()> {
    let message = Message::default()
        .words("INSERT INTO instances (instance_id, heartbeat_at) VALUES (")
        .value(&instance)
        .words(", ")
        .words(NOW)
        .words(") ON DUPLICATE KEY UPDATE heartbeat_at = ")
        .words(NOW);
    send(connection, message).await.map(drop)
}

/// An instance ends.
pub async fn retire(connection: &mut Conn, instance: InstanceId) -> Result<()> {
    let message = Message::default().words("DELETE FROM instances WHERE instance_id = ").value(&instance);
    send(connection, message).await.map(drop)
}

/// Makes `instance` the owner of the unfinished sagas of instances that are silent, unless they wait for their
/// customer, and lists them. Rows that a transaction is at work on are left to the next time: their owner may be slow and not gone.
pub async fn claim(
    connection: &mut Conn,
    instance: InstanceId,
    silent: Duration,
    at: Timestamp,
) -> Result<Vec<OpenSaga>> {
    let silent = i64::try_from(silent.as_millis()).unwrap_or(i64::MAX);
    let message = Message::begin()
        .words(
            "SELECT s.saga_id FROM saga_states s LEFT JOIN instances i ON i.instance_id = s.owner \
             WHERE s.tombstone = 0 AND s.waiting_until IS NULL AND s.owner <> ",
        )
        .value(&instance)
        .words(" AND (i.heartbeat_at IS NULL OR i.heartbeat_at < ")
        .words(NOW)
        .words(" - ")
        .value(silent)
        .words(") FOR UPDATE OF s SKIP LOCKED");
    let mut rows = send(connection, message).await?.pop().map(|answer| answer.rows).unwrap_or_default();
    let ids = rows.iter_mut().map(|row| order_id(row, 0)).collect::<Result<Vec<_>>>()?;
    if ids.is_empty() {
        roll_back(connection).await?;
        return Ok(Vec::new());
    }
    let message = Message::default()
        .words("UPDATE saga_states SET owner = ")
        .value(&instance)
        .words(", epoch = epoch + 1, updated_at = ")
        .value(at.0)
        .words(" WHERE saga_id IN ")
        .list(&ids)
        .words("; COMMIT");
    send(connection, message).await?;
    let which = Message::default().words(SELECT_SAGA).words("WHERE saga_id IN ").list(&ids);
    read_open(connection, which.words(" ORDER BY saga_id")).await
}

/// Keys forgotten in one go.
const KEYS_PER_GO: i64 = 10_000;

/// Forgets what is too old to matter: tombstones and keys from before `before`, and servers that ended long
/// ago. Whether there is more.
pub async fn forget(connection: &mut Conn, before: Timestamp) -> Result<bool> {
    let message = Message::default()
        .words("DELETE FROM saga_states WHERE tombstone = 1 AND saga_id < ")
        .value(&OrderId::earliest_at(before))
        .words("; DELETE FROM purchase_keys WHERE created_at < ")
        .value(before.0)
        .words(" LIMIT ")
        .value(KEYS_PER_GO)
        .words("; DELETE FROM instances WHERE heartbeat_at < ")
        .words(NOW)
        .words(" - 86400000");
    let answers = send(connection, message).await?;
    Ok(answers.get(1).is_some_and(|keys| i64::try_from(keys.affected) == Ok(KEYS_PER_GO)))
}

/// Unfinished sagas, oldest first; those that wait come after the others, and stuck ones last.
pub async fn open(connection: &mut Conn, limit: usize) -> Result<Vec<OpenSaga>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let which = Message::default()
        .words(SELECT_SAGA)
        .words("WHERE tombstone = 0 ORDER BY stuck, waiting_until IS NOT NULL, saga_id LIMIT ");
    read_open(connection, which.value(limit)).await
}

/// Counts unfinished sagas, and names the first that are stuck.
pub async fn overview(connection: &mut Conn, stuck_max: usize) -> Result<SagaOverview> {
    let counts = Message::default()
        .words("SELECT COUNT(*), COUNT(waiting_until) FROM saga_states WHERE tombstone = 0");
    let mut overview = SagaOverview::default();
    for mut row in ask(connection, counts).await? {
        (overview.open, overview.waiting) = (take(&mut row, 0)?, take(&mut row, 1)?);
    }
    let stuck = Message::default()
        .words(
            "SELECT saga_id, current_step, updated_at FROM saga_states WHERE stuck = 1 AND tombstone = 0 \
             ORDER BY saga_id LIMIT ",
        )
        .value(i64::try_from(stuck_max).unwrap_or(i64::MAX));
    for mut row in ask(connection, stuck).await? {
        let (id, step) = (order_id(&mut row, 0)?, word(&mut row, 1)?);
        overview.stuck.push(StuckSaga { id, step, since: Timestamp(take(&mut row, 2)?) });
    }
    Ok(overview)
}

/// Unfinished sagas of an instance that are not stuck, wait for nobody and have not moved since `before`.
pub async fn idle(
    connection: &mut Conn,
    instance: InstanceId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<OpenSaga>> {
    let which = Message::default()
        .words(SELECT_SAGA)
        .words("WHERE tombstone = 0 AND stuck = 0 AND waiting_until IS NULL AND owner = ")
        .value(&instance)
        .words(" AND updated_at < ")
        .value(before.0)
        .words(" ORDER BY saga_id LIMIT ")
        .value(i64::try_from(limit).unwrap_or(i64::MAX));
    read_open(connection, which).await
}

/// Takes a stuck saga up again.
pub async fn resume(
    connection: &mut Conn,
    id: OrderId,
    instance: InstanceId,
    at: Timestamp,
) -> Result<Option<OpenSaga>> {
    let message = Message::default()
        .words("UPDATE saga_states SET stuck = 0, owner = ")
        .value(&instance)
        .words(", epoch = epoch + 1, updated_at = ")
        .value(at.0)
        .words(" WHERE stuck = 1 AND saga_id = ")
        .value(&id);
    let resumed = send(connection, message).await?.pop().map_or(0, |answer| answer.affected);
    if resumed == 1 { open_saga(connection, id).await } else { Ok(None) }
}

/// An unfinished saga with its order and the purchase it came from.
pub async fn open_saga(connection: &mut Conn, id: OrderId) -> Result<Option<OpenSaga>> {
    let which = Message::default().words(SELECT_SAGA).words("WHERE tombstone = 0 AND saga_id = ").value(&id);
    Ok(read_open(connection, which).await?.pop())
}

/// The sagas that a `SELECT` names, with all that is needed to go on. One that ends meanwhile is left out.
pub async fn read_open(connection: &mut Conn, which: Message) -> Result<Vec<OpenSaga>> {
    let mut rows = ask(connection, which).await?;
    let sagas = rows.iter_mut().map(saga_row).collect::<Result<Vec<_>>>()?;
    if sagas.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = sagas.iter().map(|saga| saga.id).collect();
    let mut orders = find_orders(connection, &ids).await?;
    let message =
        Message::default().words("SELECT id, key_digest, body_digest FROM orders WHERE id IN ").list(&ids);
    let mut digests = HashMap::with_capacity(ids.len());
    for mut row in ask(connection, message).await? {
        digests.insert(order_id(&mut row, 0)?, (digest(&mut row, 1)?, digest(&mut row, 2)?));
    }
    let open = |saga: SagaRow| {
        let (order, (key, body)) = (orders.remove(&saga.id)?, *digests.get(&saga.id)?);
        let purchase = Purchase {
            user_id: order.user_id,
            key,
            body,
            basket: Basket::from_order(&order),
            expected_total: None,
            payment_token: saga.payment_token,
            at: order.created_at,
            deadline: order.created_at,
        };
        Some(OpenSaga {
            order,
            purchase: Arc::new(purchase),
            driver: saga.driver,
            progress: saga.undoing.map_or(Progress::Forward, Progress::Undoing),
            stuck: saga.stuck.then_some(saga.step),
            waits_until: saga.waits_until,
            next_action: saga.next_action,
            updated_at: saga.updated_at,
        })
    };
    Ok(sagas.into_iter().filter_map(open).collect())
}
