//! Sagas that wait for their customer: put to rest, woken, and what the customers have to do.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::domain::{InstanceId, NextAction, OrderId, Reason, Timestamp};
use crate::ports::ledger::{OpenSaga, Rest, SagaError};

use super::rows::{blob, count, order_id};
use super::sagas::{self, open_saga};

/// Runs inside the writer's transaction.
pub fn rest(connection: &Connection, batch: &[Rest]) -> rusqlite::Result<Vec<Result<(), SagaError>>> {
    batch.iter().map(|rest| rest_one(connection, rest)).collect()
}

fn rest_one(connection: &Connection, rest: &Rest) -> rusqlite::Result<Result<(), SagaError>> {
    let saga = rest.saga;
    let rests = connection
        .prepare_cached(
            "UPDATE saga_states SET waiting_until = ?1, look_at = iif(look_at IS NULL, ?2, min(look_at, ?2)), \
             next_action = ?3, updated_at = ?4 WHERE saga_id = ?5 AND owner = ?6 AND epoch = ?7 \
             AND undoing IS NULL AND cancel_wanted = 0 AND tombstone = 0",
        )?
        .execute(params![
            rest.until.0,
            rest.look_at.0,
            text(&rest.next_action),
            saga.at.0,
            blob(saga.id),
            saga.driver.instance.0.into_bytes(),
            saga.driver.epoch
        ])?;
    if rests == 1 {
        return Ok(Ok(()));
    }
    Ok(Err(match sagas::find(connection, saga.id)?.filter(|row| !row.tombstone) {
        Some(row) if row.driver != saga.driver => SagaError::Superseded,
        Some(row) => SagaError::ToBeUndone(row.undoing.unwrap_or(Reason::CancelledByCustomer)),
        None => SagaError::WrongState,
    }))
}

/// Runs inside the writer's transaction.
pub fn wake(
    connection: &Connection,
    id: OrderId,
    instance: InstanceId,
    at: Timestamp,
) -> rusqlite::Result<Option<OpenSaga>> {
    if take(connection, id, instance, at, Timestamp(i64::MAX))? {
        return open_saga(connection, id);
    }
    connection
        .prepare_cached(
            "UPDATE saga_states SET look_at = ? WHERE saga_id = ? AND look_at IS NULL AND undoing IS NULL \
             AND tombstone = 0",
        )?
        .execute(params![at.0, blob(id)])?;
    Ok(None)
}

/// Which sagas wait and are due, the longest due first.
pub fn due(connection: &Connection, at: Timestamp, limit: usize) -> rusqlite::Result<Vec<OrderId>> {
    let limit = count(limit);
    connection
        .prepare_cached(
            "SELECT saga_id FROM saga_states WHERE waiting_until IS NOT NULL AND look_at <= ? \
             ORDER BY look_at LIMIT ?",
        )?
        .query_map([at.0, limit], |row| order_id(row, 0))?
        .collect()
}

/// Takes those that are still due. Runs inside the writer's transaction.
pub fn wake_due(
    connection: &Connection,
    ids: &[OrderId],
    instance: InstanceId,
    at: Timestamp,
) -> rusqlite::Result<Vec<OpenSaga>> {
    let mut woken = Vec::with_capacity(ids.len());
    for id in ids {
        if take(connection, *id, instance, at, at)? {
            woken.extend(open_saga(connection, *id)?);
        }
    }
    Ok(woken)
}

/// Gives a saga that waits and is due by `due_by` to an instance; whether it was one.
fn take(
    connection: &Connection,
    id: OrderId,
    instance: InstanceId,
    at: Timestamp,
    due_by: Timestamp,
) -> rusqlite::Result<bool> {
    let taken = connection
        .prepare_cached(
            "UPDATE saga_states SET owner = ?, epoch = epoch + 1, waiting_until = NULL, look_at = NULL, \
             updated_at = ? WHERE saga_id = ? AND waiting_until IS NOT NULL AND look_at <= ?",
        )?
        .execute(params![instance.0.into_bytes(), at.0, blob(id), due_by.0])?;
    Ok(taken == 1)
}

/// What the customers of these orders have to do.
pub fn next_actions(
    connection: &Connection,
    orders: &[OrderId],
) -> rusqlite::Result<HashMap<OrderId, NextAction>> {
    let mut statement = connection.prepare_cached(
        "SELECT next_action FROM saga_states WHERE saga_id = ? AND next_action IS NOT NULL AND undoing IS NULL \
         AND cancel_wanted = 0 AND stuck = 0",
    )?;
    let mut actions = HashMap::new();
    for order in orders {
        let found = statement.query_row([blob(*order)], |row| next_action(row, 0)).optional()?.flatten();
        actions.extend(found.map(|action| (*order, action)));
    }
    Ok(actions)
}

fn text(action: &NextAction) -> String {
    serde_json::to_string(action).expect("an action is plain data")
}

/// Reads what a customer has to do, or nothing.
pub fn next_action(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<NextAction>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
