//! The books of a shop, read from its files without any of the code that wrote them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use uuid::Uuid;

use crate::support::process::Site;

/// An order in the ledger.
#[derive(Debug)]
pub struct Entry {
    pub user: i64,
    pub status: String,
    pub total: i64,
    /// Units by product.
    pub lines: BTreeMap<i64, i64>,
}

/// What ledger and gateway say when nobody is at work on them.
pub struct Books {
    pub orders: HashMap<Uuid, Entry>,
    /// State and amount of what was charged for an order.
    pub charges: HashMap<Uuid, (String, i64)>,
    /// Sku, stock and reserved units by product.
    pub products: BTreeMap<i64, (String, i64, i64)>,
    pub unfinished_sagas: i64,
    pub keys_used_twice: i64,
}

/// Opens a store file for looking only.
pub fn look_into(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store can be read")
}

/// Reads a whole result.
pub fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = connection.prepare(sql).expect("the query fits the store");
    let rows = statement.query_map([], read).expect("the store answers");
    rows.collect::<rusqlite::Result<_>>().expect("rows of this kind")
}

fn id(row: &Row<'_>) -> rusqlite::Result<Uuid> {
    row.get(0).map(Uuid::from_bytes)
}

impl Books {
    pub fn of(site: &Site) -> Self {
        let ledger = look_into(&site.ledger());
        let count = |sql| ledger.query_row(sql, [], |row| row.get(0)).expect("the store answers");
        let orders = rows(&ledger, "SELECT id, user_id, status, total_minor FROM orders", |row| {
            let lines = BTreeMap::new();
            Ok((id(row)?, Entry { user: row.get(1)?, status: row.get(2)?, total: row.get(3)?, lines }))
        });
        let mut orders: HashMap<Uuid, Entry> = orders.into_iter().collect();
        let lines = rows(&ledger, "SELECT order_id, product_id, quantity FROM order_lines", |row| {
            Ok((id(row)?, row.get(1)?, row.get(2)?))
        });
        for (order, product, quantity) in lines {
            orders.get_mut(&order).expect("a line belongs to an order").lines.insert(product, quantity);
        }
        let gateway = look_into(&site.gateway());
        let charges = rows(&gateway, "SELECT order_id, state, amount FROM charges", |row| {
            Ok((id(row)?, (row.get(1)?, row.get(2)?)))
        });
        let products = rows(&ledger, "SELECT id, sku, stock, reserved FROM products", |row| {
            Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)))
        });
        Self {
            orders,
            charges: charges.into_iter().collect(),
            products: products.into_iter().collect(),
            unfinished_sagas: count("SELECT count(*) FROM saga_states WHERE tombstone = 0"),
            keys_used_twice: count(
                "SELECT count(*) FROM (SELECT 1 FROM orders GROUP BY user_id, key_digest HAVING count(*) > 1)",
            ),
        }
    }

    /// Nothing is on its way, nobody paid for nothing, nobody got something for nothing, and every
    /// unit is somewhere. `stocked` says how many units of each sku there ever were.
    pub fn assert_balanced(&self, stocked: &BTreeMap<String, i64>) {
        assert_eq!(self.unfinished_sagas, 0, "sagas that nobody finished");
        assert_eq!(self.keys_used_twice, 0, "keys that made two orders");

        let mut sold: BTreeMap<i64, i64> = BTreeMap::new();
        for (id, order) in &self.orders {
            let charge = self.charges.get(id).map(|(state, amount)| (state.as_str(), *amount));
            match order.status.as_str() {
                "CONFIRMED" if order.total > 0 => {
                    assert_eq!(charge, Some(("captured", order.total)), "order {id}: {order:?}");
                }
                "CONFIRMED" => assert_eq!(charge, None, "order {id} was free: {order:?}"),
                "FAILED" | "CANCELLED" => assert!(
                    charge.is_none_or(|(state, _)| state != "captured"),
                    "order {id} came to nothing and was paid: {order:?}"
                ),
                other => panic!("order {id} is {other}: {order:?}"),
            }
            if order.status == "CONFIRMED" {
                for (product, quantity) in &order.lines {
                    *sold.entry(*product).or_default() += quantity;
                }
            }
        }
        for (id, charge) in &self.charges {
            let has_order = self.orders.contains_key(id);
            assert!(has_order || charge.0 != "captured", "{charge:?} was paid for {id}, which is no order");
        }

        assert_eq!(self.products.len(), stocked.len(), "products");
        for (id, (sku, stock, reserved)) in &self.products {
            let sold = sold.get(id).copied().unwrap_or_default();
            assert_eq!(*reserved, 0, "units of {sku} are held for nobody");
            assert_eq!(stock + sold, stocked[sku], "units of {sku} on hand and sold");
        }
    }

    /// How many orders each customer has.
    pub fn orders_by_customer(&self) -> BTreeMap<i64, usize> {
        let mut counts = BTreeMap::new();
        for order in self.orders.values() {
            *counts.entry(order.user).or_default() += 1;
        }
        counts
    }
}
