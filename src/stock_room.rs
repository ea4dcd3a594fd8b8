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

/// Changes products and stock. Once begun, a change is carried through even when whoever asked for it
/// goes away: the gate would not learn what the ledger has committed.
#[derive(Clone)]
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
        let Self { ports, catalog, .. } = self.clone();
        carried_through(async move {
            let products = ports.ledger.create_products(batch, ports.clock.now()).await?;
            let level =
                |product: &Product| StockLevel { product: product.id, stock: product.stock, reserved: 0 };
            let levels: Vec<_> = products.iter().map(level).collect();
            ports.gate.load(&levels, &[]).await?;
            for product in &products {
                catalog.forget(product.id).await;
            }
            Ok(products)
        })
        .await
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
        let Self { ports, catalog, .. } = self.clone();
        carried_through(async move {
            let product = ports.ledger.change_product(id, change, ports.clock.now()).await?;
            catalog.forget(id).await;
            Ok(product)
        })
        .await
    }

    /// Adds or takes away units. The product's lock keeps the gate's changes in the ledger's order.
    ///
    /// # Errors
    /// See [`AdjustError`].
    pub async fn adjust_stock(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError> {
        let room = self.clone();
        carried_through(async move {
            let (product, delta) = (adjustment.product, adjustment.delta);
            let name = format!("product:{product}");
            let token = room.acquire(&name).await?;
            let adjusted = room.ports.ledger.adjust_stock(adjustment).await;
            let told = match &adjusted {
                Ok(Adjusted { repeated: false, .. }) => room.ports.gate.adjust(product, delta).await,
                _ => Ok(()),
            };
            room.lock.release(&name, token).await?;
            told?;
            adjusted
        })
        .await
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

async fn carried_through<T, E>(change: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Unavailable> + Send + 'static,
{
    match tokio::spawn(change).await {
        Ok(changed) => changed,
        Err(error) => Err(Unavailable(error.to_string()).into()),
    }
}
