//! A customer's wish to cancel, written down before anything is done about it.

use rusqlite::{Connection, params};

use crate::domain::{Driver, OrderId, OrderStatus, Reason, StepName, Timestamp, UserId};
use crate::ports::ledger::CancelRequest;

use super::rows::{blob, find_order};
use super::sagas;

/// Runs inside the writer's transaction.
pub fn request_cancel(
    connection: &Connection,
    id: OrderId,
    user: UserId,
    driver: Driver,
    at: Timestamp,
) -> rusqlite::Result<CancelRequest> {
    let Some(order) = find_order(connection, id)?.filter(|order| order.user_id == user) else {
        return Ok(CancelRequest::NotFound);
    };
    match order.status {
        OrderStatus::Cancelled => Ok(CancelRequest::Done(order)),
        OrderStatus::Failed => Ok(CancelRequest::NotPossible(order)),
        OrderStatus::Pending => {
            // Nobody drives a saga that waits: whoever is told of the wish does, and may only undo it.
            let woken = connection.execute(
                "UPDATE saga_states SET cancel_wanted = 1, undoing = ?, owner = ?, epoch = epoch + 1, \
                 waiting_until = NULL, updated_at = ? WHERE saga_id = ? AND waiting_until IS NOT NULL",
                params![Reason::CancelledByCustomer.as_str(), driver.instance.0.into_bytes(), at.0, blob(id)],
            )?;
            if woken == 1 {
                let saga = sagas::open_saga(connection, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                return Ok(CancelRequest::Undo(Box::new(saga)));
            }
            let recorded = connection.execute(
                "UPDATE saga_states SET cancel_wanted = 1, updated_at = ? \
                 WHERE saga_id = ? AND undoing IS NULL AND tombstone = 0",
                params![at.0, blob(id)],
            )?;
            Ok(if recorded == 1 { CancelRequest::Recorded(order) } else { CancelRequest::UnderWay(order) })
        }
        OrderStatus::Confirmed => {
            let opened = connection.execute(
                "INSERT INTO saga_states (saga_id, current_step, undoing, cancel_wanted, owner, epoch, updated_at) \
                 VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![
                    blob(id),
                    StepName::TakePayment.as_str(),
                    Reason::CancelledByCustomer.as_str(),
                    driver.instance.0.into_bytes(),
                    driver.epoch,
                    at.0
                ],
            )?;
            if opened == 0 {
                return Ok(CancelRequest::UnderWay(order));
            }
            let saga = sagas::open_saga(connection, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok(CancelRequest::Undo(Box::new(saga)))
        }
    }
}
