//! A lock by name for the tasks of one process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use crate::ports::Unavailable;
use crate::ports::lock::{Lock, LockToken};

/// Who holds what, until when.
#[derive(Default)]
pub struct MemoryLock {
    held: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_name: HashMap<String, (LockToken, Instant)>,
    tokens_given: u128,
}

impl MemoryLock {
    fn locked<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Lock for MemoryLock {
    async fn try_acquire(&self, name: &str, ttl: Duration) -> Result<Option<LockToken>, Unavailable> {
        let now = Instant::now();
        Ok(self.locked(|state| {
            state.by_name.retain(|_, (_, until)| *until > now);
            if state.by_name.contains_key(name) {
                return None;
            }
            state.tokens_given += 1;
            let token = LockToken(Uuid::from_u128(state.tokens_given));
            state.by_name.insert(name.to_owned(), (token, now + ttl));
            Some(token)
        }))
    }

    async fn renew(&self, name: &str, token: LockToken, ttl: Duration) -> Result<bool, Unavailable> {
        let now = Instant::now();
        Ok(self.locked(|state| match state.by_name.get_mut(name) {
            Some((owner, until)) if *owner == token && *until > now => {
                *until = now + ttl;
                true
            }
            _ => false,
        }))
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool, Unavailable> {
        let now = Instant::now();
        Ok(self.locked(|state| match state.by_name.get(name) {
            Some((owner, until)) if *owner == token && *until > now => {
                state.by_name.remove(name);
                true
            }
            _ => false,
        }))
    }
}
