//! The keys of a product at the gate. All of one product have one hash tag, so they live on one node.

use crate::domain::{Digest, ProductId};

/// Makes keys that begin with a prefix.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The four keys that every script begins with, and room for more.
    pub(super) fn product(&self, product: ProductId, room: usize) -> Vec<String> {
        let mut keys = Vec::with_capacity(4 + room);
        keys.extend(["stock", "reserved", "holds", "gate"].map(|part| self.key(product, part)));
        keys
    }

    pub(super) fn holds(&self, product: ProductId) -> String {
        self.key(product, "holds")
    }

    pub(super) fn gate(&self, product: ProductId) -> String {
        self.key(product, "gate")
    }

    /// How the last hold of a key ended.
    pub(super) fn ended(&self, product: ProductId, key: Digest) -> String {
        self.key(product, &format!("ended:{key:?}"))
    }

    /// Whether a change of stock was applied.
    pub(super) fn adjusted(&self, product: ProductId, version: i64) -> String {
        self.key(product, &format!("adjusted:{version}"))
    }

    fn key(&self, product: ProductId, part: &str) -> String {
        format!("{}product:{{{product}}}:{part}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_hash_tag_of_its_product() {
        let (keys, product) = (Keys::new(""), ProductId(42));
        let mut all = keys.product(product, 0);
        assert_eq!(all[0], "product:{42}:stock");
        all.extend([keys.ended(product, Digest([7; 16])), keys.adjusted(product, -3)]);
        all.extend([keys.holds(product), keys.gate(product)]);
        assert!(all.iter().all(|key| key.starts_with("product:{42}:")), "{all:?}");
    }
}
