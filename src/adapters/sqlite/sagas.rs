//! Rows of sagas that are not finished: finding, finishing, parking, claiming and resuming them.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::domain::{
    Basket, Digest, Driver, InstanceId, NextAction, OrderId, PaymentToken, Purchase, Reason, StepName,
    Timestamp,
};
use crate::ports::ledger::{
    OpenSaga, OrderState, Progress, SagaError, SagaOverview, SagaRef, SagaState, StuckSaga,
};

use super::rows::{blob, count, digest, driver, find_order, optional_word, order_id, word};
use super::waiting::next_action;

/// A row of `saga_states`.
pub struct SagaRow {
    pub id: OrderId,
    pub step: StepName,
    pub undoing: Option<Reason>,
    pub stuck: bool,
    pub tombstone: bool,
    pub payment_token: Option<PaymentToken>,
    pub driver: Driver,
    pub updated_at: Timestamp,
    /// Until when it waits for its customer; `None` when it does not.
    pub waits_until: Option<Timestamp>,
    pub next_action: Option<NextAction>,
    pub cancel_wanted: bool,
}

impl SagaRow {
    /// Whether its customer has to act, as far as is known: also while somebody looks.
    pub fn needs_customer(&self) -> bool {
        self.next_action.is_some() && self.undoing.is_none() && !self.cancel_wanted && !self.stuck
    }
}

const COLUMNS: &str = "saga_id, current_step, undoing, stuck, tombstone, state_data, owner, epoch, updated_at, \
     waiting_until, next_action, cancel_wanted";

fn saga_row(row: &Row<'_>) -> rusqlite::Result<SagaRow> {
    Ok(SagaRow {
        id: order_id(row, 0)?,
        step: word(row, 1)?,
        undoing: optional_word(row, 2)?,
        stuck: row.get(3)?,
        tombstone: row.get(4)?,
        payment_token: row.get::<_, Option<String>>(5)?.map(|token| PaymentToken(token.into())),
        driver: driver(row, 6)?,
        updated_at: Timestamp(row.get(8)?),
        waits_until: row.get::<_, Option<i64>>(9)?.map(Timestamp),
        next_action: next_action(row, 10)?,
        cancel_wanted: row.get(11)?,
    })
}

/// The row of a saga, unless it is finished.
pub fn find(connection: &Connection, id: OrderId) -> rusqlite::Result<Option<SagaRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM saga_states WHERE saga_id = ?"))?
        .query_row([blob(id)], saga_row)
        .optional()
}

/// Where orders and their sagas stand: both of one moment, because one statement reads them.
pub fn order_states(connection: &Connection, ids: &[OrderId]) -> rusqlite::Result<Vec<Option<OrderState>>> {
    let mut statement = connection.prepare_cached(
        "SELECT o.status, o.reason, o.updated_at, o.event_count, s.current_step, s.undoing IS NOT NULL, \
         s.cancel_wanted, s.stuck, s.next_action FROM orders o LEFT JOIN saga_states s ON s.saga_id = o.id \
         WHERE o.id = ?",
    )?;
    ids.iter().map(|id| statement.query_row([blob(*id)], order_state).optional()).collect()
}

fn order_state(row: &Row<'_>) -> rusqlite::Result<OrderState> {
    let saga = match optional_word(row, 4)? {
        Some(step) => {
            let (undoing, stuck): (_, bool) = (row.get(5)? || row.get(6)?, row.get(7)?);
            let next_action = next_action(row, 8)?.filter(|_| !undoing && !stuck);
            Some(SagaState { step, undoing, stuck, next_action })
        }
        None => None,
    };
    Ok(OrderState {
        status: word(row, 0)?,
        reason: optional_word(row, 1)?,
        updated_at: Timestamp(row.get(2)?),
        event_count: row.get(3)?,
        saga,
    })
}

/// Deletes the row if it is the driver's; whether it was.
pub fn finish(connection: &Connection, saga: &SagaRef) -> rusqlite::Result<bool> {
    let finished = connection
        .prepare_cached(
            "DELETE FROM saga_states WHERE saga_id = ? AND owner = ? AND epoch = ? AND tombstone = 0",
        )?
        .execute(params![blob(saga.id), saga.driver.instance.0.into_bytes(), saga.driver.epoch])?;
    Ok(finished == 1)
}

/// Marks a saga as stuck.
pub fn park(
    connection: &Connection,
    saga: &SagaRef,
    step: StepName,
    undoing: Option<Reason>,
) -> rusqlite::Result<Result<(), SagaError>> {
    let parked = connection.execute(
        "UPDATE saga_states SET stuck = 1, current_step = ?, undoing = coalesce(undoing, ?), updated_at = ?, \
         waiting_until = NULL WHERE saga_id = ? AND owner = ? AND epoch = ? AND tombstone = 0",
        params![
            step.as_str(),
            undoing.map(Reason::as_str),
            saga.at.0,
            blob(saga.id),
            saga.driver.instance.0.into_bytes(),
            saga.driver.epoch
        ],
    )?;
    if parked == 1 {
        return Ok(Ok(()));
    }
    Ok(Err(match find(connection, saga.id)? {
        Some(row) if !row.tombstone => SagaError::Superseded,
        _ => SagaError::WrongState,
    }))
}

/// Makes `instance` the owner of every unfinished saga that is not its own and waits for nobody, and lists
/// them.
pub fn claim(
    connection: &Connection,
    instance: InstanceId,
    at: Timestamp,
) -> rusqlite::Result<Vec<OpenSaga>> {
    let owner = instance.0.into_bytes();
    let mut statement = connection.prepare(
        "UPDATE saga_states SET owner = ?1, epoch = epoch + 1, updated_at = ?2 \
         WHERE tombstone = 0 AND waiting_until IS NULL AND owner <> ?1 RETURNING saga_id",
    )?;
    let claimed: Vec<OrderId> = statement
        .query_map(params![owner, at.0], |row| order_id(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    claimed.into_iter().filter_map(|id| open_saga(connection, id).transpose()).collect()
}

/// Unfinished sagas of an instance that are not stuck, wait for nobody and have not moved since `before`.
pub fn idle(
    connection: &Connection,
    instance: InstanceId,
    before: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<OpenSaga>> {
    let mut statement = connection.prepare_cached(
        "SELECT saga_id FROM saga_states WHERE tombstone = 0 AND stuck = 0 AND waiting_until IS NULL \
         AND owner = ? AND updated_at < ? ORDER BY saga_id LIMIT ?",
    )?;
    let limit = count(limit);
    let ids: Vec<OrderId> = statement
        .query_map(params![instance.0.into_bytes(), before.0, limit], |row| order_id(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    ids.into_iter().filter_map(|id| open_saga(connection, id).transpose()).collect()
}

/// Unfinished sagas, oldest first; those that wait come after the others, and stuck ones last.
pub fn open(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<OpenSaga>> {
    let mut statement = connection.prepare_cached(
        "SELECT saga_id FROM saga_states WHERE tombstone = 0 \
         ORDER BY stuck, waiting_until IS NOT NULL, saga_id LIMIT ?",
    )?;
    let limit = count(limit);
    let ids: Vec<OrderId> =
        statement.query_map([limit], |row| order_id(row, 0))?.collect::<rusqlite::Result<_>>()?;
    ids.into_iter().filter_map(|id| open_saga(connection, id).transpose()).collect()
}

/// Counts unfinished sagas, and names the first that are stuck.
pub fn overview(connection: &Connection, stuck_max: usize) -> rusqlite::Result<SagaOverview> {
    let number = |row: &Row<'_>, column| row.get(column).map(|count: i64| count.unsigned_abs());
    let (open, waiting) = connection
        .prepare_cached("SELECT COUNT(*), COUNT(waiting_until) FROM saga_states WHERE tombstone = 0")?
        .query_row([], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    let mut statement = connection.prepare_cached(
        "SELECT saga_id, current_step, updated_at FROM saga_states WHERE stuck = 1 AND tombstone = 0 \
         ORDER BY saga_id LIMIT ?",
    )?;
    let stuck = statement.query_map([count(stuck_max)], |row| {
        Ok(StuckSaga { id: order_id(row, 0)?, step: word(row, 1)?, since: Timestamp(row.get(2)?) })
    })?;
    Ok(SagaOverview { open, waiting, stuck: stuck.collect::<rusqlite::Result<_>>()? })
}

/// Takes a stuck saga up again.
pub fn resume(
    connection: &Connection,
    id: OrderId,
    instance: InstanceId,
    at: Timestamp,
) -> rusqlite::Result<Option<OpenSaga>> {
    let resumed = connection.execute(
        "UPDATE saga_states SET stuck = 0, owner = ?, epoch = epoch + 1, updated_at = ? \
         WHERE saga_id = ? AND stuck = 1",
        params![instance.0.into_bytes(), at.0, blob(id)],
    )?;
    if resumed == 1 { open_saga(connection, id) } else { Ok(None) }
}

/// An unfinished saga with its order and the purchase it came from.
pub fn open_saga(connection: &Connection, id: OrderId) -> rusqlite::Result<Option<OpenSaga>> {
    let Some(row) = find(connection, id)?.filter(|row| !row.tombstone) else {
        return Ok(None);
    };
    let order = find_order(connection, row.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let (key, body): (Digest, Digest) = connection
        .prepare_cached("SELECT key_digest, body_digest FROM orders WHERE id = ?")?
        .query_row([blob(id)], |row| Ok((digest(row, 0)?, digest(row, 1)?)))?;
    let purchase = Purchase {
        user_id: order.user_id,
        key,
        body,
        basket: Basket::from_order(&order),
        expected_total: None,
        payment_token: row.payment_token,
        at: order.created_at,
        deadline: order.created_at,
    };
    Ok(Some(OpenSaga {
        order,
        purchase: Arc::new(purchase),
        driver: row.driver,
        progress: row.undoing.map_or(Progress::Forward, Progress::Undoing),
        stuck: row.stuck.then_some(row.step),
        waits_until: row.waits_until,
        next_action: row.next_action,
        updated_at: row.updated_at,
    }))
}
