//! Which products this process has reserved units of, so that overdue holds are looked for there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ProductId;

/// Products remembered. Holds of others are found when gate and ledger are compared.
const PRODUCTS_MAX: usize = 65_536;

/// A product is kept for so long after it was touched, whatever is there: a reservation that was not
/// answered may still be on its way.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// When each product was touched last.
#[derive(Default)]
pub(super) struct Touched {
    products: Mutex<HashMap<ProductId, Instant>>,
}

impl Touched {
    pub(super) fn note(&self, products: impl Iterator<Item = ProductId>) {
        let now = Instant::now();
        let mut known = self.products();
        for product in products {
            if known.len() < PRODUCTS_MAX || known.contains_key(&product) {
                known.insert(product, now);
            }
        }
    }

    pub(super) fn all(&self) -> Vec<ProductId> {
        self.products().keys().copied().collect()
    }

    /// There is no hold without an order any more.
    pub(super) fn forget(&self, product: ProductId) {
        let mut known = self.products();
        if known.get(&product).is_some_and(|touched| touched.elapsed() > KEPT_FOR) {
            known.remove(&product);
        }
    }

    fn products(&self) -> MutexGuard<'_, HashMap<ProductId, Instant>> {
        self.products.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_product_is_forgotten_when_it_has_been_quiet_for_a_while() {
        let touched = Touched::default();
        touched.note([ProductId(1), ProductId(2)].into_iter());
        touched.forget(ProductId(1));
        assert_eq!(touched.all().len(), 2);
        tokio::time::advance(KEPT_FOR).await;
        touched.note([ProductId(2)].into_iter());
        tokio::time::advance(Duration::from_secs(1)).await;
        touched.forget(ProductId(1));
        touched.forget(ProductId(2));
        assert_eq!(touched.all(), [ProductId(2)]);
    }

    #[tokio::test]
    async fn no_more_products_are_remembered_than_there_is_room_for() {
        let touched = Touched::default();
        touched.note((0..2 * PRODUCTS_MAX as i64).map(ProductId));
        assert_eq!(touched.all().len(), PRODUCTS_MAX);
    }
}
