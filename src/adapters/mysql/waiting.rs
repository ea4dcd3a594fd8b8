//! Sagas that wait for their customer: put to rest, woken, and what the customers have to do.

use std::collections::HashMap;

use mysql_async::{Conn, Row};

use crate::domain::{InstanceId, NextAction, OrderId, Reason, Timestamp};
use crate::ports::ledger::{OpenSaga, Rest, SagaError};

use super::error::{DbError, Result};
use super::rows::order_id;
use super::sagas::{self, SELECT_SAGA, SagaRow, by_id};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;

/// Puts the sagas of a batch to rest.
pub async fn rest(connection: &mut Conn, batch: &[Rest]) -> Result<Vec<std::result::Result<(), SagaError>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = batch.iter().map(|rest| rest.saga.id).collect();
    let mut rows = by_id(ask(connection, sagas::locking(Message::begin(), &ids)).await?)?;
    rows.retain(|_, row| !row.tombstone);
    let mut message = Message::default();
    let mut answers = Vec::with_capacity(batch.len());
    for rest in batch {
        let saga = rest.saga;
        answers.push(match rows.get(&saga.id) {
            None => Err(SagaError::WrongState),
            Some(row) if row.driver != saga.driver => Err(SagaError::Superseded),
            Some(SagaRow { undoing: Some(reason), .. }) => Err(SagaError::ToBeUndone(*reason)),
            Some(row) if row.cancel_wanted => Err(SagaError::ToBeUndone(Reason::CancelledByCustomer)),
            Some(_) => {
                let action = serde_json::to_string(&rest.next_action).expect("an action is plain data");
                message = message
                    .words("UPDATE saga_states SET waiting_until = ")
                    .value(rest.until.0)
                    .words(", look_at = LEAST(COALESCE(look_at, ")
                    .value(rest.look_at.0)
                    .words("), ")
                    .value(rest.look_at.0)
                    .words("), next_action = ")
                    .value(&*action)
                    .words(", updated_at = ")
                    .value(saga.at.0)
                    .words(" WHERE saga_id = ")
                    .value(&saga.id)
                    .words(";");
                Ok(())
            }
        });
    }
    send(connection, message.words("COMMIT")).await?;
    Ok(answers)
}

/// Gives a saga that waits to an instance, or leaves a mark.
pub async fn wake(
    connection: &mut Conn,
    id: OrderId,
    instance: InstanceId,
    at: Timestamp,
) -> Result<Option<OpenSaga>> {
    let message = sagas::locking(Message::begin(), &[id]);
    let saga = by_id(ask(connection, message).await?)?.remove(&id).filter(|row| !row.tombstone);
    match saga {
        Some(saga) if saga.waits_until.is_some() => {
            send(connection, taking(&[id], instance, at)).await?;
            sagas::open_saga(connection, id).await
        }
        Some(saga) if saga.undoing.is_none() => {
            let message = Message::default()
                .words("UPDATE saga_states SET look_at = COALESCE(look_at, ")
                .value(at.0)
                .words(") WHERE saga_id = ")
                .value(&id)
                .words("; COMMIT");
            send(connection, message).await?;
            Ok(None)
        }
        _ => {
            roll_back(connection).await?;
            Ok(None)
        }
    }
}

/// Gives sagas that are due to an instance. Rows that a transaction is at work on are left to whoever that is.
pub async fn wake_due(
    connection: &mut Conn,
    instance: InstanceId,
    at: Timestamp,
    limit: usize,
) -> Result<Vec<OpenSaga>> {
    // Without a lock first: as a rule nothing is due.
    let message = Message::default()
        .words("SELECT saga_id FROM saga_states WHERE waiting_until IS NOT NULL AND look_at <= ")
        .value(at.0)
        .words(" ORDER BY look_at LIMIT ")
        .value(i64::try_from(limit).unwrap_or(i64::MAX));
    let due = ids(ask(connection, message).await?)?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let message = Message::begin()
        .words("SELECT saga_id FROM saga_states WHERE saga_id IN ")
        .list(&due)
        .words(" AND waiting_until IS NOT NULL AND look_at <= ")
        .value(at.0)
        .words(" ORDER BY saga_id FOR UPDATE SKIP LOCKED");
    let due = ids(ask(connection, message).await?)?;
    if due.is_empty() {
        roll_back(connection).await?;
        return Ok(Vec::new());
    }
    send(connection, taking(&due, instance, at)).await?;
    let which = Message::default().words(SELECT_SAGA).words("WHERE saga_id IN ").list(&due);
    sagas::read_open(connection, which.words(" ORDER BY saga_id")).await
}

fn ids(mut rows: Vec<Row>) -> Result<Vec<OrderId>> {
    rows.iter_mut().map(|row| order_id(row, 0)).collect()
}

/// The message that gives sagas whose rows are locked to an instance and commits.
fn taking(ids: &[OrderId], instance: InstanceId, at: Timestamp) -> Message {
    Message::default()
        .words("UPDATE saga_states SET owner = ")
        .value(&instance)
        .words(", epoch = epoch + 1, waiting_until = NULL, look_at = NULL, updated_at = ")
        .value(at.0)
        .words(" WHERE saga_id IN ")
        .list(ids)
        .words("; COMMIT")
}

/// What the customers of these orders have to do.
pub async fn next_actions(connection: &mut Conn, orders: &[OrderId]) -> Result<HashMap<OrderId, NextAction>> {
    if orders.is_empty() {
        return Ok(HashMap::new());
    }
    let message = Message::default()
        .words("SELECT saga_id, next_action FROM saga_states WHERE saga_id IN ")
        .list(orders)
        .words(" AND next_action IS NOT NULL AND undoing IS NULL AND cancel_wanted = 0 AND stuck = 0");
    let mut actions = HashMap::new();
    for mut row in ask(connection, message).await? {
        if let Some(action) = next_action(&mut row, 1)? {
            actions.insert(order_id(&mut row, 0)?, action);
        }
    }
    Ok(actions)
}

/// Reads what a customer has to do, or nothing.
pub fn next_action(row: &mut Row, column: usize) -> Result<Option<NextAction>> {
    let Some(text) = take::<Option<String>>(row, column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| DbError::Unreadable(error.to_string()))
}
