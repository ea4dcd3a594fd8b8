//! The create-order commit: orders, lines, sagas and events first, the product rows last.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::domain::{
    Left, Money, MoneyError, Order, OrderId, OrderLine, OrderStatus, ProductId, StepName, event, order,
};
use crate::ports::ledger::{CreateOrderError, NewOrder};

use super::customer_index::CustomerIndex;
use super::key_filter::{KeyFilter, REMEMBERED};
use super::rows::{blob, find_order, money};
use super::{outbox, sagas};

/// A product as this batch sees it.
struct Shelf {
    sku: Arc<str>,
    name: Arc<str>,
    price: Money,
    available: i64,
    taken: i64,
}

/// The products that a batch touches, each read once.
struct Shelves<'c> {
    connection: &'c Connection,
    by_id: BTreeMap<ProductId, Shelf>,
}

impl Shelves<'_> {
    fn get(&mut self, id: ProductId) -> rusqlite::Result<Option<&mut Shelf>> {
        use std::collections::btree_map::Entry;
        match self.by_id.entry(id) {
            Entry::Occupied(shelf) => Ok(Some(shelf.into_mut())),
            Entry::Vacant(place) => {
                let shelf = self
                    .connection
                    .prepare_cached(
                        "SELECT sku, name, price_minor, currency, stock - reserved FROM products WHERE id = ?",
                    )?
                    .query_row([id.0], |row| {
                        Ok(Shelf {
                            sku: row.get_ref(0)?.as_str()?.into(),
                            name: row.get_ref(1)?.as_str()?.into(),
                            price: money(row, 2, 3)?,
                            available: row.get(4)?,
                            taken: 0,
                        })
                    })
                    .optional()?;
                Ok(shelf.map(|shelf| place.insert(shelf)))
            }
        }
    }
}

/// Runs inside the writer's transaction.
pub fn create_orders(
    connection: &Connection,
    keys: &KeyFilter,
    customers: &CustomerIndex,
    batch: &[NewOrder],
) -> rusqlite::Result<Vec<Result<Arc<Order>, CreateOrderError>>> {
    let mut shelves = Shelves { connection, by_id: BTreeMap::new() };
    let mut answers = Vec::with_capacity(batch.len());
    for new in batch {
        let answer = match admit(connection, keys, customers, &mut shelves, new)? {
            Ok(order) => insert(connection, keys, customers, &mut shelves, new, order)?,
            // It may be refused because this very order took the units before.
            Err(refusal) => match existing(connection, new)? {
                Some(found) => found,
                None => Err(refusal),
            },
        };
        answers.push(answer);
    }
    customers.write_slice(connection)?;
    let mut reserve = connection.prepare_cached(
        "UPDATE products SET reserved = reserved + ?1, version = version + 1, updated_at = ?2 \
         WHERE id = ?3 AND stock - reserved >= ?1",
    )?;
    let at = batch.last().map_or(0, |new| new.at.0);
    for (id, shelf) in shelves.by_id.iter().filter(|(_, shelf)| shelf.taken > 0) {
        if reserve.execute([shelf.taken, at, id.0])? != 1 {
            // There is one writer, so what was read above still holds; if ever not, nothing is sold.
            return Err(rusqlite::Error::StatementChangedRows(0));
        }
    }
    Ok(answers)
}

/// Whether the order can be sold, and at which price. Writes nothing.
fn admit(
    connection: &Connection,
    keys: &KeyFilter,
    customers: &CustomerIndex,
    shelves: &mut Shelves<'_>,
    new: &NewOrder,
) -> rusqlite::Result<Result<Order, CreateOrderError>> {
    let purchase = &new.purchase;
    let since = OrderId::earliest_at(new.at.minus(REMEMBERED));
    if keys.may_contain(purchase.key)
        && let Some((other, _)) = customers.find_by_key(connection, purchase.user_id, purchase.key, since)?
        && other != new.id
    {
        return Ok(Err(CreateOrderError::KeyTaken(other)));
    }
    let mut lines = Vec::with_capacity(purchase.basket.lines().len());
    let mut left = Vec::new();
    for line in purchase.basket.lines().iter() {
        let Some(shelf) = shelves.get(line.product_id)? else {
            return Ok(Err(CreateOrderError::UnknownProduct(line.product_id)));
        };
        let short = shelf.available < i64::from(line.quantity.get());
        left.push((
            short,
            Left { product: line.product_id, requested: line.quantity.get(), left: shelf.available.max(0) },
        ));
        lines.push(OrderLine {
            product_id: line.product_id,
            sku: Arc::clone(&shelf.sku),
            name: Arc::clone(&shelf.name),
            quantity: line.quantity,
            unit_price: shelf.price,
        });
    }
    let total = match order::total_of(&lines) {
        Ok(total) => total,
        Err(MoneyError::MixedCurrencies) => return Ok(Err(CreateOrderError::MixedCurrencies)),
        Err(_) => return Ok(Err(CreateOrderError::TotalOverflow)),
    };
    if purchase.expected_total.is_some_and(|expected| expected != total) {
        return Ok(Err(CreateOrderError::PriceChanged { total }));
    }
    if left.iter().any(|(short, _)| *short) {
        let lines = left.into_iter().map(|(_, left)| left).collect();
        return Ok(Err(CreateOrderError::InsufficientStock { lines }));
    }
    Ok(Ok(Order {
        id: new.id,
        user_id: purchase.user_id,
        status: OrderStatus::Pending,
        reason: None,
        lines: lines.into(),
        total,
        created_at: new.at,
        updated_at: new.at,
    }))
}

fn insert(
    connection: &Connection,
    keys: &KeyFilter,
    customers: &CustomerIndex,
    shelves: &mut Shelves<'_>,
    new: &NewOrder,
    order: Order,
) -> rusqlite::Result<Result<Arc<Order>, CreateOrderError>> {
    let purchase = &new.purchase;
    let id = blob(order.id);
    let inserted = connection
        .prepare_cached(
            "INSERT INTO orders (id, user_id, status, total_minor, currency, key_digest, body_digest, \
             event_count, created_at, updated_at) VALUES (?1, ?2, 'PENDING', ?3, ?4, ?5, ?6, 3, ?7, ?7) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            id,
            order.user_id.0,
            order.total.minor,
            order.total.currency.as_str(),
            purchase.key.0,
            purchase.body.0,
            new.at.0
        ])?;
    if inserted == 0 {
        return Ok(existing(connection, new)?.unwrap_or(Err(CreateOrderError::Expired)));
    }
    let token = purchase.payment_token.as_ref().map(|token| &*token.0);
    let opened = connection
        .prepare_cached(
            "INSERT INTO saga_states (saga_id, current_step, state_data, owner, epoch, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            id,
            StepName::TakePayment.as_str(),
            token,
            new.driver.instance.0.into_bytes(),
            new.driver.epoch,
            new.at.0
        ])?;
    if opened == 0 {
        // A tombstone: the attempt was given up before it came here.
        connection.prepare_cached("DELETE FROM orders WHERE id = ?")?.execute([id])?;
        return Ok(Err(CreateOrderError::Expired));
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO order_lines (order_id, product_id, sku, name, quantity, unit_price_minor) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for line in order.lines.iter() {
        let quantity = line.quantity.get();
        statement.execute(params![
            id,
            line.product_id.0,
            &*line.sku,
            &*line.name,
            quantity,
            line.unit_price.minor
        ])?;
        let shelf = shelves.get(line.product_id)?.expect("the order was priced from it");
        shelf.available -= i64::from(quantity);
        shelf.taken += i64::from(quantity);
    }
    let user_id = order.user_id;
    let events = event::of_creation(&order, purchase.basket.lines());
    outbox::append(connection, order.id, 1, new.at, &events)?;
    keys.insert(purchase.key, new.at);
    customers.insert(connection, user_id, order.id, purchase.key)?;
    Ok(Ok(Arc::new(order)))
}

/// What stands under an id already: the PENDING order of an earlier try, or the end of it.
fn existing(
    connection: &Connection,
    new: &NewOrder,
) -> rusqlite::Result<Option<Result<Arc<Order>, CreateOrderError>>> {
    let order = find_order(connection, new.id)?;
    let saga = sagas::find(connection, new.id)?;
    Ok(match (order, saga) {
        (Some(order), Some(saga)) if order.status == OrderStatus::Pending => {
            let at_rest = saga.stuck || saga.waits_until.is_some();
            let goes_on = saga.driver == new.driver && saga.undoing.is_none() && !at_rest;
            Some(if goes_on { Ok(order) } else { Err(CreateOrderError::Driven(order)) })
        }
        (None, None) => None,
        _ => Some(Err(CreateOrderError::Expired)),
    })
}
