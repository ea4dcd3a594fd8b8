//! Tells every server what products look like now, and what each of them counts. What is missed is not repeated: caches
//! end by themselves, and counts go on from where they were.
//!
//! To add an adapter, see [`crate::ports`].

use std::net::IpAddr;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::domain::{InstanceId, ProductId, UserId};

use super::Unavailable;
use super::view_cache::View;

/// What products look like.
pub type Update = Vec<(ProductId, View)>;

/// Counts since a server began.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Orders that were confirmed, and their units.
    pub sales: u64,
    pub units: u64,
    /// Purchases that were refused because too little was left.
    pub sold_out: u64,
    pub declined: u64,
    /// Orders that were undone for another reason than a card or the customer's wish.
    pub failed: u64,
    /// Purchases that were sent away because too much was going on or something did not answer.
    pub busy: u64,
    pub views: u64,
    /// Looks at products, and those among them that some layer of the cache has answered.
    pub looks: u64,
    pub cache_hits: u64,
    /// Purchases that were answered within each of the bounds of [`measure`](crate::http::measure), and at last all of them.
    pub answered_within: Vec<u64>,
}

/// What one server has to say of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub server: InstanceId,
    pub figures: Figures,
    /// Units sold since its last report, of each product that was; a bounded number of them.
    pub sold: Vec<(ProductId, u64)>,
}

/// Whoever asks for something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Asker {
    Account(UserId),
    /// An address; of IPv6 the first half of it, which is one household.
    Address(IpAddr),
}

/// What a server has let in since it told last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Usage {
    pub server: InstanceId,
    /// How often; a bounded number of those who have asked for most.
    pub let_in: Vec<(Asker, u32)>,
}

/// Carries updates and reports from whoever has them to all servers, that one included.
#[async_trait]
pub trait LiveUpdates: Send + Sync {
    /// Tells all servers what products look like.
    async fn tell(&self, update: &Update) -> Result<(), Unavailable>;

    /// What is told from now on. Interruptions are bridged, what was told meanwhile is missed.
    fn listen(&self) -> BoxStream<'static, Update>;

    /// Tells all servers what this one has counted.
    async fn tell_report(&self, report: &Report) -> Result<(), Unavailable>;

    /// What servers have counted, as [`listen`](Self::listen).
    fn listen_to_reports(&self) -> BoxStream<'static, Report>;

    /// Tells all servers of whom this one has let in a lot.
    async fn tell_usage(&self, usage: &Usage) -> Result<(), Unavailable>;

    /// Whom servers have let in, as [`listen`](Self::listen).
    fn listen_to_usage(&self) -> BoxStream<'static, Usage>;
}
