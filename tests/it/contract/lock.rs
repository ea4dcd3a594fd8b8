//! What every lock promises.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::memory::MemoryLock;
use holdfast::ports::lock::{Lock, LockToken};

use super::suite;

const TTL: Duration = Duration::from_secs(10);

async fn acquire(lock: &dyn Lock, name: &str) -> Option<LockToken> {
    lock.try_acquire(name, TTL).await.expect("the lock answers")
}

async fn release(lock: &dyn Lock, name: &str, token: LockToken) -> bool {
    lock.release(name, token).await.expect("the lock answers")
}

async fn renew(lock: &dyn Lock, name: &str, token: LockToken) -> bool {
    lock.renew(name, token, TTL).await.expect("the lock answers")
}

async fn one_at_a_time_holds_it(lock: Arc<dyn Lock>) {
    let token = acquire(&*lock, "a").await.expect("it is free");
    assert_eq!(acquire(&*lock, "a").await, None);
    assert!(acquire(&*lock, "b").await.is_some(), "another name is another lock");
    assert!(release(&*lock, "a", token).await);
    assert!(acquire(&*lock, "a").await.is_some_and(|next| next != token), "each holding has its token");
}

async fn only_the_token_gives_it_back(lock: Arc<dyn Lock>) {
    let other = acquire(&*lock, "b").await.expect("it is free");
    let token = acquire(&*lock, "a").await.expect("it is free");
    assert!(!release(&*lock, "a", other).await);
    assert!(!renew(&*lock, "a", other).await);
    assert!(!release(&*lock, "nothing", token).await);
    assert_eq!(acquire(&*lock, "a").await, None, "it is still held");
    assert!(release(&*lock, "a", token).await);
    assert!(!release(&*lock, "a", token).await, "it was given back before");
}

async fn it_ends_by_itself(lock: Arc<dyn Lock>) {
    let token = acquire(&*lock, "a").await.expect("it is free");
    tokio::time::advance(TTL - Duration::from_millis(1)).await;
    assert_eq!(acquire(&*lock, "a").await, None);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!renew(&*lock, "a", token).await, "too late");
    let next = acquire(&*lock, "a").await.expect("it has ended");
    assert!(!release(&*lock, "a", token).await, "the next one holds it");
    assert!(!renew(&*lock, "a", token).await);
    assert!(release(&*lock, "a", next).await);
}

async fn renewed_it_lasts_from_then_on(lock: Arc<dyn Lock>) {
    let token = acquire(&*lock, "a").await.expect("it is free");
    for _ in 0..5 {
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        assert!(renew(&*lock, "a", token).await);
    }
    tokio::time::advance(TTL - Duration::from_millis(1)).await;
    assert_eq!(acquire(&*lock, "a").await, None);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(acquire(&*lock, "a").await.is_some());
}

suite!(
    memory,
    paused,
    std::sync::Arc::new(super::MemoryLock::default()),
    [one_at_a_time_holds_it, only_the_token_gives_it_back, it_ends_by_itself, renewed_it_lasts_from_then_on]
);
