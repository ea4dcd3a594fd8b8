//! Commits that undo: the mark before money goes back, the end as FAILED or CANCELLED, and the
//! restock after a confirmed order was cancelled.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mysql_async::Conn;

use crate::domain::{
    EventBody, Order, OrderId, OrderStatus, ProductId, Reason, StepName, StockChange, StockReason, event,
};
use crate::ports::ledger::{Restocked, SagaError, SagaRef, Undoing};

use super::confirm_orders::log_stock;
use super::error::{DbError, Result};
use super::outbox::{Entry, Feed};
use super::rows::{SELECT_ORDER, order_head, order_id, with_lines};
use super::sagas::{self, SagaRow, by_id};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;

/// What the sagas and orders of a batch are; both stay so until the end of the transaction.
struct Held {
    sagas: HashMap<OrderId, SagaRow>,
    orders: HashMap<OrderId, Arc<Order>>,
}

async fn hold(connection: &mut Conn, ids: &[OrderId]) -> Result<Held> {
    let message = sagas::locking(Message::begin(), ids)
        .words(SELECT_ORDER)
        .words("WHERE id IN ")
        .list(ids)
        .words(" ORDER BY id FOR UPDATE");
    let mut answers = send(connection, message).await?.into_iter().skip(1).map(|answer| answer.rows);
    let sagas = by_id(answers.next().unwrap_or_default())?;
    let mut heads = answers.next().unwrap_or_default();
    let heads = heads.iter_mut().map(order_head).collect::<Result<_>>()?;
    let orders = with_lines(connection, heads).await?.into_iter().map(|order| (order.id, order)).collect();
    Ok(Held { sagas, orders })
}

impl Held {
    /// The saga's row, if it is the driver's.
    fn mine(&self, saga: &SagaRef) -> Option<&SagaRow> {
        self.sagas.get(&saga.id).filter(|row| !row.tombstone && row.driver == saga.driver)
    }
}

/// Marks each saga as undoing.
pub async fn mark_undoing(
    connection: &mut Conn,
    batch: &[(SagaRef, Reason)],
) -> Result<Vec<std::result::Result<(), SagaError>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = batch.iter().map(|(saga, _)| saga.id).collect();
    let held = hold(connection, &ids).await?;
    let mut message = Message::default();
    let mut answers = Vec::with_capacity(batch.len());
    for (saga, reason) in batch {
        let status = held.orders.get(&saga.id).map(|order| order.status);
        answers.push(if held.mine(saga).is_some() {
            message = message
                .words("UPDATE saga_states SET waiting_until = NULL, undoing = COALESCE(undoing, ")
                .value(reason.as_str())
                .words("), current_step = ")
                .value(StepName::TakePayment.as_str())
                .words(", updated_at = ")
                .value(saga.at.0)
                .words(" WHERE saga_id = ")
                .value(&saga.id)
                .words(";");
            Ok(())
        } else if held.sagas.get(&saga.id).is_some_and(|row| !row.tombstone) {
            Err(SagaError::Superseded)
        } else if matches!(status, Some(OrderStatus::Failed | OrderStatus::Cancelled)) {
            Ok(())
        } else {
            Err(SagaError::WrongState)
        });
    }
    send(connection, message.words("COMMIT")).await?;
    Ok(answers)
}

/// Gives orders up; buries those that are not there.
pub async fn fail_orders(
    connection: &mut Conn,
    batch: &[Undoing],
    feed: &Feed,
) -> Result<Vec<std::result::Result<Option<Arc<Order>>, SagaError>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = batch.iter().map(|undoing| undoing.saga.id).collect();
    let mut held = hold(connection, &ids).await?;
    let mut message = Message::default();
    let mut given_back: BTreeMap<ProductId, i64> = BTreeMap::new();
    let mut last = Vec::new();
    let mut buried = HashSet::new();
    let mut answers = Vec::with_capacity(batch.len());
    for undoing in batch {
        let saga = &undoing.saga;
        let Some(order) = held.orders.get(&saga.id).cloned() else {
            // Should a create be faster than the tombstone, all of this is done again and finds its order.
            if !held.sagas.contains_key(&saga.id) && buried.insert(saga.id) {
                message = tombstone(message, saga, undoing.reason);
            }
            answers.push(Ok(None));
            continue;
        };
        answers.push(match order.status {
            OrderStatus::Failed | OrderStatus::Cancelled => Ok(Some(order)),
            OrderStatus::Confirmed => Err(SagaError::WrongState),
            OrderStatus::Pending if held.mine(saga).is_none() => Err(SagaError::Superseded),
            OrderStatus::Pending => {
                for line in order.lines.iter() {
                    *given_back.entry(line.product_id).or_default() += i64::from(line.quantity.get());
                }
                let (next, ended) = end(message, undoing, &order, &mut last);
                message = next;
                held.orders.insert(saga.id, Arc::clone(&ended));
                Ok(Some(ended))
            }
        });
    }
    let entries = number(connection, last).await?;
    message = feed.append(message, &entries);
    let at = batch.iter().map(|undoing| undoing.saga.at.0).max().unwrap_or_default();
    for (product, units) in given_back {
        message = message
            .words("UPDATE products SET reserved = reserved - ")
            .value(units)
            .words(", version = version + 1, updated_at = ")
            .value(at)
            .words(" WHERE id = ")
            .value(product.0)
            .words(";");
    }
    send(connection, message.words("COMMIT")).await?;
    feed.committed(entries);
    Ok(answers)
}

/// Writes a tombstone unless there is an order; whether there is none.
pub async fn bury(connection: &mut Conn, saga: &SagaRef, reason: Reason) -> Result<bool> {
    let held = hold(connection, &[saga.id]).await?;
    let there_is_an_order = held.orders.contains_key(&saga.id);
    if there_is_an_order || held.sagas.contains_key(&saga.id) {
        roll_back(connection).await?;
        return Ok(!there_is_an_order);
    }
    send(connection, tombstone(Message::default(), saga, reason).words("COMMIT")).await?;
    Ok(true)
}

/// Adds a tombstone. It fails where something stands under the id.
fn tombstone(message: Message, saga: &SagaRef, reason: Reason) -> Message {
    message
        .words("INSERT INTO saga_states (saga_id, current_step, undoing, tombstone, owner, epoch, updated_at) VALUES (")
        .value(&saga.id)
        .words(",")
        .value(StepName::CreateOrder.as_str())
        .words(",")
        .value(reason.as_str())
        .words(",1,")
        .value(&saga.driver.instance)
        .words(",")
        .value(saga.driver.epoch)
        .words(",")
        .value(saga.at.0)
        .words(");")
}

/// Takes confirmed orders back after their refund.
pub async fn restock_orders(
    connection: &mut Conn,
    batch: &[Undoing],
    feed: &Feed,
) -> Result<Vec<std::result::Result<Restocked, SagaError>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = batch.iter().map(|undoing| undoing.saga.id).collect();
    let mut held = hold(connection, &ids).await?;
    let mut message = Message::default();
    // In the order of the products, for all orders together; each order's share has a version of its own.
    let mut put_back: BTreeMap<(ProductId, usize), i64> = BTreeMap::new();
    let mut log = Vec::new();
    let mut last = Vec::new();
    let mut answers: Vec<std::result::Result<Restocked, SagaError>> = Vec::with_capacity(batch.len());
    for (n, undoing) in batch.iter().enumerate() {
        let saga = &undoing.saga;
        let Some(order) = held.orders.get(&saga.id).cloned() else {
            answers.push(Err(SagaError::WrongState));
            continue;
        };
        answers.push(match order.status {
            OrderStatus::Cancelled => Ok(Restocked { order, changes: Vec::new() }),
            OrderStatus::Pending | OrderStatus::Failed => Err(SagaError::WrongState),
            OrderStatus::Confirmed if held.mine(saga).is_none() => Err(SagaError::Superseded),
            OrderStatus::Confirmed => {
                for line in order.lines.iter() {
                    let units = i64::from(line.quantity.get());
                    put_back.insert((line.product_id, n), units);
                    log.push((line.product_id, units, saga.id, saga.at));
                }
                let (next, ended) = end(message, undoing, &order, &mut last);
                message = next;
                held.orders.insert(saga.id, Arc::clone(&ended));
                Ok(Restocked { order: ended, changes: Vec::new() })
            }
        });
    }
    let entries = number(connection, last).await?;
    message = feed.append(message, &entries);
    if !log.is_empty() {
        message = log_stock(message, log, &StockReason::Cancel);
    }
    let at = batch.iter().map(|undoing| undoing.saga.at.0).max().unwrap_or_default();
    for ((product, _), units) in &put_back {
        message = message
            .words("UPDATE products SET stock = stock + ")
            .value(*units)
            .words(", version = version + 1, updated_at = ")
            .value(at)
            .words(" WHERE id = ")
            .value(product.0)
            .words(";SELECT version FROM products WHERE id = ")
            .value(product.0)
            .words(";");
    }
    let versions = send(connection, message.words("COMMIT")).await?;
    feed.committed(entries);
    let mut versions = versions.into_iter().filter_map(|answer| answer.rows.into_iter().next());
    for ((product, n), delta) in put_back {
        let mut row = versions.next().ok_or_else(|| DbError::Unreadable("no version".into()))?;
        let change = StockChange { product, delta, version: take(&mut row, 0)? };
        if let Ok(restocked) = &mut answers[n] {
            restocked.changes.push(change);
        }
    }
    Ok(answers)
}

/// The last events of an order, still without their number.
struct Last {
    saga: SagaRef,
    events: Vec<EventBody>,
}

/// Adds the statements that give the order its last status.
fn end(message: Message, undoing: &Undoing, order: &Order, last: &mut Vec<Last>) -> (Message, Arc<Order>) {
    let (saga, reason) = (undoing.saga, undoing.reason);
    let status = reason.final_status();
    let events = event::of_ending(order, reason, undoing.capture.as_ref(), undoing.refund.as_ref());
    let added = i64::try_from(events.len()).expect("a few");
    last.push(Last { saga, events });
    let message = message
        .words("DELETE FROM saga_states WHERE saga_id = ")
        .value(&saga.id)
        .words(";UPDATE orders SET status = ")
        .value(status.as_str())
        .words(", reason = ")
        .value(reason.as_str())
        .words(", updated_at = ")
        .value(saga.at.0)
        .words(", version = version + 1, event_count = event_count + ")
        .value(added)
        .words(" WHERE id = ")
        .value(&saga.id)
        .words(";");
    (message, Arc::new(order.turned(status, Some(reason), saga.at)))
}

/// Finds out how many events each order has so far. Its row is locked, so that stays so.
async fn number(connection: &mut Conn, last: Vec<Last>) -> Result<Vec<Entry>> {
    if last.is_empty() {
        return Ok(Vec::new());
    }
    let message = Message::default()
        .words("SELECT id, event_count FROM orders WHERE id IN ")
        .list(last.iter().map(|last| &last.saga.id));
    let mut counts = HashMap::new();
    for mut row in ask(connection, message).await? {
        counts.insert(order_id(&mut row, 0)?, take::<u32>(&mut row, 1)?);
    }
    let entry = |Last { saga, events }: Last| {
        let event_count = counts.get(&saga.id).copied().unwrap_or_default();
        Entry::new(saga.id, event_count + 1, saga.at, events)
    };
    Ok(last.into_iter().map(entry).collect())
}
