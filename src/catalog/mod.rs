//! The read path of products.
//!
//! A view is kept in this process and, where there are several servers, in a cache that they share; both
//! forget it at the same moment, a few seconds after its figures were read. However many ask at once, what
//! has to be loaded is loaded once; that a product does not exist is remembered like everything else.
//! Views are kept for minutes beyond that. When the stores do not answer, or not soon, the older view is shown with
//! the time of its figures, and the newer one as soon as it is there: what is shown never waits for a store that is
//! away.
//! With the gate in this process the stock is not kept at all: it is looked up for every view.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use moka::Expiry;
use moka::future::Cache;

use crate::domain::{Money, Product, ProductId, StockLevel, Timestamp};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::{Ledger, ProductQuery};
use crate::ports::live::{LiveUpdates, Update};
use crate::ports::stock_gate::StockGate;
use crate::ports::view_cache::{View, ViewCache};

/// How long figures may be shown after they were read.
const SHOWN_FOR: Duration = Duration::from_secs(5);

/// How long a view is kept in case that no newer one can be had.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// How long somebody waits for the stores while there is an older view, and while there is none.
const LATE_AFTER: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long nobody waits for a product that was late.
const LATE_FOR: Duration = Duration::from_millis(250);

/// How long a view waits for the gate and for the shared cache, which it can do without.
const BRIEFLY: Duration = Duration::from_millis(100);

/// Categories that are shown to choose from, and for how long a list of them is shown.
const CATEGORIES_MAX: usize = 50;
const CATEGORIES_SHOWN_FOR: Duration = Duration::from_secs(60);

/// Views kept in this process, those of ids that do not exist included.
const ENTRIES_MAX: u64 = 100_000;

/// Products looked at side by side when they are shown anew.
const REFRESHED_AT_ONCE: usize = 16;

/// Products as customers see them.
#[derive(Clone)]
pub struct Catalog {
    ledger: Arc<dyn Ledger>,
    gate: Arc<dyn StockGate>,
    clock: Arc<dyn Clock>,
    views: Cache<ProductId, Arc<View>>,
    /// The last view of each product that exists, however old.
    older: Cache<ProductId, Arc<View>>,
    late: Late,
    categories: Cache<(), Arc<Vec<String>>>,
    shared: Option<SharedViews>,
}

/// What several servers have in common of their views.
#[derive(Clone)]
pub struct SharedViews {
    pub cache: Arc<dyn ViewCache>,
    pub live: Arc<dyn LiveUpdates>,
}

/// A product as customers see it, without its stock.
#[derive(serde::Serialize)]
struct Description<'a> {
    id: ProductId,
    sku: &'a str,
    name: &'a str,
    description: &'a str,
    category: &'a str,
    price: Money,
}

/// What changes rarely about a product, as the beginning of its JSON object.
fn json_head(product: &Product) -> String {
    let description = Description {
        id: product.id,
        sku: &product.sku,
        name: &product.name,
        description: &product.description,
        category: &product.category,
        price: product.price,
    };
    let mut head = serde_json::to_string(&description).expect("a product is plain data");
    head.pop();
    head
}

fn with_stock(json_head: &str, available: i64, as_of: Timestamp) -> String {
    format!(r#"{json_head},"available":{available},"as_of":"{as_of}"}}"#)
}

/// A view lives until its figures are too old, in whichever layer they were found.
struct AsLongAsShown(Arc<dyn Clock>);

impl Expiry<ProductId, Arc<View>> for AsLongAsShown {
    fn expire_after_create(&self, _: &ProductId, view: &Arc<View>, _: Instant) -> Option<Duration> {
        Some(remaining(view, self.0.now()))
    }

    fn expire_after_update(
        &self,
        id: &ProductId,
        view: &Arc<View>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(id, view, at)
    }
}

fn remaining(view: &View, now: Timestamp) -> Duration {
    let until = view.as_of.plus(SHOWN_FOR);
    // A clock that is ahead of ours does not prolong it.
    Duration::from_millis(u64::try_from(until.0 - now.0).unwrap_or_default()).min(SHOWN_FOR)
}

/// Products whose views were late, and until when nobody waits for them.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<HashMap<ProductId, tokio::time::Instant>>>);

impl Late {
    fn note(&self, id: ProductId) {
        let mut late = self.late();
        if late.len() as u64 >= ENTRIES_MAX {
            late.clear();
        }
        late.insert(id, tokio::time::Instant::now() + LATE_FOR);
    }

    fn forget(&self, id: ProductId) {
        self.late().remove(&id);
    }

    fn is(&self, id: ProductId) -> bool {
        self.late().get(&id).is_some_and(|until| tokio::time::Instant::now() < *until)
    }

    fn late(&self) -> MutexGuard<'_, HashMap<ProductId, tokio::time::Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a store answers, if it does so soon.
async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, Unavailable>>,
) -> Result<T, Unavailable> {
    let late = || Unavailable(format!("no answer within {} ms", patience.as_millis()));
    tokio::time::timeout(patience, call).await.unwrap_or_else(|_| Err(late()))
}

/// Units that can be had, never negative.
fn available(level: StockLevel) -> i64 {
    (level.stock - level.reserved).max(0)
}

/// Counts what each layer of the cache was asked.
fn count(layer: &'static str, hit: bool) {
    let result = if hit { "hit" } else { "miss" };
    metrics::counter!("holdfast_cache_requests_total", "layer" => layer, "result" => result).increment(1);
}

impl Catalog {
    /// A catalogue over the ledger's products and the gate's stock, with what several servers have in common.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        gate: Arc<dyn StockGate>,
        clock: Arc<dyn Clock>,
        shared: Option<SharedViews>,
    ) -> Self {
        let views = Cache::builder()
            .max_capacity(ENTRIES_MAX)
            .expire_after(AsLongAsShown(Arc::clone(&clock)))
            .build();
        let older = Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(KEPT_FOR).build();
        let categories = Cache::builder().max_capacity(1).time_to_live(CATEGORIES_SHOWN_FOR).build();
        Self { ledger, gate, clock, views, older, late: Late::default(), categories, shared }
    }

    /// The JSON of one product; `None` when there is no such product.
    ///
    /// # Errors
    /// It is in no cache, not even in an older version, and the ledger does not answer.
    pub async fn view(&self, id: ProductId) -> Result<Option<Bytes>, Unavailable> {
        let view = self.newest(id).await?;
        let Some(head) = &view.json_head else { return Ok(None) };
        let (available, as_of) = self.figure(id, &view).await?;
        Ok(Some(with_stock(head, available, as_of).into()))
    }

    /// Units of a product that can be had, as its view shows them, and since when that is known; `None` when there is
    /// no such product.
    ///
    /// # Errors
    /// Those of [`view`](Self::view).
    pub async fn available(&self, id: ProductId) -> Result<Option<(i64, Timestamp)>, Unavailable> {
        let view = self.newest(id).await?;
        match view.json_head {
            Some(_) => self.figure(id, &view).await.map(Some),
            None => Ok(None),
        }
    }

    /// Units of each product that can be had, as the gate knows them at this moment. Where it does not know a product,
    /// what its view shows.
    ///
    /// # Errors
    /// The gate does not answer soon, or a view cannot be had.
    pub async fn available_now(&self, products: &[ProductId]) -> Result<Vec<Option<i64>>, Unavailable> {
        let levels = match within(BRIEFLY, self.gate.levels(products)).await {
            Ok(levels) => levels,
            Err(error) if products.len() <= 1 => return Err(error),
            // A part of the gate is away: that concerns its own products only.
            Err(_) => {
                let one = async |id: &ProductId| {
                    let level = within(BRIEFLY, self.gate.levels(std::slice::from_ref(id))).await;
                    level.ok().and_then(|levels| levels.first().copied().flatten())
                };
                stream::iter(products).map(one).buffered(REFRESHED_AT_ONCE).collect().await
            }
        };
        let figures =
            stream::iter(products.iter().copied().zip(levels)).map(async |(id, level)| match level {
                Some(level) => Ok(Some(available(level))),
                None => Ok(self.available(id).await?.map(|(available, _)| available)),
            });
        figures.buffered(REFRESHED_AT_ONCE).try_collect().await
    }

    /// Whether looking products up costs a call to somewhere else.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    async fn newest(&self, id: ProductId) -> Result<Arc<View>, Unavailable> {
        let kept = self.views.get(&id).await;
        count("process", kept.is_some());
        match kept {
            Some(view) => Ok(view),
            None => self.anew(id).await,
        }
    }

    async fn figure(&self, id: ProductId, view: &View) -> Result<(i64, Timestamp), Unavailable> {
        if self.shared.is_some() {
            return Ok((view.available, view.as_of));
        }
        let level = self.gate.levels(&[id]).await?.first().copied().flatten();
        Ok((level.map_or(0, available), self.clock.now()))
    }

    /// The view as it is now, or an older one where that would take too long.
    async fn anew(&self, id: ProductId) -> Result<Arc<View>, Unavailable> {
        let Some(older) = self.older.get(&id).await else {
            return within(PATIENCE, self.load_once(id)).await;
        };
        if !self.late.is(id) {
            let catalog = self.clone();
            let mut loading = tokio::spawn(async move { catalog.load_once(id).await });
            match tokio::time::timeout(LATE_AFTER, &mut loading).await {
                Ok(Ok(Ok(view))) => {
                    self.late.forget(id);
                    return Ok(view);
                }
                // Whoever asks meanwhile is shown the same, and the view that is on its way is kept when it comes.
                Ok(_) | Err(_) => self.late.note(id),
            }
        }
        count("stale", true);
        Ok(older)
    }

    /// Loads the view; however many ask, once.
    async fn load_once(&self, id: ProductId) -> Result<Arc<View>, Unavailable> {
        let load = async {
            let view = Arc::new(self.load(id).await?);
            self.keep_older(id, &view).await;
            Ok(view)
        };
        self.views.try_get_with(id, load).await.map_err(|error: Arc<Unavailable>| (*error).clone())
    }

    async fn keep(&self, id: ProductId, view: View) {
        let view = Arc::new(view);
        self.keep_older(id, &view).await;
        self.views.insert(id, view).await;
    }

    async fn keep_older(&self, id: ProductId, view: &Arc<View>) {
        match view.json_head {
            Some(_) => self.older.insert(id, Arc::clone(view)).await,
            // It may be there by the time that somebody asks again.
            None => self.older.invalidate(&id).await,
        }
    }

    /// The view from the shared cache, or else from the stores.
    async fn load(&self, id: ProductId) -> Result<View, Unavailable> {
        let Some(shared) = &self.shared else {
            return self.read(id).await;
        };
        match within(BRIEFLY, shared.cache.get(id)).await {
            Ok(Some(view)) if !remaining(&view, self.clock.now()).is_zero() => {
                count("shared", true);
                return Ok(view);
            }
            Ok(_) => count("shared", false),
            Err(error) => {
                count("shared", false);
                tracing::debug!(%error, "the shared cache does not answer");
            }
        }
        let view = self.read(id).await?;
        self.share(&*shared.cache, id, view).await
    }

    /// Puts a view into the shared cache, and answers the newest one there.
    async fn share(&self, shared: &dyn ViewCache, id: ProductId, view: View) -> Result<View, Unavailable> {
        let kept = within(BRIEFLY, async {
            shared.put(id, &view, SHOWN_FOR).await?;
            shared.get(id).await
        });
        let kept = kept.await;
        // A replica that is behind does not bring an older version back.
        Ok(kept.ok().flatten().filter(|kept| kept.version > view.version).unwrap_or(view))
    }

    async fn read(&self, id: ProductId) -> Result<View, Unavailable> {
        let as_of = self.clock.now();
        let Some(product) = self.ledger.product(id).await? else {
            return Ok(View { version: 0, as_of, json_head: None, available: 0 });
        };
        Ok(self.view_of(&product, as_of, self.level(id).await))
    }

    /// The gate's figures; none when it does not answer or does not know the product: then the ledger's are
    /// shown, which are some milliseconds behind.
    async fn level(&self, id: ProductId) -> Option<StockLevel> {
        match within(BRIEFLY, self.gate.levels(&[id])).await {
            Ok(levels) => levels.first().copied().flatten(),
            Err(error) => {
                tracing::debug!(%error, "the stock gate does not answer for a view");
                None
            }
        }
    }

    fn view_of(&self, product: &Product, as_of: Timestamp, level: Option<StockLevel>) -> View {
        let available = level.map_or_else(|| product.available().max(0), available);
        View { version: product.version, as_of, json_head: Some(json_head(product)), available }
    }

    /// Products in id order as a JSON array's elements, with the last id.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn list(&self, query: &ProductQuery) -> Result<(Vec<String>, Option<ProductId>), Unavailable> {
        let products = within(PATIENCE, self.ledger.products(query)).await?;
        let ids: Vec<_> = products.iter().map(|product| product.id).collect();
        let levels = match within(BRIEFLY, self.gate.levels(&ids)).await {
            Ok(levels) => levels,
            Err(error) => {
                tracing::debug!(%error, "the stock gate does not answer for a list");
                vec![None; ids.len()]
            }
        };
        let now = self.clock.now();
        let json = |(product, level): (&Product, Option<StockLevel>)| {
            let units = level.map_or_else(|| product.available().max(0), available);
            with_stock(&json_head(product), units, now)
        };
        Ok((products.iter().zip(levels).map(json).collect(), ids.last().copied()))
    }

    /// Categories that have products, in order; new ones after a minute.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn categories(&self) -> Result<Arc<Vec<String>>, Unavailable> {
        let load = async { self.ledger.categories(CATEGORIES_MAX).await.map(Arc::new) };
        self.categories.try_get_with((), within(PATIENCE, load)).await.map_err(|error| (*error).clone())
    }

    /// Shows a product as it was just changed, from the next view on; other servers within seconds.
    pub async fn show(&self, product: &Product) {
        let view = self.view_of(product, self.clock.now(), self.level(product.id).await);
        if let Some(shared) = &self.shared
            && let Err(error) = within(BRIEFLY, shared.cache.put(product.id, &view, SHOWN_FOR)).await
        {
            tracing::debug!(%error, "the shared cache was not told of a change");
        }
        self.keep(product.id, view).await;
    }

    /// Shows products as they are now, on every server. Where stock is looked up for every view, there is nothing
    /// to do.
    ///
    /// # Errors
    /// The stores do not answer; it can be repeated.
    pub async fn refresh(&self, products: impl IntoIterator<Item = ProductId>) -> Result<(), Unavailable> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let views = stream::iter(products).map(async |id| {
            let view = self.read(id).await?;
            shared.cache.put(id, &view, SHOWN_FOR).await?;
            Ok::<_, Unavailable>((id, view))
        });
        let update: Update = views.buffer_unordered(REFRESHED_AT_ONCE).try_collect().await?;
        if update.is_empty() { Ok(()) } else { shared.live.tell(&update).await }
    }

    /// Takes over what other servers tell, for ever, and says of which products that was.
    pub async fn listen(self, told: impl Fn(ProductId)) {
        let Some(shared) = &self.shared else { return };
        let mut updates = shared.live.listen();
        while let Some(update) = updates.next().await {
            for (id, view) in update {
                told(id);
                // What nobody has looked at here need not be kept; an older figure never replaces a newer one.
                let newer = |kept: &Arc<View>| (kept.version, kept.as_of) < (view.version, view.as_of);
                if self.views.get(&id).await.is_some_and(|kept| newer(&kept)) {
                    self.keep(id, view).await;
                }
            }
        }
    }
}
