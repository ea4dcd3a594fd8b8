//! How domain values are stored and read back.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::domain::{
    Currency, Digest, Driver, InstanceId, Money, Order, OrderId, OrderLine, Product, ProductId, Quantity,
    Timestamp, UserId,
};

/// Why a stored value cannot be read: the store is damaged or was written by something else.
pub fn unreadable(column: usize, kind: Type, why: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, why.into().into())
}

pub fn blob(id: OrderId) -> [u8; 16] {
    id.0.into_bytes()
}

/// How many rows are wanted, as SQLite counts.
pub fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub fn order_id(row: &Row<'_>, column: usize) -> rusqlite::Result<OrderId> {
    Ok(OrderId(Uuid::from_bytes(row.get(column)?)))
}

pub fn optional_order_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<OrderId>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|bytes| OrderId(Uuid::from_bytes(bytes))))
}

pub fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Ok(Digest(row.get(column)?))
}

/// Reads `owner` and `epoch` from two columns side by side.
pub fn driver(row: &Row<'_>, column: usize) -> rusqlite::Result<Driver> {
    Ok(Driver { instance: InstanceId(Uuid::from_bytes(row.get(column)?)), epoch: row.get(column + 1)? })
}

/// Reads an amount and its currency.
pub fn money(row: &Row<'_>, amount: usize, currency: usize) -> rusqlite::Result<Money> {
    Ok(Money::new(row.get(amount)?, word::<Currency>(row, currency)?))
}

/// Reads a word that the domain knows.
pub fn word<W>(row: &Row<'_>, column: usize) -> rusqlite::Result<W>
where
    W: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: W::Err| unreadable(column, Type::Text, error.to_string()))
}

/// Reads a word, or nothing.
pub fn optional_word<W>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<W>>
where
    W: std::str::FromStr<Err: std::fmt::Display>,
{
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => word(row, column).map(Some),
    }
}

/// The columns that [`product`] reads.
pub const PRODUCT_COLUMNS: &str =
    "id, sku, name, description, category, price_minor, currency, stock, reserved, version, updated_at";

pub fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: ProductId(row.get(0)?),
        sku: row.get(1)?,
        name: row.get(2)?,
        description: row.get(3)?,
        category: row.get(4)?,
        price: money(row, 5, 6)?,
        stock: row.get(7)?,
        reserved: row.get(8)?,
        version: row.get(9)?,
        updated_at: Timestamp(row.get(10)?),
    })
}

/// The columns of `orders` that [`order_head`] reads.
pub const ORDER_COLUMNS: &str = "id, user_id, status, reason, total_minor, currency, created_at, updated_at";

/// An order whose lines are still to be read.
pub fn order_head(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: order_id(row, 0)?,
        user_id: UserId(row.get(1)?),
        status: word(row, 2)?,
        reason: optional_word(row, 3)?,
        lines: Arc::default(),
        total: money(row, 4, 5)?,
        created_at: Timestamp(row.get(6)?),
        updated_at: Timestamp(row.get(7)?),
    })
}

/// Reads the lines of an order into it.
pub fn with_lines(connection: &Connection, mut order: Order) -> rusqlite::Result<Arc<Order>> {
    let mut statement = connection.prepare_cached(
        "SELECT product_id, sku, name, quantity, unit_price_minor FROM order_lines WHERE order_id = ? \
         ORDER BY product_id",
    )?;
    let currency = order.total.currency;
    let lines = statement.query_map([blob(order.id)], |row| {
        let quantity = Quantity::new(row.get(3)?).ok_or_else(|| unreadable(3, Type::Integer, "zero"))?;
        Ok(OrderLine {
            product_id: ProductId(row.get(0)?),
            sku: row.get_ref(1)?.as_str()?.into(),
            name: row.get_ref(2)?.as_str()?.into(),
            quantity,
            unit_price: Money::new(row.get(4)?, currency),
        })
    })?;
    order.lines = lines.collect::<rusqlite::Result<_>>()?;
    Ok(Arc::new(order))
}

/// An order by id, with its lines.
pub fn find_order(connection: &Connection, id: OrderId) -> rusqlite::Result<Option<Arc<Order>>> {
    let sql = select_orders("WHERE id = ?");
    let head = connection.prepare_cached(&sql)?.query_row(params![blob(id)], order_head).optional()?;
    head.map(|head| with_lines(connection, head)).transpose()
}

/// `SELECT` of the order columns with a clause.
pub fn select_orders(clause: &str) -> String {
    format!("SELECT {ORDER_COLUMNS} FROM orders {clause}")
}
