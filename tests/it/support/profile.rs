//! Which back ends the suites of the API and of the sagas run over: one process with its files, or two
//! servers that share the real MySQL and Redis Cluster. `cargo xtask test` runs them over both.

use std::path::Path;

use holdfast::config::Config;
use tempfile::TempDir;

use super::database::Database;
use super::{kafka, redis_cluster};

/// Names the profile of a run.
const VARIABLE: &str = "HOLDFAST_TEST_PROFILE";

/// Connections of each server of a test.
const CONNECTIONS: usize = 12;

/// Whether this run is over the stores of a cluster.
pub fn is_cluster() -> bool {
    match std::env::var(VARIABLE).as_deref() {
        Ok("cluster") => true,
        Ok("embedded") | Err(_) => false,
        Ok(other) => panic!("{VARIABLE} is embedded or cluster, not {other:?}"),
    }
}

/// Where the stores of one shop are. They outlive every server that opens them.
pub struct Stores {
    directory: TempDir,
    cluster: Option<Cluster>,
}

/// What a shop has of its own in the stores of the cluster.
pub struct Cluster {
    pub database: Database,
    /// Stands before every key in Redis.
    pub prefix: String,
    /// Stands before every topic in Kafka, where events go there.
    pub topics: Option<String>,
}

impl Stores {
    /// Stores of the profile of this run.
    pub async fn fresh() -> Self {
        if is_cluster() { Self::cluster().await } else { Self::embedded() }
    }

    pub fn embedded() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), cluster: None }
    }

    pub async fn cluster() -> Self {
        Self::shared(None).await
    }

    /// The same, and events go to Kafka.
    pub async fn cluster_with_kafka() -> Self {
        let topics = kafka::fresh_prefix();
        kafka::log_with(&topics).await;
        Self::shared(Some(topics)).await
    }

    async fn shared(topics: Option<String>) -> Self {
        let (database, prefix) = (Database::fresh().await, redis_cluster::fresh_prefix());
        let cluster = Some(Cluster { database, prefix, topics });
        Self { directory: tempfile::tempdir().expect("a directory"), cluster }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn in_cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// How many servers share them.
    pub fn servers(&self) -> usize {
        if self.cluster.is_some() { 2 } else { 1 }
    }

    /// Makes a configuration one of these stores.
    pub fn configure(&self, config: &mut Config) {
        config.data_dir = self.path().to_owned();
        if let Some(Cluster { database, prefix, topics }) = &self.cluster {
            config.ledger.url = database.url();
            config.ledger.password = Some(Database::password().into());
            config.gate.url = redis_cluster::addresses();
            config.gate.prefix.clone_from(prefix);
            config.cluster.servers = 2;
            if let Some(topics) = topics {
                config.events.url = kafka::url();
                config.events.prefix.clone_from(topics);
                config.events.replication = kafka::REPLICATION;
            }
            config.ledger.connections_max = holdfast::config::CONNECTIONS_OF_COMMANDS + 2 * CONNECTIONS;
        }
    }
}
