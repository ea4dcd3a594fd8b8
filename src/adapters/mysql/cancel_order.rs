//! A customer's wish to cancel, written down before anything is done about it.

use mysql_async::Conn;

use crate::domain::{Driver, OrderId, OrderStatus, Reason, StepName, Timestamp, UserId};
use crate::ports::ledger::CancelRequest;

use super::error::{DbError, Result};
use super::rows::{SELECT_ORDER, order_head, with_lines};
use super::sagas::{self, by_id};
use super::session::{roll_back, send};
use super::sql::Message;

pub async fn request_cancel(
    connection: &mut Conn,
    id: OrderId,
    user: UserId,
    driver: Driver,
    at: Timestamp,
) -> Result<CancelRequest> {
    let message = sagas::locking(Message::begin(), &[id])
        .words(SELECT_ORDER)
        .words("WHERE id = ")
        .value(&id)
        .words(" FOR UPDATE");
    let mut answers = send(connection, message).await?.into_iter().skip(1).map(|answer| answer.rows);
    let saga = by_id(answers.next().unwrap_or_default())?.remove(&id).filter(|row| !row.tombstone);
    let mut heads = answers.next().unwrap_or_default();
    let heads = heads.iter_mut().map(order_head).collect::<Result<_>>()?;
    let order = with_lines(connection, heads).await?.pop().filter(|order| order.user_id == user);
    let Some(order) = order else {
        roll_back(connection).await?;
        return Ok(CancelRequest::NotFound);
    };
    match (order.status, saga) {
        (OrderStatus::Pending, Some(saga)) if saga.waits_until.is_some() => {
            // Nobody drives a saga that waits: whoever is told of the wish does, and may only undo it.
            let message = Message::default()
                .words("UPDATE saga_states SET cancel_wanted = 1, undoing = ")
                .value(Reason::CancelledByCustomer.as_str())
                .words(", owner = ")
                .value(&driver.instance)
                .words(", epoch = epoch + 1, waiting_until = NULL, updated_at = ")
                .value(at.0)
                .words(" WHERE saga_id = ")
                .value(&id)
                .words("; COMMIT");
            send(connection, message).await?;
            let saga = sagas::open_saga(connection, id).await?;
            let saga = saga.ok_or_else(|| DbError::Unreadable("the saga is gone".into()))?;
            Ok(CancelRequest::Undo(Box::new(saga)))
        }
        (OrderStatus::Pending, Some(saga)) if saga.undoing.is_none() => {
            let message = Message::default()
                .words("UPDATE saga_states SET cancel_wanted = 1, updated_at = ")
                .value(at.0)
                .words(" WHERE saga_id = ")
                .value(&id)
                .words("; COMMIT");
            send(connection, message).await?;
            Ok(CancelRequest::Recorded(order))
        }
        (OrderStatus::Confirmed, None) => {
            // Should another cancel be first, this one is done again and finds it.
            let message = Message::default()
                .words(
                    "INSERT INTO saga_states (saga_id, current_step, undoing, cancel_wanted, owner, epoch, updated_at) \
                     VALUES (",
                )
                .value(&id)
                .words(",")
                .value(StepName::TakePayment.as_str())
                .words(",")
                .value(Reason::CancelledByCustomer.as_str())
                .words(",1,")
                .value(&driver.instance)
                .words(",")
                .value(driver.epoch)
                .words(",")
                .value(at.0)
                .words("); COMMIT");
            send(connection, message).await?;
            let saga = sagas::open_saga(connection, id).await?;
            let saga = saga.ok_or_else(|| DbError::Unreadable("the saga is gone".into()))?;
            Ok(CancelRequest::Undo(Box::new(saga)))
        }
        (status, _) => {
            roll_back(connection).await?;
            Ok(match status {
                OrderStatus::Cancelled => CancelRequest::Done(order),
                OrderStatus::Failed => CancelRequest::NotPossible(order),
                OrderStatus::Pending | OrderStatus::Confirmed => CancelRequest::UnderWay(order),
            })
        }
    }
}
