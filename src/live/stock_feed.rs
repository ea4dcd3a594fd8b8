//! What open pages are told of a product's stock.
//!
//! However many streams a product has, its stock is looked up once and each event is made once. Looks come in turns:
//! where they cost nothing, every product with streams has one each turn; where they are calls to another host, those
//! that another server has told of come first, and the others one after the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::Catalog;
use crate::domain::{ProductId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;

use super::topics::{Frame, Frames, Topics};

/// Pause between two turns: the first change of a product is told within this time.
const TURN: Duration = Duration::from_millis(100);

/// Pause between two events of a product; what changes meanwhile is told in one.
const PAUSE: Duration = Duration::from_millis(250);

/// Of the pause, for each open stream: thousands hear of it less often, and all of them together cost no more than some
/// thousand writes a second, so that those who only look do not slow those who buy.
const PAUSE_A_STREAM: Duration = Duration::from_micros(200);

/// Products a turn that nothing was told of, where looks are calls: a thousand a second, so that with ten thousand
/// products each has its look every ten seconds, and with a hundred in each turn.
const LOOKS_A_TURN: usize = 100;

/// Products looked up at once.
const LOOKED_UP_AT_ONCE: usize = 256;

/// The stock of products with open pages.
pub struct StockFeed {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    topics: Topics<ProductId, Stock>,
    /// To be looked at in the next turn.
    due: Mutex<BTreeSet<ProductId>>,
}

/// What the streams of a product were told last.
#[derive(Clone, Copy)]
struct Stock {
    available: i64,
    as_of: Timestamp,
    /// `None` for what the first of them began with.
    told_at: Option<Instant>,
}

/// What to do about a figure.
#[derive(PartialEq, Eq, Debug)]
enum News {
    None,
    /// It is told.
    Now,
    /// The last event is too recent.
    Later,
}

impl Stock {
    /// Takes in the present figure.
    fn take_in(&mut self, available: i64, as_of: Timestamp, now: Instant, pause: Duration) -> News {
        if available == self.available {
            return News::None;
        }
        if self.told_at.is_some_and(|told_at| now < told_at + pause) {
            return News::Later;
        }
        // A clock that is set back makes no event that seems older than the one before.
        let as_of = as_of.max(self.as_of.plus(Duration::from_millis(1)));
        *self = Self { available, as_of, told_at: Some(now) };
        News::Now
    }

    fn frame(&self) -> Frame {
        let Self { available, as_of, .. } = self;
        let data = format!(r#"{{"available":{available},"as_of":"{as_of}"}}"#);
        Frame::new("stock", &as_of.0.to_string(), &data)
    }
}

impl StockFeed {
    /// A feed of what the catalogue shows.
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, topics: Topics::default(), due: Mutex::default() }
    }

    /// A stream of a product, which begins with the present figure; `None` when there is no such product.
    ///
    /// # Errors
    /// The product cannot be looked up, or the server is about to stop.
    pub async fn open(&self, id: ProductId) -> Result<Option<Frames>, Unavailable> {
        let mut frames = match self.topics.hear(id) {
            Some(frames) => frames,
            None => {
                let Some((available, as_of)) = self.catalog.available(id).await? else { return Ok(None) };
                let stock = Stock { available, as_of, told_at: None };
                self.topics.hear_or_open(id, (stock, stock.frame()))?
            }
        };
        frames.mark_changed();
        Ok(Some(frames))
    }

    /// Another server has told of a product: it is looked at in the next turn.
    pub fn look_at(&self, id: ProductId) {
        if self.topics.contains(id) {
            self.due().insert(id);
        }
    }

    /// Looks at products for as long as they have streams; runs for ever.
    pub async fn run(self: Arc<Self>) {
        let (mut last, a_turn) = (None, if self.catalog.is_shared() { LOOKS_A_TURN } else { usize::MAX });
        loop {
            self.topics.wanted().await;
            let next = self.topics.next(last, a_turn);
            last = next.last().copied();
            let mut due = std::mem::take(&mut *self.due());
            due.extend(next);
            let due: Vec<_> = due.into_iter().collect();
            let streams = u32::try_from(self.topics.streams()).unwrap_or(u32::MAX);
            let pause = PAUSE.max(PAUSE_A_STREAM.saturating_mul(streams));
            for products in due.chunks(LOOKED_UP_AT_ONCE) {
                match self.catalog.available_now(products).await {
                    Ok(figures) => self.take_in(products, &figures, pause).await,
                    // Pages keep what they have until there is an answer.
                    Err(error) => tracing::debug!(%error, "live pages are not told of stock for a moment"),
                }
            }
            tokio::time::sleep(TURN).await;
        }
    }

    async fn take_in(&self, products: &[ProductId], figures: &[Option<i64>], pause: Duration) {
        let as_of = self.clock.now();
        for (id, figure) in products.iter().zip(figures) {
            let Some(available) = figure else { continue };
            let mut news = News::None;
            let told = self.topics.update(*id, |stock| {
                news = stock.take_in(*available, as_of, Instant::now(), pause);
                (news == News::Now).then(|| stock.frame())
            });
            told.await;
            if news == News::Later {
                self.due().insert(*id);
            }
        }
    }

    /// Ends all streams, for good.
    pub fn close(&self) {
        self.topics.close();
    }

    fn due(&self) -> MutexGuard<'_, BTreeSet<ProductId>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_at_once_and_later_ones_in_one() {
        let mut stock = Stock { available: 9, as_of: Timestamp(1_000), told_at: None };
        let begun = Instant::now();
        let mut look = |after_ms: u64, available| {
            let after = Duration::from_millis(after_ms);
            stock.take_in(available, Timestamp(1_000).plus(after), begun + after, PAUSE)
        };
        assert_eq!(look(0, 9), News::None);
        assert_eq!(look(1, 8), News::Now);
        assert_eq!(look(100, 7), News::Later);
        assert_eq!(look(200, 3), News::Later);
        assert_eq!(look(250, 8), News::None, "it is as they were told");
        assert_eq!(look(251, 2), News::Now);
        assert_eq!(look(1_000, 1), News::Now);
        assert_eq!(
            stock.frame().bytes,
            "id: 2000\nevent: stock\ndata: {\"available\":1,\"as_of\":\"1970-01-01T00:00:02.000Z\"}\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn ids_rise_also_when_the_clock_is_set_back() {
        let mut stock = Stock { available: 9, as_of: Timestamp(1_000), told_at: None };
        assert_eq!(stock.take_in(8, Timestamp(10), Instant::now(), PAUSE), News::Now);
        assert_eq!(&*stock.frame().id, "1001");
    }
}
