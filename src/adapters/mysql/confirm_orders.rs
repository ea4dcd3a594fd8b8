//! The confirm commit: PENDING becomes CONFIRMED, units leave stock and reservation together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mysql_async::Conn;

use crate::domain::{EventBody, Order, OrderId, OrderStatus, ProductId, Reason, StockReason, Timestamp};
use crate::ports::ledger::{Confirmation, SagaError};

use super::error::Result;
use super::outbox::{self, Entry};
use super::rows::{find_orders, order_id};
use super::sagas::{self, SELECT_SAGA, SagaRow, by_id};
use super::session::{ask, roll_back, send, take};
use super::sql::Message;

type Confirmed = std::result::Result<Arc<Order>, SagaError>;

/// Confirms the orders of a batch.
pub async fn confirm_orders(connection: &mut Conn, batch: &[Confirmation]) -> Result<Vec<Confirmed>> {
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
        send(connection, write(&confirmed, &event_counts)).await?;
    }
    let mut done: HashMap<OrderId, Arc<Order>> = HashMap::with_capacity(confirmed.len());
    for confirmation in confirmed {
        let order = confirmation.order.turned(OrderStatus::Confirmed, None, confirmation.saga.at);
        done.insert(order.id, Arc::new(order));
    }
    explain(connection, batch, &done).await
}

/// The message that writes the confirmations and commits.
fn write(confirmed: &[&Confirmation], event_counts: &HashMap<OrderId, u32>) -> Message {
    let mut message = Message::default()
        .words("DELETE FROM saga_states WHERE saga_id IN ")
        .list(confirmed.iter().map(|confirmation| &confirmation.saga.id))
        .words(";");
    let mut entries = Vec::with_capacity(confirmed.len());
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
        entries.push(entry(confirmation, event_counts[&confirmation.saga.id]));
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
    message = outbox::append(message, &entries);
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
    let (order_id, user_id) = (order.id, order.user_id);
    let mut events = Vec::with_capacity(2);
    if let Some(capture) = &confirmation.capture {
        let (amount, transaction_id) = (capture.amount, Arc::clone(&capture.transaction_id));
        events.push(EventBody::PaymentProcessed { order_id, user_id, amount, transaction_id });
    }
    let (lines, total) = (order.basket_lines(), order.total);
    events.push(EventBody::OrderConfirmed { order_id, user_id, lines, total });
    Entry::new(order.id, event_count + 1, confirmation.saga.at, &events)
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
