//! Finds the orders of a customer.
//!
//! An index by customer takes a page of its own for almost every order of a sale, because the next
//! buyer is hardly ever the last one's neighbour. So new entries wait in memory, in order of customer,
//! and are written in slices of neighbours: many entries a page. The ledger remembers up to which
//! order the written index is complete; a start adds what came after it from the orders themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use crate::domain::{Digest, OrderId, UserId};

use super::rows::{blob, digest, order_id};

/// Entries that wait. More of them mean fewer pages for each, and a longer start after a crash.
const WAITING_MAX: usize = 65_536;

/// Entries written in one go.
const SLICE: usize = 1_024;

type Entry = (UserId, OrderId);

/// The index: what is written, and what waits.
pub struct CustomerIndex(Mutex<Waiting>);

struct Waiting {
    /// With the digest of the key of each order. Some may be of orders whose commit failed: who
    /// looks an entry up asks for the order next, and finds none.
    entries: BTreeMap<Entry, Digest>,
    /// Where the next slice begins.
    cursor: Entry,
    /// Written in a commit that is not known to have succeeded yet.
    slice: Vec<Entry>,
    /// The written index is complete up to this order, or will be if that commit succeeds. Orders
    /// up to here that come late are written at once.
    complete_until: OrderId,
}

/// An order under a key, with the digest of its body.
type Found = (OrderId, Digest);

impl CustomerIndex {
    /// Completes the written index from the orders.
    pub fn open(connection: &Connection) -> rusqlite::Result<Self> {
        let stored = "SELECT complete_until FROM customer_index_progress";
        let before = connection.query_row(stored, [], |row| order_id(row, 0)).optional()?;
        let last = "SELECT id FROM orders ORDER BY id DESC LIMIT 1";
        let last = connection.query_row(last, [], |row| order_id(row, 0)).optional()?;
        let nil = OrderId(Uuid::nil());
        let (before, complete_until) = (before.unwrap_or(nil), last.unwrap_or(nil));
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute(
            "INSERT OR IGNORE INTO orders_by_customer (user_id, order_id, key_digest) \
             SELECT user_id, id, key_digest FROM orders WHERE id > ?",
            [blob(before)],
        )?;
        set_progress(connection, complete_until)?;
        connection.execute_batch("COMMIT")?;
        let cursor = (UserId(i64::MIN), nil);
        let waiting = Waiting { entries: BTreeMap::new(), cursor, slice: Vec::new(), complete_until };
        Ok(Self(Mutex::new(waiting)))
    }

    /// Adds an order that this transaction creates.
    pub fn insert(
        &self,
        connection: &Connection,
        user: UserId,
        order: OrderId,
        key: Digest,
    ) -> rusqlite::Result<()> {
        let mut waiting = self.waiting();
        if order <= waiting.complete_until {
            return write(connection, (user, order), key);
        }
        waiting.entries.insert((user, order), key);
        Ok(())
    }

    /// Writes a slice in this transaction when enough waits for it.
    pub fn write_slice(&self, connection: &Connection) -> rusqlite::Result<()> {
        let waiting = &mut *self.waiting();
        if waiting.entries.len() < WAITING_MAX + SLICE {
            return Ok(());
        }
        waiting.settle_slice(connection)?;
        let next = waiting.entries.range(waiting.cursor..).chain(waiting.entries.range(..waiting.cursor));
        waiting.slice = next.take(SLICE).map(|(entry, _)| *entry).collect();
        for entry in &waiting.slice {
            write(connection, *entry, waiting.entries[entry])?;
        }
        let last = waiting.slice.last().copied().unwrap_or(waiting.cursor);
        let round = std::mem::replace(&mut waiting.cursor, last) > last;
        if !round {
            return Ok(());
        }
        // Once a round, because it looks at all that waits.
        let written: BTreeSet<&Entry> = waiting.slice.iter().collect();
        let remaining = waiting.entries.keys().filter(|entry| !written.contains(entry));
        if let Some(oldest) = remaining.map(|(_, order)| *order).min() {
            waiting.complete_until = OrderId(Uuid::from_u128(oldest.0.as_u128() - 1));
        }
        set_progress(connection, waiting.complete_until)
    }

    /// Up to `limit` orders of a customer before `before`, newest first. The order itself may not be
    /// there, or not yet.
    pub fn orders_of(
        &self,
        connection: &Connection,
        user: UserId,
        before: OrderId,
        limit: usize,
    ) -> rusqlite::Result<Vec<OrderId>> {
        // First what waits: an entry leaves it only after it is written.
        let mut ids: BTreeSet<OrderId> =
            self.waiting_of(user).into_iter().map(|(id, _)| id).filter(|id| *id < before).collect();
        let mut statement = connection.prepare_cached(
            "SELECT order_id FROM orders_by_customer WHERE user_id = ? AND order_id < ? \
             ORDER BY order_id DESC LIMIT ?",
        )?;
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        let written =
            statement.query_map(params![user.0, blob(before), limit_sql], |row| order_id(row, 0))?;
        ids.extend(written.collect::<rusqlite::Result<Vec<_>>>()?);
        Ok(ids.into_iter().rev().take(limit).collect())
    }

    /// The customer's order under a key, not older than `since`.
    pub fn find_by_key(
        &self,
        connection: &Connection,
        user: UserId,
        key: Digest,
        since: OrderId,
    ) -> rusqlite::Result<Option<Found>> {
        let wanted = |(id, waiting_key): &(OrderId, Digest)| *id >= since && *waiting_key == key;
        for (id, _) in self.waiting_of(user).into_iter().rev().filter(wanted) {
            if let Some(found) = body_of(connection, id)? {
                return Ok(Some(found));
            }
        }
        let mut statement = connection.prepare_cached(
            "SELECT order_id FROM orders_by_customer WHERE user_id = ? AND order_id >= ? AND key_digest = ? \
             ORDER BY order_id DESC",
        )?;
        let mut rows = statement.query(params![user.0, blob(since), key.0])?;
        while let Some(row) = rows.next()? {
            if let Some(found) = body_of(connection, order_id(row, 0)?)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn waiting_of(&self, user: UserId) -> Vec<(OrderId, Digest)> {
        let (first, last) = (OrderId(Uuid::nil()), OrderId(Uuid::max()));
        let waiting = self.waiting();
        let of_user = waiting.entries.range((user, first)..=(user, last));
        of_user.map(|((_, id), key)| (*id, *key)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Lets go of the last slice if its commit succeeded; otherwise it waits on.
    fn settle_slice(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let slice = std::mem::take(&mut self.slice);
        let Some((user, order)) = slice.first() else { return Ok(()) };
        let written = connection
            .prepare_cached("SELECT 1 FROM orders_by_customer WHERE user_id = ? AND order_id = ?")?
            .exists(params![user.0, blob(*order)])?;
        if written {
            for entry in &slice {
                self.entries.remove(entry);
            }
        }
        Ok(())
    }
}

fn write(connection: &Connection, (user, order): Entry, key: Digest) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO orders_by_customer (user_id, order_id, key_digest) VALUES (?, ?, ?)",
        )?
        .execute(params![user.0, blob(order), key.0])?;
    Ok(())
}

fn set_progress(connection: &Connection, complete_until: OrderId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO customer_index_progress (id, complete_until) VALUES (1, ?1) \
             ON CONFLICT DO UPDATE SET complete_until = ?1",
        )?
        .execute([blob(complete_until)])?;
    Ok(())
}

fn body_of(connection: &Connection, id: OrderId) -> rusqlite::Result<Option<Found>> {
    connection
        .prepare_cached("SELECT body_digest FROM orders WHERE id = ?")?
        .query_row([blob(id)], |row| Ok((id, digest(row, 0)?)))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = include_str!("../../../migrations/sqlite/0001_shop.sql");

    fn id(n: u128) -> OrderId {
        OrderId(Uuid::from_u128(n))
    }

    fn key(n: u128) -> Digest {
        Digest::of(&[&n.to_le_bytes()])
    }

    fn user(n: u128) -> UserId {
        UserId(i64::try_from(n * 7_919 % 1_000).expect("small"))
    }

    fn shop() -> Connection {
        let connection = Connection::open_in_memory().expect("a store");
        connection.execute_batch(TABLES).expect("tables");
        connection
    }

    fn order(connection: &Connection, index: &CustomerIndex, n: u128) {
        let sql = "INSERT INTO orders (id, user_id, status, total_minor, currency, key_digest, body_digest, \
                   event_count, created_at, updated_at) VALUES (?, ?, 'PENDING', 0, 'EUR', ?, ?, 3, 0, 0)";
        let values = params![blob(id(n)), user(n).0, key(n).0, key(n).0];
        connection.execute(sql, values).expect("inserted");
        index.insert(connection, user(n), id(n), key(n)).expect("indexed");
    }

    fn all_found(connection: &Connection, index: &CustomerIndex, orders: std::ops::Range<u128>) {
        for n in orders {
            let found = index.find_by_key(connection, user(n), key(n), id(0)).expect("asked");
            assert_eq!(found, Some((id(n), key(n))), "order {n}");
        }
    }

    const MANY: u128 = (WAITING_MAX + 5 * SLICE) as u128;

    #[test]
    fn every_order_is_found_while_slices_are_written_and_after_a_crash() {
        let connection = shop();
        let index = CustomerIndex::open(&connection).expect("opened");
        connection.execute_batch("BEGIN").expect("begun");
        for n in 1..MANY {
            order(&connection, &index, n);
            if n % 100 == 0 {
                index.write_slice(&connection).expect("written");
            }
        }
        connection.execute_batch("COMMIT").expect("committed");
        all_found(&connection, &index, 1..MANY);
        assert!(index.waiting().entries.len() < WAITING_MAX + 2 * SLICE);
        let newest = index.orders_of(&connection, user(5), id(u128::MAX), 3).expect("listed");
        let expected: Vec<_> = (1..MANY).rev().filter(|n| user(*n) == user(5)).take(3).map(id).collect();
        assert_eq!(newest, expected);

        // The process dies: what waited is gone from memory.
        let index = CustomerIndex::open(&connection).expect("opened again");
        assert!(index.waiting().entries.is_empty());
        all_found(&connection, &index, 1..MANY);
    }

    #[test]
    fn a_slice_whose_commit_fails_is_written_again() {
        let connection = shop();
        let index = CustomerIndex::open(&connection).expect("opened");
        connection.execute_batch("BEGIN").expect("begun");
        (1..MANY).for_each(|n| order(&connection, &index, n));
        connection.execute_batch("COMMIT; BEGIN").expect("committed");
        index.write_slice(&connection).expect("written");
        connection.execute_batch("ROLLBACK").expect("rolled back");
        all_found(&connection, &index, 1..MANY);
        for _ in 0..10 {
            index.write_slice(&connection).expect("written");
        }
        all_found(&connection, &index, 1..MANY);
        let index = CustomerIndex::open(&connection).expect("opened again");
        all_found(&connection, &index, 1..MANY);
    }

    #[test]
    fn an_order_that_comes_late_is_found_after_a_crash() {
        let connection = shop();
        let index = CustomerIndex::open(&connection).expect("opened");
        connection.execute_batch("BEGIN").expect("begun");
        (1_000..MANY + 1_000).for_each(|n| order(&connection, &index, n));
        let mut next = 10 * MANY;
        while index.waiting().complete_until < id(1_000) {
            index.write_slice(&connection).expect("written");
            (next..next + SLICE as u128).for_each(|n| order(&connection, &index, n));
            next += SLICE as u128;
        }
        order(&connection, &index, 999);
        connection.execute_batch("COMMIT").expect("committed");
        let index = CustomerIndex::open(&connection).expect("opened again");
        all_found(&connection, &index, 999..1_100);
    }
}
