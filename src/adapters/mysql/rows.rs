//! How domain values are read back.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::{Conn, Row};
use uuid::Uuid;

use crate::domain::{
    Currency, Digest, Driver, InstanceId, Money, Order, OrderId, OrderLine, Product, ProductId, Quantity,
    Timestamp, UserId,
};

use super::error::{DbError, Result};
use super::session::{ask, take};
use super::sql::Message;

pub fn sixteen(row: &mut Row, column: usize) -> Result<[u8; 16]> {
    sixteen_of(take(row, column)?, column)
}

fn sixteen_of(bytes: Vec<u8>, column: usize) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| DbError::Unreadable(format!("column {column} has not 16 bytes")))
}

pub fn order_id(row: &mut Row, column: usize) -> Result<OrderId> {
    Ok(OrderId(Uuid::from_bytes(sixteen(row, column)?)))
}

pub fn optional_order_id(row: &mut Row, column: usize) -> Result<Option<OrderId>> {
    let bytes: Option<Vec<u8>> = take(row, column)?;
    bytes.map(|bytes| Ok(OrderId(Uuid::from_bytes(sixteen_of(bytes, column)?)))).transpose()
}

pub fn digest(row: &mut Row, column: usize) -> Result<Digest> {
    Ok(Digest(sixteen(row, column)?))
}

/// Reads `owner` and `epoch` from two columns side by side.
pub fn driver(row: &mut Row, column: usize) -> Result<Driver> {
    let instance = InstanceId(Uuid::from_bytes(sixteen(row, column)?));
    Ok(Driver { instance, epoch: take(row, column + 1)? })
}

pub fn flag(row: &mut Row, column: usize) -> Result<bool> {
    Ok(take::<i64>(row, column)? != 0)
}

/// Reads a word that the domain knows.
pub fn word<W>(row: &mut Row, column: usize) -> Result<W>
where
    W: std::str::FromStr<Err: std::fmt::Display>,
{
    let text: String = take(row, column)?;
    text.parse().map_err(|error: W::Err| DbError::Unreadable(error.to_string()))
}

/// Reads a word, or nothing.
pub fn optional_word<W>(row: &mut Row, column: usize) -> Result<Option<W>>
where
    W: std::str::FromStr<Err: std::fmt::Display>,
{
    let text: Option<String> = take(row, column)?;
    text.map(|text| text.parse().map_err(|error: W::Err| DbError::Unreadable(error.to_string()))).transpose()
}

/// Reads an amount and its currency.
pub fn money(row: &mut Row, amount: usize, currency: usize) -> Result<Money> {
    Ok(Money::new(take(row, amount)?, word::<Currency>(row, currency)?))
}

/// `SELECT` of the columns that [`product`] reads.
pub const SELECT_PRODUCT: &str = "SELECT id, sku, name, description, category, price_minor, currency, stock, \
     reserved, version, updated_at FROM products ";

pub fn product(mut row: Row) -> Result<Product> {
    let row = &mut row;
    Ok(Product {
        id: ProductId(take(row, 0)?),
        sku: take(row, 1)?,
        name: take(row, 2)?,
        description: take(row, 3)?,
        category: take(row, 4)?,
        price: money(row, 5, 6)?,
        stock: take(row, 7)?,
        reserved: take(row, 8)?,
        version: take(row, 9)?,
        updated_at: Timestamp(take(row, 10)?),
    })
}

/// `SELECT` of the columns that [`order_head`] reads.
pub const SELECT_ORDER: &str = "SELECT id, user_id, status, reason, total_minor, currency, created_at, updated_at \
     FROM orders ";

/// An order whose lines are still to be read.
pub fn order_head(row: &mut Row) -> Result<Order> {
    Ok(Order {
        id: order_id(row, 0)?,
        user_id: UserId(take(row, 1)?),
        status: word(row, 2)?,
        reason: optional_word(row, 3)?,
        lines: Arc::default(),
        total: money(row, 4, 5)?,
        created_at: Timestamp(take(row, 6)?),
        updated_at: Timestamp(take(row, 7)?),
    })
}

/// Reads the lines of orders into them, keeping their order.
pub async fn with_lines(connection: &mut Conn, mut orders: Vec<Order>) -> Result<Vec<Arc<Order>>> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let message = Message::default()
        .words(
            "SELECT order_id, product_id, sku, name, quantity, unit_price_minor FROM order_lines WHERE order_id IN ",
        )
        .list(orders.iter().map(|order| &order.id))
        .words(" ORDER BY order_id, product_id");
    let mut lines: HashMap<OrderId, Vec<OrderLine>> = HashMap::with_capacity(orders.len());
    let currency: HashMap<OrderId, Currency> =
        orders.iter().map(|order| (order.id, order.total.currency)).collect();
    for mut row in ask(connection, message).await? {
        let row = &mut row;
        let id = order_id(row, 0)?;
        let quantity = Quantity::new(take(row, 4)?);
        let line = OrderLine {
            product_id: ProductId(take(row, 1)?),
            sku: take::<String>(row, 2)?.into(),
            name: take::<String>(row, 3)?.into(),
            quantity: quantity.ok_or_else(|| DbError::Unreadable("a line of no units".into()))?,
            unit_price: Money::new(take(row, 5)?, currency[&id]),
        };
        lines.entry(id).or_default().push(line);
    }
    for order in &mut orders {
        order.lines = lines.remove(&order.id).unwrap_or_default().into();
    }
    Ok(orders.into_iter().map(Arc::new).collect())
}

/// The orders with these ids that exist.
pub async fn find_orders(connection: &mut Conn, ids: &[OrderId]) -> Result<HashMap<OrderId, Arc<Order>>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let message = Message::default().words(SELECT_ORDER).words("WHERE id IN ").list(ids);
    let heads = ask(connection, message).await?.iter_mut().map(order_head).collect::<Result<_>>()?;
    let orders = with_lines(connection, heads).await?;
    Ok(orders.into_iter().map(|order| (order.id, order)).collect())
}

/// An order by id, with its lines.
pub async fn find_order(connection: &mut Conn, id: OrderId) -> Result<Option<Arc<Order>>> {
    Ok(find_orders(connection, &[id]).await?.remove(&id))
}
