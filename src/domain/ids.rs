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

/// What a digest says of the words of an Idempotency-Key, whoever's they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyWords([u8; 8]);

impl KeyWords {
    /// What stands for these words.
    pub fn of(words: &str) -> Self {
        let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of(&[words.as_bytes()]);
        Self([a, b, c, d, e, f, g, h])
    }

    /// The least and the greatest digest that a key of these words can have.
    pub fn range(self) -> RangeInclusive<Digest> {
        self.and([0; 8])..=self.and([u8::MAX; 8])
    }

    fn and(self, rest: [u8; 8]) -> Digest {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0);
        bytes[8..].copy_from_slice(&rest);
        Digest(bytes)
    }
}

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
        let Self([.., a, b, c, d, e, f, g, h]) =
            Self::of(&[kind.as_bytes(), &user.0.to_le_bytes(), words.as_bytes()]);
        KeyWords::of(words).and([a, b, c, d, e, f, g, h])
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
            assert!(KeyWords::of("a").range().contains(&found));
            assert!(!KeyWords::of("b").range().contains(&found));
        }
    }
}
