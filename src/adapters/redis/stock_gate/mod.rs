//! The stock gate of several servers, in a Redis Cluster: one Lua script call a product and batch.
//!
//! A product's keys live on one node, and what a script does there is done at once. A hold of several
//! products is put together from its lines, see [`reserve`]. Who has lost what Redis said finds out by
//! asking again: every script may run twice.

mod keys;
mod packed;
mod parts;
mod reserve;
mod silent;
mod touched;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::FromRedisValue;

use crate::domain::{
    BasketLine, Driver, Hold, OrderId, ProductId, Shelf, StockChange, StockLevel, Timestamp,
};
use crate::ports::Unavailable;
use crate::ports::stock_gate::{HoldError, Inspection, StockGate};

use super::connection::{RedisCluster, Script};
use keys::Keys;
use packed::{pack, unpack};
use parts::{Part, parts_of, some_at_a_time};
use silent::Silent;
use touched::Touched;

/// How long the end of a hold, and a change of stock, is remembered: many times what a message that is
/// late can be late by.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Stock and holds of all servers.
pub struct RedisStockGate {
    cluster: Arc<RedisCluster>,
    keys: Keys,
    scripts: Scripts,
    touched: Touched,
    silent: Silent,
    troubles: AtomicU64,
}

struct Scripts {
    reserve: Script,
    ordered: Script,
    end: Script,
    load: Script,
    adjust: Script,
    look: Script,
    inspect: Script,
    correct: Script,
}

/// A script with what all of them share.
macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("product.lua"), "\n", include_str!($file)))
    };
}

/// How holds end.
#[derive(Clone, Copy)]
enum Ending {
    Sold,
    Released,
    /// By the call that took them, which leaves nothing behind.
    Undone,
}

/// The totals of a product.
struct Look {
    level: StockLevel,
    unordered: i64,
}

impl RedisStockGate {
    /// A gate under keys that begin with `prefix`, which is empty but in tests. Nothing is connected yet.
    pub fn new(cluster: Arc<RedisCluster>, prefix: &str) -> Self {
        let scripts = Scripts {
            reserve: script!("reserve.lua"),
            ordered: script!("ordered.lua"),
            end: script!("end.lua"),
            load: script!("load.lua"),
            adjust: script!("adjust.lua"),
            look: script!("look.lua"),
            inspect: script!("inspect.lua"),
            correct: script!("correct.lua"),
        };
        let (touched, silent, troubles) = (Touched::default(), Silent::default(), AtomicU64::new(0));
        Self { cluster, keys: Keys::new(prefix), scripts, touched, silent, troubles }
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, Unavailable> {
        self.counted(self.cluster.run(script, keys, arguments).await)
    }

    fn counted<T>(&self, answer: Result<T, Unavailable>) -> Result<T, Unavailable> {
        if answer.is_err() {
            self.troubles.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Ends the parts' holds, where saga and driver are the same.
    async fn end<'a>(
        &self,
        parts: Vec<Part<'a>>,
        ending: Ending,
    ) -> Vec<(Part<'a>, Result<String, Unavailable>)> {
        let how = match ending {
            Ending::Sold => "sold",
            Ending::Released => "released",
            Ending::Undone => "undone",
        };
        let head = [how.to_owned(), REMEMBERED.as_millis().to_string()];
        let arguments = |part: &Part<'a>, arguments: &mut Vec<String>| {
            let Driver { instance, epoch } = part.hold.driver;
            let key = format!("{:?}", part.hold.key);
            arguments.extend([key, part.saga.to_string(), instance.0.to_string(), epoch.to_string()]);
        };
        self.each_part(&self.scripts.end, &head, parts, arguments).await
    }

    async fn look(&self, product: ProductId) -> Result<Option<Look>, Unavailable> {
        self.silent.check(product)?;
        let found: Option<(i64, i64, i64)> =
            self.run(&self.scripts.look, &self.keys.product(product, 0), &[]).await?;
        Ok(found.map(|(stock, reserved, unordered)| Look {
            level: StockLevel { product, stock, reserved },
            unordered,
        }))
    }

    async fn load_one(&self, shelf: &Shelf) -> Result<(), Unavailable> {
        let product = shelf.level.product;
        let mut keys = self.keys.product(product, shelf.pending.len());
        let mut arguments = vec![shelf.level.stock.to_string(), shelf.version.to_string()];
        for hold in &shelf.pending {
            let Some(line) = hold.lines.iter().find(|line| line.product_id == product) else { continue };
            keys.push(self.keys.ended(product, hold.key));
            arguments.extend([format!("{:?}", hold.key), pack(hold, hold.saga, line.quantity, true)]);
        }
        self.run::<()>(&self.scripts.load, &keys, &arguments).await?;
        self.silent.forget(product);
        Ok(())
    }

    async fn adjust_one(&self, product: ProductId, changes: &[StockChange]) -> Result<(), Unavailable> {
        let mut keys = self.keys.product(product, changes.len());
        let mut arguments = vec![REMEMBERED.as_millis().to_string()];
        for change in changes {
            keys.push(self.keys.adjusted(product, change.version));
            arguments.extend([change.delta.to_string(), change.version.to_string()]);
        }
        self.run(&self.scripts.adjust, &keys, &arguments).await
    }

    /// The open holds of one product that have no order and whose deadline lies before `now`.
    async fn overdue_of(&self, product: ProductId, now: Timestamp) -> Result<Vec<Hold>, Unavailable> {
        let mut unordered = redis::cmd("HGET");
        unordered.arg(self.keys.gate(product)).arg("unordered");
        let unordered: Option<i64> = self.counted(self.cluster.query(&unordered).await)?;
        if unordered.is_none_or(|units| units == 0) {
            self.touched.forget(product);
            return Ok(Vec::new());
        }
        let mut all = redis::cmd("HGETALL");
        all.arg(self.keys.holds(product));
        let all: Vec<(String, String)> = self.counted(self.cluster.query(&all).await)?;
        let holds = all.iter().filter_map(|(key, text)| unpack(product, key, text));
        Ok(holds.filter(|(hold, ordered)| !ordered && hold.deadline < now).map(|(hold, _)| hold).collect())
    }
}

/// The first error among answers.
fn all_answered<'a, T>(
    answers: impl IntoIterator<Item = &'a Result<T, Unavailable>>,
) -> Result<(), Unavailable>
where
    T: 'a,
{
    answers.into_iter().find_map(|answer| answer.as_ref().err()).map_or(Ok(()), |error| Err(error.clone()))
}

#[async_trait]
impl StockGate for RedisStockGate {
    async fn reserve(&self, batch: &[Hold]) -> Vec<Result<OrderId, HoldError>> {
        self.touched.note(batch.iter().flat_map(|hold| hold.lines.iter()).map(|line| line.product_id));
        self.reserve_batch(batch).await
    }

    async fn ordered(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let arguments = |part: &Part<'_>, arguments: &mut Vec<String>| {
            let packed = pack(part.hold, part.saga, part.line.quantity, true);
            arguments.extend([format!("{:?}", part.hold.key), packed]);
        };
        let answers = self.each_part(&self.scripts.ordered, &[], parts_of(batch), arguments).await;
        all_answered(answers.iter().map(|(_, answer)| answer))
    }

    async fn confirm(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let answers = self.end(parts_of(batch), Ending::Sold).await;
        all_answered(answers.iter().map(|(_, answer)| answer))
    }

    async fn release(&self, batch: &[Hold]) -> Result<(), Unavailable> {
        let (homes, others): (Vec<_>, Vec<_>) =
            parts_of(batch).into_iter().partition(|part| part.place.1 == 0);
        let others = self.end(others, Ending::Released).await;
        // As long as home is held, a retry finds the saga whose lines are still there.
        let left: HashSet<usize> =
            others.iter().filter(|(_, answer)| answer.is_err()).map(|(part, _)| part.place.0).collect();
        let homes = homes.into_iter().filter(|part| !left.contains(&part.place.0)).collect();
        let homes = self.end(homes, Ending::Released).await;
        all_answered(others.iter().chain(&homes).map(|(_, answer)| answer))
    }

    async fn load(&self, shelves: &[Shelf]) -> Result<(), Unavailable> {
        all_answered(&some_at_a_time(shelves.iter().map(|shelf| self.load_one(shelf))).await)
    }

    async fn adjust(&self, changes: &[StockChange]) -> Result<(), Unavailable> {
        let mut products: BTreeMap<ProductId, Vec<StockChange>> = BTreeMap::new();
        for change in changes {
            products.entry(change.product).or_default().push(*change);
        }
        let calls = products.iter().map(|(product, changes)| self.adjust_one(*product, changes));
        all_answered(&some_at_a_time(calls).await)
    }

    async fn levels(&self, products: &[ProductId]) -> Result<Vec<Option<StockLevel>>, Unavailable> {
        let looks = some_at_a_time(products.iter().map(|product| self.look(*product))).await;
        looks.into_iter().map(|look| Ok(look?.map(|look| look.level))).collect()
    }

    async fn overdue(&self, now: Timestamp) -> Result<Vec<Hold>, Unavailable> {
        let products = self.touched.all();
        let calls = products.iter().map(|product| self.overdue_of(*product, now));
        let answers = some_at_a_time(calls).await;
        let answered = all_answered(&answers);
        // The lines of one hold are given back together, home last.
        let mut holds: HashMap<(OrderId, Driver), (Hold, Vec<BasketLine>)> = HashMap::new();
        for part in answers.into_iter().flatten().flatten() {
            let lines = Arc::clone(&part.lines);
            let hold = holds.entry((part.saga, part.driver)).or_insert_with(|| (part, Vec::new()));
            hold.1.extend(lines.iter());
        }
        if holds.is_empty() {
            answered?;
        }
        // A node that is away does not keep the others' units back.
        let whole = holds.into_values().map(|(hold, mut lines)| {
            lines.sort_by_key(|line| line.product_id);
            Hold { lines: lines.into(), ..hold }
        });
        Ok(whole.collect())
    }

    fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    fn is_down(&self) -> bool {
        self.cluster.is_down()
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.cluster.check().await
    }

    async fn inspect(&self, product: ProductId) -> Result<Option<Inspection>, Unavailable> {
        type Found = (i64, i64, u64, Vec<(String, String)>);
        let found: Option<Found> =
            self.run(&self.scripts.inspect, &self.keys.product(product, 0), &[]).await?;
        let Some((stock, reserved, changes, holds)) = found else { return Ok(None) };
        let level = StockLevel { product, stock, reserved };
        let holds = holds.iter().filter_map(|(key, text)| unpack(product, key, text)).collect();
        Ok(Some(Inspection { level, changes, holds }))
    }

    async fn correct(
        &self,
        product: ProductId,
        stock: i64,
        version: i64,
        changes: u64,
    ) -> Result<bool, Unavailable> {
        let arguments = [stock.to_string(), version.to_string(), changes.to_string()];
        self.run(&self.scripts.correct, &self.keys.product(product, 0), &arguments).await
    }
}
