//! [`LiveUpdates`] by publish and subscribe: what one node is told, every node of the cluster tells.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ports::Unavailable;
use crate::ports::live::{LiveUpdates, Report, Update, Usage};

use super::connection::RedisCluster;

/// Pause before another node is listened to.
const PAUSE: Duration = Duration::from_millis(200);

/// Updates, reports and usage, each over a channel of its own.
pub struct RedisLiveUpdates {
    cluster: Arc<RedisCluster>,
    updates: String,
    reports: String,
    usage: String,
}

impl RedisLiveUpdates {
    /// Updates over channels whose names begin with `prefix`, which is empty but in tests.
    pub fn new(cluster: Arc<RedisCluster>, prefix: &str) -> Self {
        let channel = |name| format!("{prefix}{name}");
        Self { cluster, updates: channel("live"), reports: channel("reports"), usage: channel("usage") }
    }

    async fn publish(&self, channel: &str, message: &impl Serialize) -> Result<(), Unavailable> {
        let json = serde_json::to_string(message).map_err(|error| Unavailable(error.to_string()))?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(json);
        self.cluster.query::<i64>(&publish).await.map(drop)
    }

    fn subscribe<T: DeserializeOwned + Send + 'static>(&self, channel: &str) -> BoxStream<'static, T> {
        let (cluster, channel) = (Arc::clone(&self.cluster), channel.to_owned());
        // Node after node, for as long as each of them lives.
        let nodes = stream::unfold(0, move |turn: usize| {
            let (cluster, channel) = (Arc::clone(&cluster), channel.clone());
            async move {
                if turn > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
                let told = match cluster.subscribe(turn, &channel).await {
                    Ok(messages) => messages.left_stream(),
                    Err(error) => {
                        tracing::debug!(%error, "live updates cannot be heard for a moment");
                        stream::empty().right_stream()
                    }
                };
                Some((told, turn.wrapping_add(1)))
            }
        });
        // What another release has written in another way is as good as nothing.
        nodes.flatten().filter_map(async |text: String| serde_json::from_str(&text).ok()).boxed()
    }
}

#[async_trait]
impl LiveUpdates for RedisLiveUpdates {
    async fn tell(&self, update: &Update) -> Result<(), Unavailable> {
        self.publish(&self.updates, update).await
    }

    fn listen(&self) -> BoxStream<'static, Update> {
        self.subscribe(&self.updates)
    }

    async fn tell_report(&self, report: &Report) -> Result<(), Unavailable> {
        self.publish(&self.reports, report).await
    }

    fn listen_to_reports(&self) -> BoxStream<'static, Report> {
        self.subscribe(&self.reports)
    }

    async fn tell_usage(&self, usage: &Usage) -> Result<(), Unavailable> {
        self.publish(&self.usage, usage).await
    }

    fn listen_to_usage(&self) -> BoxStream<'static, Usage> {
        self.subscribe(&self.usage)
    }
}
