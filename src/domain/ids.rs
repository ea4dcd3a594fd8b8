//! Identifiers. Each is its own type, so that one cannot be passed for another.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time::Timestamp;

/// A product: a positive integer given by the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ProductId(pub i64);

/// A customer or administrator: a positive integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct UserId(pub i64);

/// An order and the saga that brings it about: they share one id, a UUID v7, which is ordered by
/// time so that new rows are written side by side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

/// One run of a server process: new at every start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

/// Who drives a saga: an instance, and an epoch that every take-over increments. Every
/// compare-and-set on a saga names both, so that a driver that was replaced changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Driver {
    pub instance: InstanceId,
    pub epoch: u32,
}

/// The first half of a SHA-256, or two quarters of two: stands for an Idempotency-Key or for a request body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Digest of several parts; each part's length is digested too, so that moving a byte from one
    /// part to the next gives another digest.
    pub fn of(parts: &[&[u8]]) -> Self {
        use sha2::{Digest as _, Sha256};
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let full = hasher.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        Self(half)
    }

    /// Stands for the words of a user for one kind of request; the same words of two users are two keys. It begins
    /// with what stands for the words alone, so that a key can be looked for among others before anybody knows whose
    /// it is.
    pub fn of_key(kind: &str, user: UserId, words: &str) -> Self {
        let mut key = Self::of(&[kind.as_bytes(), &user.0.to_le_bytes(), words.as_bytes()]);
        key.0[..8].copy_from_slice(&Self::of(&[words.as_bytes()]).0[..8]);
        key
    }

    /// The least and the greatest that a key of these words can have, whoever's it is.
    pub fn range_of_words(words: &str) -> RangeInclusive<Self> {
        let (mut least, mut greatest) = (Self([0; 16]), Self([u8::MAX; 16]));
        let of_words = Self::of(&[words.as_bytes()]);
        least.0[..8].copy_from_slice(&of_words.0[..8]);
        greatest.0[..8].copy_from_slice(&of_words.0[..8]);
        least..=greatest
    }
}

impl OrderId {
    /// When the attempt began, as its id says.
    pub fn time(self) -> Timestamp {
        Timestamp(i64::try_from(self.0.as_u128() >> 80).expect("48 bits"))
    }

    /// The least id that an order of this moment can have: a UUID v7 begins with its milliseconds.
    /// Source: RFC 9562, section 5.7.
    pub fn earliest_at(time: Timestamp) -> Self {
        let milliseconds = u128::try_from(time.0.max(0)).expect("not negative");
        Self(Uuid::from_u128(milliseconds << 80))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_digest() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_eq!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"ab", b"c"]));
    }

    #[test]
    fn a_key_is_found_by_its_words_and_is_its_users_alone() {
        let (key, others) =
            (Digest::of_key("order", UserId(1), "a"), Digest::of_key("order", UserId(2), "a"));
        assert_ne!(key, others);
        assert_ne!(key, Digest::of_key("stock", UserId(1), "a"));
        for found in [key, others] {
            assert!(Digest::range_of_words("a").contains(&found));
            assert!(!Digest::range_of_words("b").contains(&found));
        }
    }
}
