//! The confirm commit: PENDING becomes CONFIRMED, units leave stock and reservation together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mysql_async::Conn;

use crate::domain::{Order, OrderId, OrderStatus, ProductId, Reason, StockReason, Timestamp, event};
use crate::ports::ledger::{Confirmation, SagaError};

use super::error::Result;
use super::outbox::{Entry, Feed};
use super::rows::{find_orders, order_id};
use super::sagas::{self, SELECT_SAGA, SagaRow, by_id};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;

type Confirmed = std::result::Result<Arc<Order>, SagaError>;

/// Confirms the orders of a batch.
pub async fn confirm_orders(
    connection: &mut Conn,
    batch: &[Confirmation],
    feed: &Feed,
) -> Result<Vec<Confirmed>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<OrderId> = batch.iter().map(|confirmation| confirmation.saga.id).collect();
    let message = sagas::locking(Message::begin(), &ids)
        .words("SELECT id, event_count FROM orders WHERE status = 'PENDING' AND id IN ")
        .list(&ids)
        .words(" ORDER BY id FOR UPDATE");
    let mut answers = send(connection, message).await?.into_iter().skip(1).map(|answer| answer.rows);
    let sagas = by_id(answers.next().unwrap_or_default())?;
    let mut event_counts: HashMap<OrderId, u32> = HashMap::new();
    for mut row in answers.next().unwrap_or_default() {
        event_counts.insert(order_id(&mut row, 0)?, take(&mut row, 1)?);
    }
    let mut seen = HashSet::new();
    let may = |confirmation: &&Confirmation| {
        let saga = confirmation.saga;
        let mine = |row: &SagaRow| {
            row.driver == saga.driver && row.undoing.is_none() && !row.cancel_wanted && !row.tombstone
        };
        event_counts.contains_key(&saga.id) && sagas.get(&saga.id).is_some_and(mine) && seen.insert(saga.id)
    };
    let confirmed: Vec<&Confirmation> = batch.iter().filter(may).collect();
    if confirmed.is_empty() {
        roll_back(connection).await?;
    } else {
        let entries: Vec<_> = confirmed.iter().map(|c| entry(c, event_counts[&c.saga.id])).collect();
        send(connection, write(&confirmed, feed, &entries)).await?;
        feed.committed(entries);
    }
    let mut done: HashMap<OrderId, Arc<Order>> = HashMap::with_capacity(confirmed.len());
    for confirmation in confirmed {
        let order = confirmation.order.turned(OrderStatus::Confirmed, None, confirmation.saga.at);
        done.insert(order.id, Arc::new(order));
    }
    explain(connection, batch, &done).await
}

/// The message that writes the confirmations and commits.
fn write(confirmed: &[&Confirmation], feed: &Feed, entries: &[Entry]) -> Message {
    let mut message = Message::default()
        .words("DELETE FROM saga_states WHERE saga_id IN ")
        .list(confirmed.iter().map(|confirmation| &confirmation.saga.id))
        .words(";");
    let mut sold: BTreeMap<ProductId, i64> = BTreeMap::new();
    let mut at = Timestamp(0);
    for (added, paid) in [(1_i64, false), (2, true)] {
        let some: Vec<_> = confirmed.iter().filter(|c| c.capture.is_some() == paid).collect();
        let Some(first) = some.first() else { continue };
        message = message
            .words(
                "UPDATE orders SET status = 'CONFIRMED', version = version + 1, event_count = event_count + ",
            )
            .value(added)
            .words(", updated_at = ")
            .value(first.saga.at.0)
            .words(" WHERE id IN ")
            .list(some.iter().map(|confirmation| &confirmation.saga.id))
            .words(";");
    }
    for confirmation in confirmed {
        at = at.max(confirmation.saga.at);
        for line in confirmation.order.lines.iter() {
            *sold.entry(line.product_id).or_default() += i64::from(line.quantity.get());
        }
    }
    let lines = confirmed.iter().flat_map(|c| c.order.lines.iter().map(|line| (c.saga, line)));
    message = log_stock(
        message,
        lines.map(|(saga, line)| (line.product_id, -i64::from(line.quantity.get()), saga.id, saga.at)),
        &StockReason::Sale,
    );
    message = feed.append(message, entries);
    for (product, units) in sold {
        message = message
            .words("UPDATE products SET stock = stock - ")
            .value(units)
            .words(", reserved = reserved - ")
            .value(units)
            .words(", version = version + 1, updated_at = ")
            .value(at.0)
            .words(" WHERE id = ")
            .value(product.0)
            .words(";");
    }
    message.words("COMMIT")
}

fn entry(confirmation: &Confirmation, event_count: u32) -> Entry {
    let order = &confirmation.order;
    let events = event::of_confirmation(order, confirmation.capture.as_ref());
    Entry::new(order.id, event_count + 1, confirmation.saga.at, events)
}

/// Answers for each of the batch; what was not confirmed is read again.
async fn explain(
    connection: &mut Conn,
    batch: &[Confirmation],
    done: &HashMap<OrderId, Arc<Order>>,
) -> Result<Vec<Confirmed>> {
    let refused: Vec<OrderId> = batch.iter().map(|c| c.saga.id).filter(|id| !done.contains_key(id)).collect();
    let (mut orders, mut rows) = (HashMap::new(), HashMap::new());
    if !refused.is_empty() {
        orders = find_orders(connection, &refused).await?;
        let message = Message::default().words(SELECT_SAGA).words("WHERE saga_id IN ").list(&refused);
        rows = by_id(ask(connection, message).await?)?;
    }
    let answer = |confirmation: &Confirmation| {
        let saga = confirmation.saga;
        if let Some(order) = done.get(&saga.id) {
            return Ok(Arc::clone(order));
        }
        match (orders.get(&saga.id), rows.get(&saga.id)) {
            (Some(order), _) if order.status == OrderStatus::Confirmed => Ok(Arc::clone(order)),
            (Some(_), Some(row)) if row.driver != saga.driver => Err(SagaError::Superseded),
            (Some(_), Some(row)) => {
                Err(SagaError::ToBeUndone(row.undoing.unwrap_or(Reason::CancelledByCustomer)))
            }
            _ => Err(SagaError::WrongState),
        }
    };
    Ok(batch.iter().map(answer).collect())
}

/// Adds the statement that writes changes of stock into the log, where there are any.
pub fn log_stock(
    message: Message,
    changes: impl IntoIterator<Item = (ProductId, i64, OrderId, Timestamp)>,
    reason: &StockReason,
) -> Message {
    message
        .words("INSERT INTO inventory_logs (product_id, change_amount, order_id, reason, created_at)")
        .rows(changes, |row, (product, units, order, at)| {
            row.add(product.0).add(units).add(&order).add(reason.as_str()).add(at.0);
        })
        .words(";")
}
