//! Products whose node does not answer at the moment.
//!
//! Products are reserved in batches, and a batch takes as long as its slowest call. So a node that is away would hold
//! up what is sold of all other nodes, again and again. Whoever asks for a product of it after the first one is told
//! so at once, until somebody who does nothing else has had an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::domain::ProductId;
use crate::ports::Unavailable;

use super::super::connection::RedisCluster;

/// Products remembered. Calls for others have to wait for themselves.
const PRODUCTS_MAX: usize = 1_024;

/// Pause before the nodes are asked again.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Default)]
pub(super) struct Silent(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The products, each with a key that its node has.
    products: HashMap<ProductId, String>,
    /// Whether somebody is asking.
    asked: bool,
}

impl Silent {
    /// Whether it makes sense to ask for the product.
    ///
    /// # Errors
    /// Its node is known not to answer.
    pub(super) fn check(&self, product: ProductId) -> Result<(), Unavailable> {
        match self.known().products.contains_key(&product) {
            false => Ok(()),
            true => Err(Unavailable(format!("the node of product {product} does not answer"))),
        }
    }

    /// A call for the product had no answer: from now on its node is asked for `key` until it has one.
    pub(super) fn note(&self, product: ProductId, cluster: &Arc<RedisCluster>, key: String) {
        let mut known = self.known();
        if known.products.len() >= PRODUCTS_MAX {
            return;
        }
        known.products.insert(product, key);
        if !std::mem::replace(&mut known.asked, true) {
            tokio::spawn(self.clone().ask(Arc::downgrade(cluster)));
        }
    }

    /// Somebody has had an answer for the product.
    pub(super) fn forget(&self, product: ProductId) {
        self.known().products.remove(&product);
    }

    /// Asks until every node has answered. Nobody else asks meanwhile.
    async fn ask(self, cluster: Weak<RedisCluster>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let (products, keys): (Vec<_>, Vec<_>) = self.known().products.clone().into_iter().unzip();
            let Some(cluster) = cluster.upgrade() else { return };
            let answered = cluster.ask_anew(&keys).await;
            let mut known = self.known();
            for (product, _) in products.iter().zip(answered).filter(|(_, answered)| *answered) {
                known.products.remove(product);
            }
            if known.products.is_empty() {
                known.asked = false;
                return;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
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
        assert_eq!(silent.known().products.len(), PRODUCTS_MAX);
    }
}
