//! A lock by name, for loading and repairing. Purchases do not take it.
//!
//! To add an adapter, see [`crate::ports`].

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::Unavailable;

/// Proof of holding a lock: only who has it may renew or release the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockToken(pub Uuid);

/// Locks that end by themselves.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Takes the lock for `ttl`, or `None` when another holds it.
    async fn try_acquire(&self, name: &str, ttl: Duration) -> Result<Option<LockToken>, Unavailable>;

    /// Holds the lock for another `ttl` from now; `false` when it is no longer the token's.
    async fn renew(&self, name: &str, token: LockToken, ttl: Duration) -> Result<bool, Unavailable>;

    /// Gives the lock back; `false` when it was no longer the token's, and nothing changed.
    async fn release(&self, name: &str, token: LockToken) -> Result<bool, Unavailable>;
}
