//! Tells every server what products look like now. What is missed is not repeated: caches end by themselves.
//!
//! To add an adapter, see [`crate::ports`].

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::domain::ProductId;

use super::Unavailable;
use super::view_cache::View;

/// What products look like.
pub type Update = Vec<(ProductId, View)>;

/// Carries updates from whoever has them to all servers.
#[async_trait]
pub trait LiveUpdates: Send + Sync {
    /// Tells all servers, this one included.
    async fn tell(&self, update: &Update) -> Result<(), Unavailable>;

    /// What is told from now on. Interruptions are bridged, what was told meanwhile is missed.
    fn listen(&self) -> BoxStream<'static, Update>;
}
