//! What administrators do to products and stock: the ledger first, then the gate and the catalogue.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::domain::{NewProduct, Product, ProductChange, ProductId, StockLevel};
use crate::ports::Unavailable;
use crate::ports::ledger::{AdjustError, Adjusted, Adjustment, ProductError};
use crate::ports::lock::{Lock, LockToken};
use crate::saga::Ports;

/// How long the lock of a product lasts when its holder dies.
const LOCK_TTL: Duration = Duration::from_secs(30);

/// Pause between two tries to get the lock of a product.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Changes products and stock.
pub struct StockRoom {
    ports: Ports,
    lock: Arc<dyn Lock>,
    catalog: Catalog,
}

impl StockRoom {
    /// A stock room over the shop's ports.
    pub fn new(ports: Ports, lock: Arc<dyn Lock>, catalog: Catalog) -> Self {
        Self { ports, lock, catalog }
    }

    /// Creates all of the products or none.
    ///
    /// # Errors
    /// See [`ProductError`].
    pub async fn create_products(&self, batch: Vec<NewProduct>) -> Result<Vec<Product>, ProductError> {
        let products = self.ports.ledger.create_products(batch, self.ports.clock.now()).await?;
        let level = |product: &Product| StockLevel { product: product.id, stock: product.stock, reserved: 0 };
        let levels: Vec<_> = products.iter().map(level).collect();
        self.ports.gate.load(&levels, &[]).await?;
        for product in &products {
            self.catalog.forget(product.id).await;
        }
        Ok(products)
    }

    /// Changes a product's description or price.
    ///
    /// # Errors
    /// See [`ProductError`].
    pub async fn change_product(
        &self,
        id: ProductId,
        change: ProductChange,
    ) -> Result<Product, ProductError> {
        let product = self.ports.ledger.change_product(id, change, self.ports.clock.now()).await?;
        self.catalog.forget(id).await;
        Ok(product)
    }

    /// Adds or takes away units. The product's lock keeps the gate's changes in the ledger's order.
    ///
    /// # Errors
    /// See [`AdjustError`].
    pub async fn adjust_stock(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError> {
        let (product, delta) = (adjustment.product, adjustment.delta);
        let name = format!("product:{product}");
        let token = self.acquire(&name).await?;
        let adjusted = self.ports.ledger.adjust_stock(adjustment).await;
        if let Ok(Adjusted { repeated: false, .. }) = &adjusted {
            self.ports.gate.adjust(product, delta).await?;
        }
        self.lock.release(&name, token).await?;
        adjusted
    }

    async fn acquire(&self, name: &str) -> Result<LockToken, Unavailable> {
        loop {
            if let Some(token) = self.lock.try_acquire(name, LOCK_TTL).await? {
                return Ok(token);
            }
            tokio::time::sleep(self.ports.clock.jittered(LOCK_PAUSE)).await;
        }
    }
}
