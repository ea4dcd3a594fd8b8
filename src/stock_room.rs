//! What administrators do to products and stock: the ledger first, then the gate and the catalogue.

use std::time::Duration;

use crate::catalog::Catalog;
use crate::domain::{NewProduct, Product, ProductChange, ProductId, Shelf, StockChange, StockLevel};
use crate::ports::Unavailable;
use crate::ports::ledger::{AdjustError, Adjusted, Adjustment, ProductError};
use crate::saga::Ports;

/// How long a change waits for another one of the same product.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Changes products and stock. Once begun, a change is carried through even when whoever asked for it
/// goes away: the gate would not learn what the ledger has committed.
#[derive(Clone)]
pub struct StockRoom {
    ports: Ports,
    catalog: Catalog,
}

impl StockRoom {
    /// A stock room over the shop's ports.
    pub fn new(ports: Ports, catalog: Catalog) -> Self {
        Self { ports, catalog }
    }

    /// Creates all of the products or none.
    ///
    /// # Errors
    /// See [`ProductError`].
    pub async fn create_products(&self, batch: Vec<NewProduct>) -> Result<Vec<Product>, ProductError> {
        let Self { ports, catalog, .. } = self.clone();
        carried_through(async move {
            let products = ports.ledger.create_products(batch, ports.clock.now()).await?;
            let shelf = |product: &Product| Shelf {
                level: StockLevel { product: product.id, stock: product.stock, reserved: 0 },
                version: product.version,
                pending: Vec::new(),
            };
            let shelves: Vec<_> = products.iter().map(shelf).collect();
            ports.gate.load(&shelves).await?;
            for product in &products {
                catalog.show(product).await;
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
            catalog.show(&product).await;
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
            let lock = room.ports.locks.acquire(&[product], LOCK_PATIENCE).await?;
            let adjusted = room.ports.ledger.adjust_stock(adjustment).await;
            if let Ok(Adjusted { product: changed, repeated: false }) = &adjusted {
                let change = StockChange { product, delta, version: changed.version };
                if let Err(error) = room.ports.gate.adjust(&[change]).await {
                    // The ledger has it, so it is done; the gate follows when it is compared.
                    tracing::warn!(%error, %product, "the stock gate was not told of a change of stock");
                    room.ports.keeper.suspect([product]);
                }
                room.catalog.show(changed).await;
            }
            lock.release().await;
            adjusted
        })
        .await
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
