//! Inventory: keeps caches and live views fresh, by telling every server what a product looks like now.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::catalog::Catalog;
use crate::domain::{Event, EventBody, ProductId};
use crate::ports::Unavailable;

use super::Consumer;

/// Shows products anew whose stock has changed.
pub struct Inventory {
    pub catalog: Catalog,
}

#[async_trait]
impl Consumer for Inventory {
    async fn take_in(&self, events: Vec<Event>) -> Result<(), Unavailable> {
        // However often a product was sold in this batch, what counts is what it looks like afterwards.
        let products: BTreeSet<ProductId> = events.iter().flat_map(|event| products(&event.body)).collect();
        self.catalog.refresh(products).await
    }
}

/// Products whose available units an event changes.
fn products(body: &EventBody) -> Vec<ProductId> {
    match body {
        EventBody::InventoryReserved { lines } | EventBody::InventoryReleaseRequested { lines, .. } => {
            lines.iter().map(|line| line.product_id).collect()
        }
        // What was reserved for it was told of before: the shop shows the same number.
        _ => Vec::new(),
    }
}
