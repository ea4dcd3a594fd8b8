//! [`LiveUpdates`] by publish and subscribe: what one node is told, every node of the cluster tells.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::ports::Unavailable;
use crate::ports::live::{LiveUpdates, Update};

use super::connection::RedisCluster;

/// Pause before another node is listened to.
const PAUSE: Duration = Duration::from_millis(200);

/// Updates over one channel.
pub struct RedisLiveUpdates {
    cluster: Arc<RedisCluster>,
    channel: String,
}

impl RedisLiveUpdates {
    /// Updates over a channel whose name begins with `prefix`, which is empty but in tests.
    pub fn new(cluster: Arc<RedisCluster>, prefix: &str) -> Self {
        Self { cluster, channel: format!("{prefix}live") }
    }
}

#[async_trait]
impl LiveUpdates for RedisLiveUpdates {
    async fn tell(&self, update: &Update) -> Result<(), Unavailable> {
        let json = serde_json::to_string(update).map_err(|error| Unavailable(error.to_string()))?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg(json);
        self.cluster.query::<i64>(&publish).await.map(drop)
    }

    fn listen(&self) -> BoxStream<'static, Update> {
        let (cluster, channel) = (Arc::clone(&self.cluster), self.channel.clone());
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
