//! Products, their stock and the log of its changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use mysql_async::Conn;

use crate::domain::{NewProduct, Product, ProductChange, ProductId, StockLevel, StockReason, Timestamp};
use crate::ports::ledger::{
    AdjustError, Adjusted, Adjustment, ProductError, ProductQuery, STOCK_LOG_REACH, StockLogEntry,
    StockLogSum,
};

use super::error::{DbError, Result};
use super::ledger::limited;
use super::rows::{SELECT_PRODUCT, digest, flag, optional_order_id, product};
use super::session::{Answer, ask, roll_back, send, take};
use super::sql::Message;

/// More units of one product than anybody has; keeps every sum of stock far from overflow.
const STOCK_MAX: i64 = 1_000_000_000_000;

pub async fn find(connection: &mut Conn, id: ProductId) -> Result<Option<Product>> {
    let message = Message::default().words(SELECT_PRODUCT).words("WHERE id = ").value(id.0);
    ask(connection, message).await?.into_iter().next().map(product).transpose()
}

pub async fn by_sku(connection: &mut Conn, skus: &[String]) -> Result<Vec<Product>> {
    if skus.is_empty() {
        return Ok(Vec::new());
    }
    let message =
        Message::default().words(SELECT_PRODUCT).words("WHERE sku IN ").list(skus.iter().map(|sku| &**sku));
    ask(connection, message).await?.into_iter().map(product).collect()
}

pub async fn list(connection: &mut Conn, query: &ProductQuery) -> Result<Vec<Product>> {
    let mut message =
        Message::default().words(SELECT_PRODUCT).words("WHERE id > ").value(query.after.map_or(0, |id| id.0));
    if let Some(category) = &query.category {
        message = message.words(" AND category = ").value(&**category);
    }
    if let Some(text) = &query.text {
        let escaped: String = text
            .chars()
            .flat_map(|c| ['%', '_', '\\'].contains(&c).then_some('\\').into_iter().chain([c]))
            .collect();
        let pattern = format!("%{escaped}%");
        message = message
            .words(" AND (name LIKE ")
            .value(&*pattern)
            .words(" OR sku COLLATE utf8mb4_0900_as_ci LIKE ")
            .value(&*pattern)
            .words(")");
    }
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    ask(connection, message.words(" ORDER BY id LIMIT ").value(limit))
        .await?
        .into_iter()
        .map(product)
        .collect()
}

pub async fn categories(connection: &mut Conn, limit: usize) -> Result<Vec<String>> {
    let message = Message::default()
        .words("SELECT DISTINCT category FROM products WHERE category <> '' ORDER BY category LIMIT ")
        .value(i64::try_from(limit).unwrap_or(i64::MAX));
    ask(connection, message).await?.into_iter().map(|mut row| take(&mut row, 0)).collect()
}

pub async fn stock_levels(connection: &mut Conn) -> Result<Vec<StockLevel>> {
    let message = Message::default().words("SELECT id, stock, reserved FROM products ORDER BY id");
    let level = |row: &mut mysql_async::Row| {
        Ok(StockLevel { product: ProductId(take(row, 0)?), stock: take(row, 1)?, reserved: take(row, 2)? })
    };
    ask(connection, message).await?.iter_mut().map(level).collect()
}

pub async fn confirmed_units(connection: &mut Conn, product: ProductId) -> Result<i64> {
    let message = Message::default()
        .words(
            "SELECT CAST(COALESCE(SUM(l.quantity), 0) AS SIGNED) FROM order_lines l \
             JOIN orders o ON o.id = l.order_id WHERE o.status = 'CONFIRMED' AND l.product_id = ",
        )
        .value(product.0);
    let mut rows = ask(connection, message).await?;
    rows.first_mut().map_or(Ok(0), |row| take(row, 0))
}

pub async fn stock_log_sums(connection: &mut Conn) -> Result<Vec<(ProductId, StockLogSum)>> {
    let message = Message::default().words(
        "SELECT product_id, reason IN ('sale', 'cancel') AS by_sale, CAST(SUM(change_amount) AS SIGNED) \
         FROM inventory_logs GROUP BY product_id, by_sale",
    );
    let mut sums: BTreeMap<ProductId, StockLogSum> = BTreeMap::new();
    for mut row in ask(connection, message).await? {
        let row = &mut row;
        let sum = sums.entry(ProductId(take(row, 0)?)).or_default();
        let units: i64 = take(row, 2)?;
        if flag(row, 1)? {
            sum.sold += units;
        } else {
            sum.stocked += units;
        }
    }
    Ok(sums.into_iter().collect())
}

pub async fn stock_log(
    connection: &mut Conn,
    product: ProductId,
    limit: usize,
) -> Result<Vec<StockLogEntry>> {
    let message = Message::default()
        .words("SELECT created_at, change_amount, reason, order_id FROM inventory_logs WHERE product_id = ")
        .value(product.0)
        .words(" AND id > (SELECT MAX(id) FROM inventory_logs) - ")
        .value(STOCK_LOG_REACH)
        .words(" ORDER BY id DESC");
    let entry = |row: &mut mysql_async::Row| {
        Ok(StockLogEntry {
            at: Timestamp(take(row, 0)?),
            delta: take(row, 1)?,
            reason: take(row, 2)?,
            order: optional_order_id(row, 3)?,
        })
    };
    ask(connection, limited(message, limit)).await?.iter_mut().map(entry).collect()
}

/// The rows that the last question of a message has found; the last statement is `COMMIT`.
fn products_of(mut answers: Vec<Answer>) -> Result<Vec<Product>> {
    answers.pop();
    answers.pop().map(|answer| answer.rows).unwrap_or_default().into_iter().map(product).collect()
}

/// Creates all of the products or none.
pub async fn create(
    connection: &mut Conn,
    batch: &[NewProduct],
    at: Timestamp,
) -> Result<std::result::Result<Vec<Product>, ProductError>> {
    if batch.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let skus = || batch.iter().map(|new| &*new.sku);
    let message = Message::begin().words("SELECT sku FROM products WHERE sku IN ").list(skus());
    let mut taken = HashSet::new();
    for mut row in send(connection, message).await?.pop().map(|answer| answer.rows).unwrap_or_default() {
        taken.insert(take::<String>(&mut row, 0)?);
    }
    let mut new_skus = HashSet::new();
    if let Some(sku) = skus().find(|sku| taken.contains(*sku) || !new_skus.insert(*sku)) {
        roll_back(connection).await?;
        return Ok(Err(ProductError::SkuTaken(sku.to_owned())));
    }
    let message = Message::default()
        .words(
            "INSERT INTO products (sku, name, description, category, price_minor, currency, stock, created_at, \
             updated_at)",
        )
        .rows(batch, |row, new| {
            row.add(&*new.sku)
                .add(&*new.name)
                .add(&*new.description)
                .add(&*new.category)
                .add(new.price.minor)
                .add(new.price.currency.as_str())
                .add(new.stock)
                .add(at.0)
                .add(at.0);
        })
        .words(
            ";INSERT INTO inventory_logs (product_id, change_amount, reason, created_at) SELECT id, stock, ",
        )
        .value(StockReason::Opening.as_str())
        .words(", created_at FROM products WHERE stock > 0 AND sku IN ")
        .list(skus())
        .words(";")
        .words(SELECT_PRODUCT)
        .words("WHERE sku IN ")
        .list(skus())
        .words(";COMMIT");
    let mut created: HashMap<String, Product> = products_of(send(connection, message).await?)?
        .into_iter()
        .map(|product| (product.sku.clone(), product))
        .collect();
    let products = skus().map(|sku| created.remove(sku)).collect::<Option<_>>();
    Ok(Ok(products.ok_or_else(|| DbError::Unreadable("a new product is missing".into()))?))
}

/// Changes the columns that are named, and no others: what somebody else changes meanwhile stays.
pub async fn change(
    connection: &mut Conn,
    id: ProductId,
    change: &ProductChange,
    at: Timestamp,
) -> Result<std::result::Result<Product, ProductError>> {
    let mut message =
        Message::begin().words("UPDATE products SET version = version + 1, updated_at = ").value(at.0);
    for (column, value) in [
        (", name = ", &change.name),
        (", description = ", &change.description),
        (", category = ", &change.category),
    ] {
        if let Some(value) = value {
            message = message.words(column).value(&**value);
        }
    }
    if let Some(price) = change.price {
        message = message
            .words(", price_minor = ")
            .value(price.minor)
            .words(", currency = ")
            .value(price.currency.as_str());
    }
    message = message.words(" WHERE id = ").value(id.0);
    if let Some(version) = change.version {
        message = message.words(" AND version = ").value(version);
    }
    let message = message.words(";").words(SELECT_PRODUCT).words("WHERE id = ").value(id.0).words(";COMMIT");
    let answers = send(connection, message).await?;
    let changed = answers.get(1).is_some_and(|answer| answer.affected == 1);
    Ok(match products_of(answers)?.pop() {
        None => Err(ProductError::NotFound),
        Some(product) if !changed => Err(ProductError::VersionConflict { current: product.version }),
        Some(product) => Ok(product),
    })
}

/// Changes the stock, once a key.
pub async fn adjust(
    connection: &mut Conn,
    adjustment: &Adjustment,
) -> Result<std::result::Result<Adjusted, AdjustError>> {
    let (id, delta) = (adjustment.product.0, adjustment.delta);
    let message = Message::begin()
        .words(SELECT_PRODUCT)
        .words("WHERE id = ")
        .value(id)
        .words(";SELECT body_digest FROM stock_adjustments WHERE key_digest = ")
        .value(&adjustment.key);
    let mut answers = send(connection, message).await?;
    let body = answers.pop().and_then(|answer| answer.rows.into_iter().next());
    let body = body.map(|mut row| digest(&mut row, 0)).transpose()?;
    let before = answers.pop().and_then(|answer| answer.rows.into_iter().next()).map(product).transpose()?;
    let refusal = match (before, body) {
        (None, _) => Err(AdjustError::NotFound),
        (Some(product), Some(body)) if body == adjustment.body => Ok(Adjusted { product, repeated: true }),
        (Some(_), Some(_)) => Err(AdjustError::KeyReused),
        (Some(product), None) if product.available().saturating_add(delta) < 0 => {
            Err(AdjustError::TooFew { available: product.available() })
        }
        (Some(product), None) if product.stock.saturating_add(delta) > STOCK_MAX => Err(AdjustError::TooMany),
        (Some(_), None) => {
            // Should a sale take what was available a moment ago, the CHECK constraint refuses, and all of this
            // is done again.
            let message = Message::default()
                .words("INSERT INTO stock_adjustments (key_digest, body_digest, created_at)")
                .rows([()], |row, ()| {
                    row.add(&adjustment.key).add(&adjustment.body).add(adjustment.at.0);
                })
                .words(";INSERT INTO inventory_logs (product_id, change_amount, reason, created_at)")
                .rows([()], |row, ()| {
                    row.add(id).add(delta).add(&*adjustment.reason).add(adjustment.at.0);
                })
                .words(";UPDATE products SET version = version + 1, stock = stock + ")
                .value(delta)
                .words(", updated_at = ")
                .value(adjustment.at.0)
                .words(" WHERE id = ")
                .value(id)
                .words(";")
                .words(SELECT_PRODUCT)
                .words("WHERE id = ")
                .value(id)
                .words(";COMMIT");
            let product = products_of(send(connection, message).await?)?.pop();
            let product = product.ok_or_else(|| DbError::Unreadable("the product is gone".into()))?;
            return Ok(Ok(Adjusted { product, repeated: false }));
        }
    };
    roll_back(connection).await?;
    Ok(refusal)
}
