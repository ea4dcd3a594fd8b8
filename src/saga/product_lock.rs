//! The lock of a product: for loading, repairing and changing its stock, and, where the shop is told
//! to, for purchases. It is renewed for as long as it is held.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::domain::ProductId;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::lock::{Lock, LockToken};

/// How long a lock lasts when its holder dies.
const TTL: Duration = Duration::from_secs(30);

/// Pause between two tries to get a lock.
const PAUSE: Duration = Duration::from_millis(2);

/// Gives out the locks of products.
#[derive(Clone)]
pub struct ProductLocks {
    lock: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
}

/// Locks that are held. Released by [`release`](Self::release), or by their time when that is not called.
#[must_use]
pub struct HeldLocks {
    lock: Arc<dyn Lock>,
    held: Vec<(String, LockToken)>,
    renewal: JoinHandle<()>,
}

impl ProductLocks {
    /// Locks by way of the port.
    pub fn new(lock: Arc<dyn Lock>, clock: Arc<dyn Clock>) -> Self {
        Self { lock, clock }
    }

    /// Takes the locks of the products in the order given, waiting for whoever has them. To keep two from
    /// waiting for each other, everybody gives them in id order.
    ///
    /// # Errors
    /// The lock does not answer, or is not free in time.
    pub async fn acquire(
        &self,
        products: &[ProductId],
        patience: Duration,
    ) -> Result<HeldLocks, Unavailable> {
        let until = Instant::now() + patience;
        let mut held = Vec::new();
        for product in products {
            match self.acquire_one(*product, until).await {
                Ok(lock) => held.push(lock),
                Err(error) => {
                    give_back(&*self.lock, &held).await;
                    return Err(error);
                }
            }
        }
        let renewal = tokio::spawn(renew(Arc::clone(&self.lock), held.clone()));
        Ok(HeldLocks { lock: Arc::clone(&self.lock), held, renewal })
    }

    async fn acquire_one(
        &self,
        product: ProductId,
        until: Instant,
    ) -> Result<(String, LockToken), Unavailable> {
        let name = format!("product:{product}");
        let begun = Instant::now();
        let waited = || metrics::histogram!("holdfast_lock_wait_seconds").record(begun.elapsed());
        let mut is_contended = false;
        loop {
            if let Some(token) = self.lock.try_acquire(&name, TTL).await? {
                metrics::counter!("holdfast_lock_acquired_total").increment(1);
                waited();
                return Ok((name, token));
            }
            if !is_contended {
                is_contended = true;
                metrics::counter!("holdfast_lock_contended_total").increment(1);
            }
            if Instant::now() >= until {
                waited();
                metrics::counter!("holdfast_lock_timeouts_total").increment(1);
                return Err(Unavailable(format!("the lock of product {product} was not free in time")));
            }
            tokio::time::sleep(self.clock.jittered(PAUSE)).await;
        }
    }
}

impl HeldLocks {
    /// Gives all of them back.
    pub async fn release(self) {
        self.renewal.abort();
        give_back(&*self.lock, &self.held).await;
    }
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(lock: Arc<dyn Lock>, held: Vec<(String, LockToken)>) {
    loop {
        tokio::time::sleep(TTL / 3).await;
        for (name, token) in &held {
            match lock.renew(name, *token, TTL).await {
                Ok(true) => {}
                // What it guards is guarded by the ledger, too: whoever goes on finds out there.
                Ok(false) => tracing::warn!(name, "a lock was lost while it was held"),
                Err(error) => tracing::warn!(%error, name, "a lock could not be renewed"),
            }
        }
    }
}

async fn give_back(lock: &dyn Lock, held: &[(String, LockToken)]) {
    for (name, token) in held {
        if let Err(error) = lock.release(name, *token).await {
            tracing::warn!(%error, name, "a lock was not given back; it ends by itself");
        }
    }
}
