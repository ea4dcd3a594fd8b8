//! Products whose node does not answer at the moment.
//!
//! Products are reserved in batches, and a batch takes as long as its slowest call. So a node that is away would hold
//! up what is sold of all other nodes, again and again. Whoever asks for a product of it after the first one is told
//! so at once, until somebody who does nothing else has had an answer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ProductId;
use crate::ports::Unavailable;

use super::super::connection::RedisCluster;

/// Products remembered. Calls for others have to wait for themselves.
const PRODUCTS_MAX: usize = 1_024;

/// Pause before the node is asked again.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Default)]
pub(super) struct Silent(Arc<Mutex<HashSet<ProductId>>>);

impl Silent {
    /// Whether it makes sense to ask for the product.
    ///
    /// # Errors
    /// Its node is known not to answer.
    pub(super) fn check(&self, product: ProductId) -> Result<(), Unavailable> {
        match self.products().contains(&product) {
            false => Ok(()),
            true => Err(Unavailable(format!("the node of product {product} does not answer"))),
        }
    }

    /// A call for the product had no answer: from now on its node is asked for `key` until it has one.
    pub(super) fn note(&self, product: ProductId, cluster: &Arc<RedisCluster>, key: String) {
        let mut products = self.products();
        if products.len() >= PRODUCTS_MAX || !products.insert(product) {
            return;
        }
        let (silent, cluster) = (self.clone(), Arc::downgrade(cluster));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                let Some(cluster) = cluster.upgrade() else { break };
                let mut exists = redis::cmd("EXISTS");
                exists.arg(&key);
                if cluster.query::<i64>(&exists).await.is_ok() {
                    break;
                }
            }
            silent.forget(product);
        });
    }

    /// Somebody has had an answer for the product.
    pub(super) fn forget(&self, product: ProductId) {
        self.products().remove(&product);
    }

    fn products(&self) -> MutexGuard<'_, HashSet<ProductId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_product_without_an_answer_is_not_asked_for_and_others_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let cluster = Arc::new(RedisCluster::new(&address, None).expect("an address"));
        let silent = Silent::default();
        assert!(silent.check(ProductId(1)).is_ok());
        silent.note(ProductId(1), &cluster, "key".into());
        assert!(silent.check(ProductId(1)).is_err());
        assert!(silent.check(ProductId(2)).is_ok());
        (0..5_000).for_each(|id| silent.note(ProductId(id), &cluster, "key".into()));
        assert_eq!(silent.products().len(), PRODUCTS_MAX);
    }
}
