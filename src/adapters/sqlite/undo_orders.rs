//! Commits that undo: the mark before money goes back, the end as FAILED or CANCELLED, and the
//! restock after a confirmed order was cancelled.

use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::domain::{Order, OrderStatus, Reason, StepName, StockChange, StockReason, event};
use crate::ports::ledger::{Restocked, SagaError, SagaRef, Undoing};

use super::confirm_orders::log_stock;
use super::rows::{blob, find_order};
use super::{outbox, sagas};

/// Runs inside the writer's transaction.
pub fn mark_undoing(
    connection: &Connection,
    batch: &[(SagaRef, Reason)],
) -> rusqlite::Result<Vec<Result<(), SagaError>>> {
    batch.iter().map(|(saga, reason)| mark(connection, saga, *reason)).collect()
}

fn mark(connection: &Connection, saga: &SagaRef, reason: Reason) -> rusqlite::Result<Result<(), SagaError>> {
    let marked = connection
        .prepare_cached(
            "UPDATE saga_states SET undoing = coalesce(undoing, ?), current_step = ?, updated_at = ?, \
             waiting_until = NULL WHERE saga_id = ? AND owner = ? AND epoch = ? AND tombstone = 0",
        )?
        .execute(params![
            reason.as_str(),
            StepName::TakePayment.as_str(),
            saga.at.0,
            blob(saga.id),
            saga.driver.instance.0.into_bytes(),
            saga.driver.epoch
        ])?;
    if marked == 1 {
        return Ok(Ok(()));
    }
    if sagas::find(connection, saga.id)?.is_some_and(|row| !row.tombstone) {
        return Ok(Err(SagaError::Superseded));
    }
    Ok(match find_order(connection, saga.id)?.map(|order| order.status) {
        Some(OrderStatus::Failed | OrderStatus::Cancelled) => Ok(()),
        _ => Err(SagaError::WrongState),
    })
}

/// Runs inside the writer's transaction.
pub fn fail_orders(
    connection: &Connection,
    batch: &[Undoing],
) -> rusqlite::Result<Vec<Result<Option<Arc<Order>>, SagaError>>> {
    batch.iter().map(|undoing| fail(connection, undoing)).collect()
}

fn fail(
    connection: &Connection,
    undoing: &Undoing,
) -> rusqlite::Result<Result<Option<Arc<Order>>, SagaError>> {
    let saga = undoing.saga;
    let Some(order) = find_order(connection, saga.id)? else {
        bury(connection, &saga, undoing.reason)?;
        return Ok(Ok(None));
    };
    match order.status {
        OrderStatus::Failed | OrderStatus::Cancelled => return Ok(Ok(Some(order))),
        OrderStatus::Confirmed => return Ok(Err(SagaError::WrongState)),
        OrderStatus::Pending => {}
    }
    if !sagas::finish(connection, &saga)? {
        return Ok(Err(SagaError::Superseded));
    }
    let mut give_back = connection.prepare_cached(
        "UPDATE products SET reserved = reserved - ?1, version = version + 1, updated_at = ?2 WHERE id = ?3",
    )?;
    for line in order.lines.iter() {
        give_back.execute([i64::from(line.quantity.get()), saga.at.0, line.product_id.0])?;
    }
    end(connection, undoing, &order).map(|order| Ok(Some(order)))
}

/// Writes a tombstone unless there is an order; whether there is none. Runs inside the writer's
/// transaction.
pub fn bury(connection: &Connection, saga: &SagaRef, reason: Reason) -> rusqlite::Result<bool> {
    if find_order(connection, saga.id)?.is_some() {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO saga_states (saga_id, current_step, undoing, tombstone, owner, epoch, updated_at) \
             VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            blob(saga.id),
            StepName::CreateOrder.as_str(),
            reason.as_str(),
            saga.driver.instance.0.into_bytes(),
            saga.driver.epoch,
            saga.at.0
        ])?;
    Ok(true)
}

/// Runs inside the writer's transaction.
pub fn restock_orders(
    connection: &Connection,
    batch: &[Undoing],
) -> rusqlite::Result<Vec<Result<Restocked, SagaError>>> {
    batch.iter().map(|undoing| restock(connection, undoing)).collect()
}

fn restock(connection: &Connection, undoing: &Undoing) -> rusqlite::Result<Result<Restocked, SagaError>> {
    let saga = undoing.saga;
    let Some(order) = find_order(connection, saga.id)? else {
        return Ok(Err(SagaError::WrongState));
    };
    match order.status {
        OrderStatus::Cancelled => return Ok(Ok(Restocked { order, changes: Vec::new() })),
        OrderStatus::Confirmed => {}
        OrderStatus::Pending | OrderStatus::Failed => return Ok(Err(SagaError::WrongState)),
    }
    if !sagas::finish(connection, &saga)? {
        return Ok(Err(SagaError::Superseded));
    }
    let mut put_back = connection.prepare_cached(
        "UPDATE products SET stock = stock + ?1, version = version + 1, updated_at = ?2 WHERE id = ?3 \
         RETURNING version",
    )?;
    let mut changes = Vec::with_capacity(order.lines.len());
    for line in order.lines.iter() {
        let (product, delta) = (line.product_id, i64::from(line.quantity.get()));
        let version = put_back.query_row([delta, saga.at.0, product.0], |row| row.get(0))?;
        changes.push(StockChange { product, delta, version });
        log_stock(connection, product, delta, &saga, &StockReason::Cancel)?;
    }
    let order = end(connection, undoing, &order)?;
    Ok(Ok(Restocked { order, changes }))
}

/// Gives the order its last status and tells its last events.
fn end(connection: &Connection, undoing: &Undoing, order: &Order) -> rusqlite::Result<Arc<Order>> {
    let (saga, reason) = (undoing.saga, undoing.reason);
    let status = reason.final_status();
    let events = event::of_ending(order, reason, undoing.capture.as_ref(), undoing.refund.as_ref());
    let added = u32::try_from(events.len()).expect("a few");
    let event_count: u32 = connection
        .prepare_cached(
            "UPDATE orders SET status = ?, reason = ?, updated_at = ?, version = version + 1, \
             event_count = event_count + ? WHERE id = ? RETURNING event_count",
        )?
        .query_row(params![status.as_str(), reason.as_str(), saga.at.0, added, blob(saga.id)], |row| {
            row.get(0)
        })?;
    outbox::append(connection, saga.id, event_count - added + 1, saga.at, &events)?;
    Ok(Arc::new(order.turned(status, Some(reason), saga.at)))
}
