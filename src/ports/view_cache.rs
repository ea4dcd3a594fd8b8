//! The second layer of the cache of product views, which all servers share.
//!
//! To add an adapter, see [`crate::ports`].

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{ProductId, Timestamp};

use super::Unavailable;

/// A product as it is shown, with the moment at which it was current.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct View {
    /// The version of the product; 0 for "there is no such product".
    pub version: i64,
    /// When the figures were current.
    pub as_of: Timestamp,
    /// The part of the answer that changes with the product only; `None`: there is no such product.
    pub json_head: Option<String>,
    /// Units that can be sold.
    pub available: i64,
}

/// Keeps views for a short while.
#[async_trait]
pub trait ViewCache: Send + Sync {
    /// The view of a product, where one is kept.
    async fn get(&self, product: ProductId) -> Result<Option<View>, Unavailable>;

    /// Keeps the view until `ttl` after its `as_of`. One of an older version, or of the same version
    /// and an older `as_of`, never replaces a newer one.
    async fn put(&self, product: ProductId, view: &View, ttl: Duration) -> Result<(), Unavailable>;
}
