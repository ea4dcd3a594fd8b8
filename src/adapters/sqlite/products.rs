//! Products, their stock and the log of its changes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use crate::domain::{NewProduct, Product, ProductChange, ProductId, StockLevel, StockReason, Timestamp};
use crate::ports::ledger::{
    AdjustError, Adjusted, Adjustment, ProductError, ProductQuery, STOCK_LOG_REACH, StockLogEntry,
    StockLogSum,
};

use super::rows::{PRODUCT_COLUMNS, count, optional_order_id, product};

/// More units of one product than anybody has; keeps every sum of stock far from overflow.
const STOCK_MAX: i64 = 1_000_000_000_000;

pub fn find(connection: &Connection, id: ProductId) -> rusqlite::Result<Option<Product>> {
    connection
        .prepare_cached(&format!("SELECT {PRODUCT_COLUMNS} FROM products WHERE id = ?"))?
        .query_row([id.0], product)
        .optional()
}

pub fn by_sku(connection: &Connection, skus: &[String]) -> rusqlite::Result<Vec<Product>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {PRODUCT_COLUMNS} FROM products WHERE sku = ?"))?;
    let found = skus.iter().map(|sku| statement.query_row([sku], product).optional());
    found.filter_map(rusqlite::Result::transpose).collect()
}

pub fn list(connection: &Connection, query: &ProductQuery) -> rusqlite::Result<Vec<Product>> {
    let mut sql = format!("SELECT {PRODUCT_COLUMNS} FROM products WHERE id > ?1");
    let mut values: Vec<rusqlite::types::Value> = vec![query.after.map_or(0, |id| id.0).into()];
    if let Some(category) = &query.category {
        values.push(category.clone().into());
        sql.push_str(&format!(" AND category = ?{}", values.len()));
    }
    if let Some(text) = &query.text {
        let escaped: String = text
            .chars()
            .flat_map(|c| ['%', '_', '\\'].contains(&c).then_some('\\').into_iter().chain([c]))
            .collect();
        values.push(format!("%{escaped}%").into());
        let n = values.len();
        sql.push_str(&format!(" AND (name LIKE ?{n} ESCAPE '\\' OR sku LIKE ?{n} ESCAPE '\\')"));
    }
    values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
    sql.push_str(&format!(" ORDER BY id LIMIT ?{}", values.len()));
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), product)?.collect()
}

pub fn categories(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT DISTINCT category FROM products WHERE category <> '' ORDER BY category LIMIT ?",
        )?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect()
}

pub fn stock_levels(connection: &Connection) -> rusqlite::Result<Vec<StockLevel>> {
    connection
        .prepare_cached("SELECT id, stock, reserved FROM products ORDER BY id")?
        .query_map([], |row| {
            Ok(StockLevel { product: ProductId(row.get(0)?), stock: row.get(1)?, reserved: row.get(2)? })
        })?
        .collect()
}

pub fn confirmed_units(connection: &Connection, product: ProductId) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT coalesce(sum(l.quantity), 0) FROM order_lines l JOIN orders o ON o.id = l.order_id \
         WHERE l.product_id = ? AND o.status = 'CONFIRMED'",
        [product.0],
        |row| row.get(0),
    )
}

pub fn stock_log_sums(connection: &Connection) -> rusqlite::Result<Vec<(ProductId, StockLogSum)>> {
    let mut statement = connection.prepare_cached(
        "SELECT product_id, reason IN ('sale', 'cancel'), sum(change_amount) FROM inventory_logs \
         GROUP BY 1, 2",
    )?;
    let mut rows = statement.query([])?;
    let mut sums: BTreeMap<ProductId, StockLogSum> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let sum = sums.entry(ProductId(row.get(0)?)).or_default();
        let units: i64 = row.get(2)?;
        if row.get(1)? {
            sum.sold += units;
        } else {
            sum.stocked += units;
        }
    }
    Ok(sums.into_iter().collect())
}

pub fn stock_log(
    connection: &Connection,
    product: ProductId,
    limit: usize,
) -> rusqlite::Result<Vec<StockLogEntry>> {
    connection
        .prepare_cached(
            "SELECT created_at, change_amount, reason, order_id FROM inventory_logs \
             WHERE product_id = ? AND id > (SELECT max(id) FROM inventory_logs) - ? ORDER BY id DESC LIMIT ?",
        )?
        .query_map(params![product.0, STOCK_LOG_REACH, count(limit)], |row| {
            Ok(StockLogEntry {
                at: Timestamp(row.get(0)?),
                delta: row.get(1)?,
                reason: row.get(2)?,
                order: optional_order_id(row, 3)?,
            })
        })?
        .collect()
}

/// Runs inside the writer's transaction. `Err` inside means that the batch must be rolled back.
pub fn create(
    connection: &Connection,
    batch: &[NewProduct],
    at: Timestamp,
) -> rusqlite::Result<Result<Vec<Product>, ProductError>> {
    // All or none: look before writing.
    let mut find = connection.prepare_cached("SELECT 1 FROM products WHERE sku = ?")?;
    let mut new_skus = std::collections::HashSet::new();
    for new in batch {
        if find.exists([&new.sku])? || !new_skus.insert(&new.sku) {
            return Ok(Err(ProductError::SkuTaken(new.sku.clone())));
        }
    }
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO products (sku, name, description, category, price_minor, currency, stock, created_at, \
         updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) RETURNING {PRODUCT_COLUMNS}"
    ))?;
    let mut products = Vec::with_capacity(batch.len());
    for new in batch {
        let created = insert.query_row(
            params![
                new.sku,
                new.name,
                new.description,
                new.category,
                new.price.minor,
                new.price.currency.as_str(),
                new.stock,
                at.0
            ],
            product,
        )?;
        if new.stock > 0 {
            log(connection, created.id, new.stock, &StockReason::Opening, at)?;
        }
        products.push(created);
    }
    Ok(Ok(products))
}

/// Runs inside the writer's transaction.
pub fn change(
    connection: &Connection,
    id: ProductId,
    change: &ProductChange,
    at: Timestamp,
) -> rusqlite::Result<Result<Product, ProductError>> {
    let Some(before) = find(connection, id)? else {
        return Ok(Err(ProductError::NotFound));
    };
    if change.version.is_some_and(|version| version != before.version) {
        return Ok(Err(ProductError::VersionConflict { current: before.version }));
    }
    let price = change.price.unwrap_or(before.price);
    let changed = connection
        .prepare_cached(&format!(
            "UPDATE products SET name = ?, description = ?, category = ?, price_minor = ?, currency = ?, \
             version = version + 1, updated_at = ? WHERE id = ? RETURNING {PRODUCT_COLUMNS}"
        ))?
        .query_row(
            params![
                change.name.as_ref().unwrap_or(&before.name),
                change.description.as_ref().unwrap_or(&before.description),
                change.category.as_ref().unwrap_or(&before.category),
                price.minor,
                price.currency.as_str(),
                at.0,
                id.0
            ],
            product,
        )?;
    Ok(Ok(changed))
}

/// Runs inside the writer's transaction.
pub fn adjust(
    connection: &Connection,
    adjustment: &Adjustment,
) -> rusqlite::Result<Result<Adjusted, AdjustError>> {
    let Some(before) = find(connection, adjustment.product)? else {
        return Ok(Err(AdjustError::NotFound));
    };
    let body: Option<[u8; 16]> = connection
        .prepare_cached("SELECT body_digest FROM stock_adjustments WHERE key_digest = ?")?
        .query_row([adjustment.key.0], |row| row.get(0))
        .optional()?;
    match body {
        Some(body) if body == adjustment.body.0 => {
            return Ok(Ok(Adjusted { product: before, repeated: true }));
        }
        Some(_) => return Ok(Err(AdjustError::KeyReused)),
        None => {}
    }
    if before.available().saturating_add(adjustment.delta) < 0 {
        return Ok(Err(AdjustError::TooFew { available: before.available() }));
    }
    if before.stock.saturating_add(adjustment.delta) > STOCK_MAX {
        return Ok(Err(AdjustError::TooMany));
    }
    let product = connection
        .prepare_cached(&format!(
            "UPDATE products SET stock = stock + ?, version = version + 1, updated_at = ? WHERE id = ? \
             RETURNING {PRODUCT_COLUMNS}"
        ))?
        .query_row(params![adjustment.delta, adjustment.at.0, adjustment.product.0], product)?;
    let reason = StockReason::Adjustment(adjustment.reason.clone());
    log(connection, adjustment.product, adjustment.delta, &reason, adjustment.at)?;
    connection
        .prepare_cached(
            "INSERT INTO stock_adjustments (key_digest, body_digest, created_at) VALUES (?, ?, ?)",
        )?
        .execute(params![adjustment.key.0, adjustment.body.0, adjustment.at.0])?;
    Ok(Ok(Adjusted { product, repeated: false }))
}

fn log(
    connection: &Connection,
    id: ProductId,
    change: i64,
    reason: &StockReason,
    at: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO inventory_logs (product_id, change_amount, reason, created_at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![id.0, change, reason.as_str(), at.0])?;
    Ok(())
}
