//! The create-order commit: orders, lines, sagas and events first, the product rows last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;

use crate::domain::{
    Digest, Left, Money, MoneyError, Order, OrderId, OrderLine, OrderStatus, ProductId, StepName, UserId,
    event, order,
};
use crate::ports::ledger::{CreateOrderError, NewOrder};

use super::error::Result;
use super::outbox::{Entry, Feed};
use super::rows::{SELECT_ORDER, digest, money, order_head, order_id, with_lines};
use super::sagas::{SELECT_SAGA, SagaRow, by_id};
use super::session::{roll_back, send, take};
use super::sql::Message;

/// How long keys are remembered.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

type Created = std::result::Result<Arc<Order>, CreateOrderError>;

/// A product as this batch sees it.
struct Shelf {
    sku: Arc<str>,
    name: Arc<str>,
    price: Money,
    available: i64,
    taken: i64,
}

/// All that decides about a batch, read in its transaction.
struct Known {
    shelves: BTreeMap<ProductId, Shelf>,
    orders: HashMap<OrderId, Arc<Order>>,
    sagas: HashMap<OrderId, SagaRow>,
    /// Which order has a key.
    keys: HashMap<(UserId, Digest), OrderId>,
    /// Keys whose day is over.
    expired_keys: Vec<(UserId, Digest)>,
}

/// Creates the orders of a batch in order of arrival. `locked` keeps the products' rows from changing
/// meanwhile: for when a batch was refused by a guard, because it saw what was true no more.
pub async fn create_orders(
    connection: &mut Conn,
    batch: &[NewOrder],
    feed: &Feed,
    locked: bool,
) -> Result<Vec<Created>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = look(connection, batch, locked).await?;
    let mut answers: Vec<Created> = Vec::with_capacity(batch.len());
    let mut new_orders: Vec<(&NewOrder, Arc<Order>)> = Vec::new();
    for new in batch {
        let answer = match existing(&known, new) {
            Some(found) => found,
            None => admit(&mut known, new).map(Arc::new),
        };
        if let Ok(order) = &answer
            && !known.orders.contains_key(&new.id)
        {
            known.keys.insert((order.user_id, new.purchase.key), new.id);
            known.orders.insert(new.id, Arc::clone(order));
            new_orders.push((new, Arc::clone(order)));
        }
        answers.push(answer);
    }
    if new_orders.is_empty() {
        roll_back(connection).await?;
    } else {
        let entries: Vec<_> = new_orders.iter().map(|(new, order)| entry(new, order)).collect();
        send(connection, write(&known, &new_orders, feed, &entries)).await?;
        feed.committed(entries);
    }
    Ok(answers)
}

async fn look(connection: &mut Conn, batch: &[NewOrder], locked: bool) -> Result<Known> {
    let products: HashSet<i64> = batch
        .iter()
        .flat_map(|new| new.purchase.basket.lines().iter())
        .map(|line| line.product_id.0)
        .collect();
    let ids = || batch.iter().map(|new| &new.id);
    let since = batch.iter().map(|new| new.at).min().expect("a batch has orders").minus(REMEMBERED);
    let message = Message::begin()
        .words("SELECT id, sku, name, price_minor, currency, stock - reserved FROM products WHERE id IN ")
        .list(products)
        .words(if locked { " ORDER BY id FOR UPDATE;" } else { ";" })
        .words(SELECT_ORDER)
        .words("WHERE id IN ")
        .list(ids())
        .words(";")
        .words(SELECT_SAGA)
        .words("WHERE saga_id IN ")
        .list(ids())
        .words(";SELECT user_id, key_digest, order_id, created_at FROM purchase_keys WHERE (user_id, key_digest) IN ")
        .pairs(batch.iter().map(|new| (new.purchase.user_id.0, &new.purchase.key)));
    let mut answers = send(connection, message).await?.into_iter().skip(1).map(|answer| answer.rows);
    let mut rows = || answers.next().unwrap_or_default();
    let mut shelves = BTreeMap::new();
    for mut row in rows() {
        let row = &mut row;
        let shelf = Shelf {
            sku: take::<String>(row, 1)?.into(),
            name: take::<String>(row, 2)?.into(),
            price: money(row, 3, 4)?,
            available: take(row, 5)?,
            taken: 0,
        };
        shelves.insert(ProductId(take(row, 0)?), shelf);
    }
    let heads = rows().iter_mut().map(order_head).collect::<Result<Vec<_>>>()?;
    let sagas = by_id(rows())?;
    let (mut keys, mut expired_keys) = (HashMap::new(), Vec::new());
    for mut row in rows() {
        let row = &mut row;
        let key = (UserId(take(row, 0)?), digest(row, 1)?);
        if take::<i64>(row, 3)? >= since.0 {
            keys.insert(key, order_id(row, 2)?);
        } else {
            expired_keys.push(key);
        }
    }
    let orders = with_lines(connection, heads).await?.into_iter().map(|order| (order.id, order)).collect();
    Ok(Known { shelves, orders, sagas, keys, expired_keys })
}

/// What stands under an id already: the PENDING order of an earlier try, or the end of it.
fn existing(known: &Known, new: &NewOrder) -> Option<Created> {
    match (known.orders.get(&new.id), known.sagas.get(&new.id)) {
        (None, None) => None,
        (Some(order), saga) if order.status == OrderStatus::Pending => {
            // Without a saga it was created by this very batch.
            let at_rest = |saga: &SagaRow| saga.stuck || saga.waits_until.is_some();
            let goes_on =
                saga.is_none_or(|saga| saga.driver == new.driver && saga.undoing.is_none() && !at_rest(saga));
            let order = Arc::clone(order);
            Some(if goes_on { Ok(order) } else { Err(CreateOrderError::Driven(order)) })
        }
        _ => Some(Err(CreateOrderError::Expired)),
    }
}

/// Whether the order can be sold, and at which price; takes its units from the shelves.
fn admit(known: &mut Known, new: &NewOrder) -> std::result::Result<Order, CreateOrderError> {
    let purchase = &new.purchase;
    if let Some(other) = known.keys.get(&(purchase.user_id, purchase.key)) {
        return Err(CreateOrderError::KeyTaken(*other));
    }
    let basket = purchase.basket.lines();
    let (mut lines, mut left, mut short) = (Vec::with_capacity(basket.len()), Vec::new(), false);
    for line in basket.iter() {
        let shelf =
            known.shelves.get(&line.product_id).ok_or(CreateOrderError::UnknownProduct(line.product_id))?;
        short |= shelf.available < i64::from(line.quantity.get());
        let (product, requested) = (line.product_id, line.quantity.get());
        left.push(Left { product, requested, left: shelf.available.max(0) });
        lines.push(OrderLine {
            product_id: line.product_id,
            sku: Arc::clone(&shelf.sku),
            name: Arc::clone(&shelf.name),
            quantity: line.quantity,
            unit_price: shelf.price,
        });
    }
    let total = order::total_of(&lines).map_err(|error| match error {
        MoneyError::MixedCurrencies => CreateOrderError::MixedCurrencies,
        _ => CreateOrderError::TotalOverflow,
    })?;
    if purchase.expected_total.is_some_and(|expected| expected != total) {
        return Err(CreateOrderError::PriceChanged { total });
    }
    if short {
        return Err(CreateOrderError::InsufficientStock { lines: left });
    }
    for line in basket.iter() {
        let shelf = known.shelves.get_mut(&line.product_id).expect("it was priced from it");
        shelf.available -= i64::from(line.quantity.get());
        shelf.taken += i64::from(line.quantity.get());
    }
    Ok(Order {
        id: new.id,
        user_id: purchase.user_id,
        status: OrderStatus::Pending,
        reason: None,
        lines: lines.into(),
        total,
        created_at: new.at,
        updated_at: new.at,
    })
}

/// The message that writes the orders and commits.
fn write(known: &Known, new_orders: &[(&NewOrder, Arc<Order>)], feed: &Feed, entries: &[Entry]) -> Message {
    let mut message = Message::default();
    for (user, key) in &known.expired_keys {
        message = message
            .words("DELETE FROM purchase_keys WHERE user_id = ")
            .value(user.0)
            .words(" AND key_digest = ")
            .value(key)
            .words(";");
    }
    // In the order of the index, so that two servers with the same keys do not wait for each other.
    let mut by_key: Vec<_> = new_orders.iter().collect();
    by_key.sort_by_key(|(new, _)| (new.purchase.user_id, new.purchase.key.0));
    let message = message
        .words("INSERT INTO purchase_keys (user_id, key_digest, order_id, created_at)")
        .rows(by_key, |row, (new, order)| {
            row.add(order.user_id.0).add(&new.purchase.key).add(&order.id).add(new.at.0);
        })
        .words(
            ";INSERT INTO orders (id, user_id, status, total_minor, currency, key_digest, body_digest, event_count, \
             created_at, updated_at)",
        )
        .rows(new_orders, |row, (new, order)| {
            row.add(&order.id)
                .add(order.user_id.0)
                .add(OrderStatus::Pending.as_str())
                .add(order.total.minor)
                .add(order.total.currency.as_str())
                .add(&new.purchase.key)
                .add(&new.purchase.body)
                .add(3_i64)
                .add(new.at.0)
                .add(new.at.0);
        })
        .words(";INSERT INTO order_lines (order_id, product_id, sku, name, quantity, unit_price_minor)")
        .rows(
            new_orders.iter().flat_map(|(_, order)| order.lines.iter().map(|line| (order.id, line))),
            |row, (id, line)| {
                row.add(&id)
                    .add(line.product_id.0)
                    .add(&*line.sku)
                    .add(&*line.name)
                    .add(line.quantity.get())
                    .add(line.unit_price.minor);
            },
        )
        .words(";INSERT INTO saga_states (saga_id, current_step, state_data, owner, epoch, updated_at)")
        .rows(new_orders, |row, (new, order)| {
            row.add(&order.id)
                .add(StepName::TakePayment.as_str())
                .add(new.purchase.payment_token.as_ref().map(|token| &*token.0))
                .add(&new.driver.instance)
                .add(new.driver.epoch)
                .add(new.at.0);
        })
        .words(";");
    let mut message = feed.append(message, entries);
    let at = new_orders.iter().map(|(new, _)| new.at.0).max().unwrap_or_default();
    for (id, shelf) in known.shelves.iter().filter(|(_, shelf)| shelf.taken > 0) {
        // The CHECK constraint guards the stock; a price that is another by now breaks it on purpose.
        message = message
            .words("UPDATE products SET reserved = IF(price_minor = ")
            .value(shelf.price.minor)
            .words(" AND currency = ")
            .value(shelf.price.currency.as_str())
            .words(", reserved + ")
            .value(shelf.taken)
            .words(", -1), version = version + 1, updated_at = ")
            .value(at)
            .words(" WHERE id = ")
            .value(id.0)
            .words(";");
    }
    message.words("COMMIT")
}

fn entry(new: &NewOrder, order: &Order) -> Entry {
    Entry::new(order.id, 1, new.at, event::of_creation(order, new.purchase.basket.lines()))
}
