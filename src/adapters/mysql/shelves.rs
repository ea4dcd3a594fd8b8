//! Products as a stock gate is loaded with them and compared with them, each seen at one moment.

use std::collections::HashMap;

use mysql_async::{Conn, Row};

use crate::domain::{
    BasketLine, Hold, OrderId, OrderStatus, ProductId, Quantity, Shelf, StockLevel, Timestamp,
};
use crate::ports::ledger::Comparison;

use super::error::{DbError, Result};
use super::rows::{digest, driver, order_id, word};
use super::session::{Answer, send, take};
use super::sql::Message;

/// Begins a transaction whose questions are all answered as of one moment.
const SNAPSHOT: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;";

const SELECT_SHELF: &str = "SELECT id, stock, reserved, version FROM products ";

fn shelf(row: &mut Row) -> Result<Shelf> {
    let level =
        StockLevel { product: ProductId(take(row, 0)?), stock: take(row, 1)?, reserved: take(row, 2)? };
    Ok(Shelf { level, version: take(row, 3)?, pending: Vec::new() })
}

/// `SELECT` of the holds of PENDING orders. The sagas are few, so they come first.
const SELECT_PENDING: &str = "SELECT /*+ JOIN_ORDER(s, o, l) */ o.id, o.key_digest, o.body_digest, s.owner, s.epoch, \
     l.product_id, l.quantity, o.created_at FROM saga_states s JOIN orders o ON o.id = s.saga_id \
     JOIN order_lines l ON l.order_id = o.id WHERE s.tombstone = 0 AND o.status = 'PENDING' AND l.product_id ";

fn pending(row: &mut Row) -> Result<Hold> {
    let quantity = Quantity::new(take(row, 6)?);
    let quantity = quantity.ok_or_else(|| DbError::Unreadable("a line of no units".into()))?;
    Ok(Hold {
        saga: order_id(row, 0)?,
        key: digest(row, 1)?,
        body: digest(row, 2)?,
        driver: driver(row, 3)?,
        lines: [BasketLine { product_id: ProductId(take(row, 5)?), quantity }].into(),
        deadline: Timestamp(take(row, 7)?),
    })
}

/// The answers to questions after those that begin a snapshot.
fn questions(answers: Vec<Answer>) -> impl Iterator<Item = Vec<Row>> {
    answers.into_iter().skip(2).map(|answer| answer.rows)
}

/// Up to `limit` products after `after`.
pub async fn list(connection: &mut Conn, after: Option<ProductId>, limit: usize) -> Result<Vec<Shelf>> {
    let (after, limit) = (after.map_or(0, |id| id.0), i64::try_from(limit).unwrap_or(i64::MAX));
    let message = Message::default()
        .words(SNAPSHOT)
        .words(SELECT_SHELF)
        .words("WHERE id > ")
        .value(after)
        .words(" ORDER BY id LIMIT ")
        .value(limit)
        .words(";")
        .words(SELECT_PENDING)
        .words("> ")
        .value(after)
        .words("; COMMIT");
    let mut answers = questions(send(connection, message).await?);
    let mut shelves: Vec<Shelf> =
        answers.next().unwrap_or_default().iter_mut().map(shelf).collect::<Result<_>>()?;
    let mut by_product: HashMap<ProductId, Vec<Hold>> = HashMap::new();
    for mut row in answers.next().unwrap_or_default() {
        let hold = pending(&mut row)?;
        by_product.entry(hold.lines[0].product_id).or_default().push(hold);
    }
    for shelf in &mut shelves {
        shelf.pending = by_product.remove(&shelf.level.product).unwrap_or_default();
    }
    Ok(shelves)
}

/// One product, beside what became of `orders`.
pub async fn compare(
    connection: &mut Conn,
    product: ProductId,
    orders: &[OrderId],
) -> Result<Option<Comparison>> {
    let mut message = Message::default()
        .words(SNAPSHOT)
        .words(SELECT_SHELF)
        .words("WHERE id = ")
        .value(product.0)
        .words(";")
        .words(SELECT_PENDING)
        .words("= ")
        .value(product.0)
        .words(";");
    if !orders.is_empty() {
        message =
            message.words("SELECT id, status, updated_at FROM orders WHERE id IN ").list(orders).words(";");
    }
    let mut answers = questions(send(connection, message.words("COMMIT")).await?);
    let found = answers.next().unwrap_or_default().iter_mut().map(shelf).next();
    let Some(mut shelf) = found.transpose()? else { return Ok(None) };
    shelf.pending = answers.next().unwrap_or_default().iter_mut().map(pending).collect::<Result<_>>()?;
    let mut statuses: HashMap<OrderId, (OrderStatus, Timestamp)> = HashMap::new();
    if !orders.is_empty() {
        for mut row in answers.next().unwrap_or_default() {
            let row = &mut row;
            statuses.insert(order_id(row, 0)?, (word(row, 1)?, Timestamp(take(row, 2)?)));
        }
    }
    let statuses = orders.iter().map(|id| statuses.get(id).copied()).collect();
    Ok(Some(Comparison { shelf, statuses }))
}
