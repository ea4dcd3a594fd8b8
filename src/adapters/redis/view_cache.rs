//! Views of products that the servers of one shop share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ProductId;
use crate::ports::Unavailable;
use crate::ports::view_cache::{View, ViewCache};

use super::connection::{RedisCluster, Script};

/// Views under `view:{id}`, each with its own end.
pub struct RedisViewCache {
    cluster: Arc<RedisCluster>,
    prefix: String,
    put: Script,
}

impl RedisViewCache {
    /// Views under keys that begin with `prefix`, which is empty but in tests.
    pub fn new(cluster: Arc<RedisCluster>, prefix: &str) -> Self {
        let put = Script::new(include_str!("view_put.lua"));
        Self { cluster, prefix: prefix.to_owned(), put }
    }

    fn key(&self, product: ProductId) -> String {
        format!("{}view:{{{product}}}", self.prefix)
    }
}

#[async_trait]
impl ViewCache for RedisViewCache {
    async fn get(&self, product: ProductId) -> Result<Option<View>, Unavailable> {
        let mut get = redis::cmd("HGET");
        get.arg(self.key(product)).arg("view");
        let text: Option<String> = self.cluster.query(&get).await?;
        // What another release has written in another way is as good as nothing.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    async fn put(&self, product: ProductId, view: &View, ttl: Duration) -> Result<(), Unavailable> {
        let json = serde_json::to_string(view).map_err(|error| Unavailable(error.to_string()))?;
        let until = view.as_of.plus(ttl);
        let arguments = [view.version.to_string(), view.as_of.0.to_string(), json, until.0.to_string()];
        self.cluster.run(&self.put, &[self.key(product)], &arguments).await
    }
}
