//! Tells in a few hundred nanoseconds, and in fixed memory, that a customer's key was *not* used
//! in the last 24 hours.
//!
//! A Bloom filter over the digests of keys: a "no" is certain, a "perhaps" is looked up in the
//! customer's own orders. So every key is remembered exactly while no index over random keys is
//! written, which would be the costliest thing on the write path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::domain::{Digest, Timestamp};

/// How long keys are remembered.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Bits of one generation: 32 MiB. With 20 million keys a day about one new key in 300 is looked
/// up needlessly; with more, more are, and nothing else changes.
const BITS: u64 = 1 << 28;

/// Bits set for each key.
const PROBES: u64 = 5;

/// Keys of the last 24 to 48 hours, in two generations of which the older is dropped whole.
pub struct KeyFilter(RwLock<Generations>);

struct Generations {
    since: Timestamp,
    current: Box<[AtomicU64]>,
    previous: Option<Box<[AtomicU64]>>,
}

impl KeyFilter {
    /// An empty filter.
    pub fn new(now: Timestamp) -> Self {
        Self(RwLock::new(Generations { since: now, current: empty(), previous: None }))
    }

    /// Whether the key may have been used. `false` is certain.
    pub fn may_contain(&self, key: Digest) -> bool {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let in_one = |bits: &[AtomicU64]| {
            probes(key).all(|bit| bits[word(bit)].load(Ordering::Relaxed) & (1 << (bit % 64)) != 0)
        };
        in_one(&generations.current) || generations.previous.as_deref().is_some_and(in_one)
    }

    /// Remembers a key.
    pub fn insert(&self, key: Digest, now: Timestamp) {
        let due = |generations: &Generations| now >= generations.since.plus(REMEMBERED);
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if due(&generations) {
            drop(generations);
            let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if due(&generations) {
                let full = std::mem::replace(&mut generations.current, empty());
                generations.previous = Some(full);
                generations.since = now;
            }
            drop(generations);
            return self.insert(key, now);
        }
        for bit in probes(key) {
            generations.current[word(bit)].fetch_or(1 << (bit % 64), Ordering::Relaxed);
        }
    }
}

fn empty() -> Box<[AtomicU64]> {
    (0..BITS / 64).map(|_| AtomicU64::new(0)).collect()
}

fn word(bit: u64) -> usize {
    usize::try_from(bit / 64).expect("fits")
}

/// Double hashing: the digest is uniform already, its halves serve as the two hashes.
fn probes(key: Digest) -> impl Iterator<Item = u64> {
    let (low, high) = key.0.split_at(8);
    let start = u64::from_le_bytes(low.try_into().expect("8 bytes"));
    let step = u64::from_le_bytes(high.try_into().expect("8 bytes")) | 1;
    (0..PROBES).map(move |probe| start.wrapping_add(step.wrapping_mul(probe)) % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Digest {
        Digest::of(&[&n.to_le_bytes()])
    }

    #[test]
    fn knows_every_key_and_hardly_any_other() {
        let filter = KeyFilter::new(Timestamp(0));
        for n in 0..100_000 {
            filter.insert(key(n), Timestamp(1));
        }
        assert!((0..100_000).all(|n| filter.may_contain(key(n))));
        let wrong = (100_000..200_000).filter(|n| filter.may_contain(key(*n))).count();
        assert!(wrong < 10, "{wrong} of 100,000 new keys were taken for old ones");
    }

    #[test]
    fn keys_last_at_least_a_day_and_at_most_two() {
        let filter = KeyFilter::new(Timestamp(0));
        let day = i64::try_from(REMEMBERED.as_millis()).expect("fits");
        filter.insert(key(1), Timestamp(day - 1));
        filter.insert(key(2), Timestamp(day));
        assert!(filter.may_contain(key(1)));
        filter.insert(key(3), Timestamp(2 * day));
        assert!(!filter.may_contain(key(1)));
        assert!(filter.may_contain(key(2)));
    }
}
