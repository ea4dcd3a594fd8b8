//! What every lock promises.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::memory::MemoryLock;
use holdfast::adapters::redis::RedisLock;
use holdfast::ports::clock::SystemClock;
use holdfast::ports::lock::{Lock, LockToken};

use crate::support::redis_cluster::{cluster, fresh_prefix};

use super::suite;

/// A lock and the time it lives in.
struct Tested {
    lock: Arc<dyn Lock>,
    ttl: Duration,
    /// The part of `ttl` after which a lock is surely still held, on a machine that is busy, too.
    within: Duration,
    pass: fn(Duration) -> futures_util::future::BoxFuture<'static, ()>,
}

impl Tested {
    async fn acquire(&self, name: &str) -> Option<LockToken> {
        self.lock.try_acquire(name, self.ttl).await.expect("the lock answers")
    }

    async fn release(&self, name: &str, token: LockToken) -> bool {
        self.lock.release(name, token).await.expect("the lock answers")
    }

    async fn renew(&self, name: &str, token: LockToken) -> bool {
        self.lock.renew(name, token, self.ttl).await.expect("the lock answers")
    }

    /// Lets so much time pass that a lock is still held.
    async fn nearly_end(&self) {
        (self.pass)(self.within).await;
    }

    /// Lets the rest of its time pass.
    async fn end(&self) {
        (self.pass)(self.ttl - self.within).await;
    }
}

async fn one_at_a_time_holds_it(lock: Tested) {
    let token = lock.acquire("a").await.expect("it is free");
    assert_eq!(lock.acquire("a").await, None);
    assert!(lock.acquire("b").await.is_some(), "another name is another lock");
    assert!(lock.release("a", token).await);
    assert!(lock.acquire("a").await.is_some_and(|next| next != token), "each holding has its token");
}

async fn only_the_token_gives_it_back(lock: Tested) {
    let other = lock.acquire("b").await.expect("it is free");
    let token = lock.acquire("a").await.expect("it is free");
    assert!(!lock.release("a", other).await);
    assert!(!lock.renew("a", other).await);
    assert!(!lock.release("nothing", token).await);
    assert_eq!(lock.acquire("a").await, None, "it is still held");
    assert!(lock.release("a", token).await);
    assert!(!lock.release("a", token).await, "it was given back before");
}

async fn it_ends_by_itself(lock: Tested) {
    let token = lock.acquire("a").await.expect("it is free");
    lock.nearly_end().await;
    assert_eq!(lock.acquire("a").await, None);
    lock.end().await;
    assert!(!lock.renew("a", token).await, "too late");
    let next = lock.acquire("a").await.expect("it has ended");
    assert!(!lock.release("a", token).await, "the next one holds it");
    assert!(!lock.renew("a", token).await);
    assert!(lock.release("a", next).await);
}

async fn renewed_it_lasts_from_then_on(lock: Tested) {
    let token = lock.acquire("a").await.expect("it is free");
    for _ in 0..5 {
        lock.nearly_end().await;
        assert!(lock.renew("a", token).await);
    }
    lock.nearly_end().await;
    assert_eq!(lock.acquire("a").await, None);
    lock.end().await;
    assert!(lock.acquire("a").await.is_some());
}

fn in_memory() -> Tested {
    let ttl = Duration::from_secs(10);
    Tested {
        lock: Arc::new(MemoryLock::default()),
        ttl,
        within: ttl - Duration::from_millis(1),
        pass: |time| Box::pin(tokio::time::advance(time)),
    }
}

async fn over_redis() -> Tested {
    let ttl = Duration::from_secs(1);
    Tested {
        lock: Arc::new(RedisLock::new(cluster().await, Arc::new(SystemClock), &fresh_prefix())),
        ttl,
        within: ttl / 2,
        // Redis counts whole milliseconds by its own clock.
        pass: |time| Box::pin(tokio::time::sleep(time + Duration::from_millis(5))),
    }
}

macro_rules! behaviours {
    ($($adapter:tt)+) => {
        suite!($($adapter)+, [
            one_at_a_time_holds_it,
            only_the_token_gives_it_back,
            it_ends_by_itself,
            renewed_it_lasts_from_then_on,
        ]);
    };
}

behaviours!(memory, paused, super::in_memory());
behaviours!(cluster, super::over_redis().await);
