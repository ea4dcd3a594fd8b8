//! The read path of products: descriptions from a short-lived cache, stock from the gate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use crate::domain::{Money, Product, ProductId, StockLevel, Timestamp};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::{Ledger, ProductQuery};
use crate::ports::stock_gate::StockGate;

/// How long a description may be shown after it was read.
const SHOWN_FOR: Duration = Duration::from_secs(5);

/// Descriptions kept, ids that do not exist included.
const ENTRIES_MAX: u64 = 100_000;

/// Products as customers see them.
#[derive(Clone)]
pub struct Catalog {
    ledger: Arc<dyn Ledger>,
    gate: Arc<dyn StockGate>,
    clock: Arc<dyn Clock>,
    cards: Cache<ProductId, Option<Arc<Card>>>,
}

/// What changes rarely about a product, as the beginning of its JSON object.
struct Card {
    json_head: String,
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

impl Card {
    fn of(product: &Product) -> Self {
        let description = Description {
            id: product.id,
            sku: &product.sku,
            name: &product.name,
            description: &product.description,
            category: &product.category,
            price: product.price,
        };
        let mut json_head = serde_json::to_string(&description).expect("a product is plain data");
        json_head.pop();
        Self { json_head }
    }

    fn with_stock(&self, available: i64, as_of: Timestamp) -> String {
        format!(r#"{},"available":{available},"as_of":"{as_of}"}}"#, self.json_head)
    }
}

/// Units that can be had, never negative.
fn available(level: Option<StockLevel>) -> i64 {
    level.map_or(0, |level| (level.stock - level.reserved).max(0))
}

impl Catalog {
    /// A catalogue over the ledger's products and the gate's stock.
    pub fn new(ledger: Arc<dyn Ledger>, gate: Arc<dyn StockGate>, clock: Arc<dyn Clock>) -> Self {
        let cards = Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(SHOWN_FOR).build();
        Self { ledger, gate, clock, cards }
    }

    /// The JSON of one product; `None` when there is no such product.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn view(&self, id: ProductId) -> Result<Option<Bytes>, Unavailable> {
        let card = match self.cards.get(&id).await {
            Some(card) => card,
            None => {
                // However many ask at once, the ledger is asked once.
                let load =
                    async { Ok(self.ledger.product(id).await?.as_ref().map(|p| Arc::new(Card::of(p)))) };
                self.cards.try_get_with(id, load).await.map_err(|error: Arc<Unavailable>| (*error).clone())?
            }
        };
        let Some(card) = card else { return Ok(None) };
        let available = available(self.gate.levels(&[id]).await?.first().copied().flatten());
        Ok(Some(card.with_stock(available, self.clock.now()).into()))
    }

    /// Products in id order as a JSON array's elements, with the last id.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn list(&self, query: &ProductQuery) -> Result<(Vec<String>, Option<ProductId>), Unavailable> {
        let products = self.ledger.products(query).await?;
        let ids: Vec<_> = products.iter().map(|product| product.id).collect();
        let levels = self.gate.levels(&ids).await?;
        let now = self.clock.now();
        let json = |(product, level)| Card::of(product).with_stock(available(level), now);
        Ok((products.iter().zip(levels).map(json).collect(), ids.last().copied()))
    }

    /// Shows a product's new description from the next view on.
    pub async fn forget(&self, id: ProductId) {
        self.cards.invalidate(&id).await;
    }
}
