//! The confirm commit: PENDING becomes CONFIRMED, units leave stock and reservation together.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::domain::{Order, OrderStatus, ProductId, Reason, StockReason, event};
use crate::ports::ledger::{Confirmation, SagaError};

use super::rows::{blob, find_order};
use super::{outbox, sagas};

/// Runs inside the writer's transaction.
pub fn confirm_orders(
    connection: &Connection,
    batch: &[Confirmation],
) -> rusqlite::Result<Vec<Result<Arc<Order>, SagaError>>> {
    let mut sold: BTreeMap<ProductId, i64> = BTreeMap::new();
    let mut answers = Vec::with_capacity(batch.len());
    for confirmation in batch {
        answers.push(confirm(connection, confirmation, &mut sold)?);
    }
    let mut leave = connection.prepare_cached(
        "UPDATE products SET stock = stock - ?1, reserved = reserved - ?1, version = version + 1, \
         updated_at = ?2 WHERE id = ?3",
    )?;
    let at = batch.last().map_or(0, |confirmation| confirmation.saga.at.0);
    for (product, units) in sold {
        leave.execute([units, at, product.0])?;
    }
    Ok(answers)
}

fn confirm(
    connection: &Connection,
    confirmation: &Confirmation,
    sold: &mut BTreeMap<ProductId, i64>,
) -> rusqlite::Result<Result<Arc<Order>, SagaError>> {
    let (saga, order) = (confirmation.saga, &confirmation.order);
    let id = blob(saga.id);
    let finished = connection
        .prepare_cached(
            "DELETE FROM saga_states WHERE saga_id = ? AND owner = ? AND epoch = ? \
             AND undoing IS NULL AND cancel_wanted = 0 AND tombstone = 0",
        )?
        .execute(params![id, saga.driver.instance.0.into_bytes(), saga.driver.epoch])?;
    if finished == 0 {
        return refusal(connection, confirmation);
    }
    let event_count: u32 = connection
        .prepare_cached(
            "UPDATE orders SET status = 'CONFIRMED', updated_at = ?, version = version + 1, \
             event_count = event_count + ? WHERE id = ? AND status = 'PENDING' RETURNING event_count",
        )?
        .query_row(params![saga.at.0, 1 + i64::from(confirmation.capture.is_some()), id], |row| row.get(0))?;
    for line in order.lines.iter() {
        let units = i64::from(line.quantity.get());
        log_stock(connection, line.product_id, -units, &saga, &StockReason::Sale)?;
        *sold.entry(line.product_id).or_default() += units;
    }
    let events = event::of_confirmation(order, confirmation.capture.as_ref());
    let first = event_count + 1 - u32::try_from(events.len()).expect("one or two");
    outbox::append(connection, order.id, first, saga.at, &events)?;
    Ok(Ok(Arc::new(order.turned(OrderStatus::Confirmed, None, saga.at))))
}

/// Nothing changed: find out why by reading again.
fn refusal(
    connection: &Connection,
    confirmation: &Confirmation,
) -> rusqlite::Result<Result<Arc<Order>, SagaError>> {
    let saga = confirmation.saga;
    let Some(order) = find_order(connection, saga.id)? else {
        return Ok(Err(SagaError::WrongState));
    };
    if order.status == OrderStatus::Confirmed {
        return Ok(Ok(order));
    }
    Ok(Err(match sagas::find(connection, saga.id)? {
        Some(row) if row.driver != saga.driver => SagaError::Superseded,
        Some(row) => SagaError::ToBeUndone(row.undoing.unwrap_or(Reason::CancelledByCustomer)),
        None => SagaError::WrongState,
    }))
}

/// Writes a change of stock into the log.
pub fn log_stock(
    connection: &Connection,
    product: ProductId,
    change: i64,
    saga: &crate::ports::ledger::SagaRef,
    reason: &StockReason,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO inventory_logs (product_id, change_amount, order_id, reason, created_at) \
             VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![product.0, change, blob(saga.id), reason.as_str(), saga.at.0])?;
    Ok(())
}
