//! Products as a stock gate is loaded with them and compared with them, each seen at one moment.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::domain::{BasketLine, Hold, OrderId, ProductId, Quantity, Shelf, StockLevel, Timestamp};
use crate::ports::ledger::Comparison;

use super::rows::{blob, count, digest, driver, order_id, word};

fn shelf(row: &Row<'_>) -> rusqlite::Result<Shelf> {
    let level = StockLevel { product: ProductId(row.get(0)?), stock: row.get(1)?, reserved: row.get(2)? };
    Ok(Shelf { level, version: row.get(3)?, pending: Vec::new() })
}

/// The holds of the PENDING orders that have a line of a product with an id between two bounds.
fn pending(connection: &Connection, from: ProductId, to: ProductId) -> rusqlite::Result<Vec<Hold>> {
    // The sagas are few, so they come first.
    let mut statement = connection.prepare_cached(
        "SELECT o.id, o.key_digest, o.body_digest, s.owner, s.epoch, l.product_id, l.quantity, o.created_at \
         FROM saga_states s CROSS JOIN orders o ON o.id = s.saga_id CROSS JOIN order_lines l ON l.order_id = o.id \
         WHERE s.tombstone = 0 AND o.status = 'PENDING' AND l.product_id BETWEEN ? AND ?",
    )?;
    let holds = statement.query_map([from.0, to.0], |row| {
        let quantity: u32 = row.get(6)?;
        let quantity = Quantity::new(quantity).ok_or(rusqlite::Error::IntegralValueOutOfRange(6, 0))?;
        Ok(Hold {
            saga: order_id(row, 0)?,
            key: digest(row, 1)?,
            body: digest(row, 2)?,
            driver: driver(row, 3)?,
            lines: [BasketLine { product_id: ProductId(row.get(5)?), quantity }].into(),
            deadline: Timestamp(row.get(7)?),
        })
    })?;
    holds.collect()
}

/// Up to `limit` products after `after`.
pub fn list(connection: &Connection, after: Option<ProductId>, limit: usize) -> rusqlite::Result<Vec<Shelf>> {
    let transaction = connection.unchecked_transaction()?;
    let limit = count(limit);
    let mut shelves: Vec<Shelf> = transaction
        .prepare_cached("SELECT id, stock, reserved, version FROM products WHERE id > ? ORDER BY id LIMIT ?")?
        .query_map(params![after.map_or(0, |id| id.0), limit], shelf)?
        .collect::<rusqlite::Result<_>>()?;
    let (Some(first), Some(last)) = (shelves.first(), shelves.last()) else { return Ok(shelves) };
    let mut by_product: HashMap<ProductId, Vec<Hold>> = HashMap::new();
    for hold in pending(&transaction, first.level.product, last.level.product)? {
        by_product.entry(hold.lines[0].product_id).or_default().push(hold);
    }
    for shelf in &mut shelves {
        shelf.pending = by_product.remove(&shelf.level.product).unwrap_or_default();
    }
    Ok(shelves)
}

/// One product, beside what became of `orders`.
pub fn compare(
    connection: &Connection,
    product: ProductId,
    orders: &[OrderId],
) -> rusqlite::Result<Option<Comparison>> {
    let transaction = connection.unchecked_transaction()?;
    let found = transaction
        .prepare_cached("SELECT id, stock, reserved, version FROM products WHERE id = ?")?
        .query_row([product.0], shelf)
        .optional()?;
    let Some(mut shelf) = found else { return Ok(None) };
    shelf.pending = pending(&transaction, product, product)?;
    let mut status = transaction.prepare_cached("SELECT status, updated_at FROM orders WHERE id = ?")?;
    let read = |row: &Row<'_>| Ok((word(row, 0)?, Timestamp(row.get(1)?)));
    let statuses = orders.iter().map(|id| status.query_row([blob(*id)], read).optional());
    let statuses = statuses.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Comparison { shelf, statuses }))
}
