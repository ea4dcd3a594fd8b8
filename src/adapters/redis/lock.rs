//! A lock by name in Redis, for the servers of one shop.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::lock::{Lock, LockToken};

use super::connection::{RedisCluster, Script};

/// Locks that are keys with an owner and an end. What they guard is guarded by the ledger's version,
/// too: a lock may be lost with its node.
pub struct RedisLock {
    cluster: Arc<RedisCluster>,
    clock: Arc<dyn Clock>,
    prefix: String,
    renew: Script,
    release: Script,
}

impl RedisLock {
    /// Locks under keys that begin with `prefix`, which is empty but in tests.
    pub fn new(cluster: Arc<RedisCluster>, clock: Arc<dyn Clock>, prefix: &str) -> Self {
        Self {
            cluster,
            clock,
            prefix: prefix.to_owned(),
            renew: Script::new(include_str!("lock_renew.lua")),
            release: Script::new(include_str!("lock_release.lua")),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}lock:{name}", self.prefix)
    }
}

#[async_trait]
impl Lock for RedisLock {
    async fn try_acquire(&self, name: &str, ttl: Duration) -> Result<Option<LockToken>, Unavailable> {
        let mut random = [0; 16];
        random.copy_from_slice(&self.clock.secret()[..16]);
        let token = Uuid::from_bytes(random);
        let mut set = redis::cmd("SET");
        set.arg(self.key(name)).arg(token.to_string()).arg("NX").arg("PX").arg(milliseconds(ttl)).arg("GET");
        let before: Option<String> = self.cluster.query(&set).await?;
        // Where the answer to a first sending was lost, the second one finds its own token.
        let is_ours = before.is_none_or(|holder| holder == token.to_string());
        Ok(is_ours.then_some(LockToken(token)))
    }

    async fn renew(&self, name: &str, token: LockToken, ttl: Duration) -> Result<bool, Unavailable> {
        let arguments = [token.0.to_string(), milliseconds(ttl).to_string()];
        self.cluster.run(&self.renew, &[self.key(name)], &arguments).await
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool, Unavailable> {
        self.cluster.run(&self.release, &[self.key(name)], &[token.0.to_string()]).await
    }
}

/// Redis takes no time of 0.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
