//! The Redis Cluster that tests run over: a real one, which they share. Each test has keys of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::redis::RedisCluster;
use holdfast::domain::ProductId;
use redis::cluster_async::ClusterConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::goods::new_order_id;

/// Names the cluster, when it is not the one of `cargo xtask services up`.
const VARIABLE: &str = "HOLDFAST_TEST_REDIS";

/// Addresses of its nodes.
pub fn addresses() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        let nodes: Vec<String> = (17_001..=17_006).map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis://{}", nodes.join(","))
    })
}

/// A connection of its own to the cluster.
pub async fn cluster() -> Arc<RedisCluster> {
    let addresses = addresses();
    let cluster = RedisCluster::new(&addresses, None).expect("addresses of Redis nodes");
    if let Err(error) = cluster.check().await {
        panic!(
            "Redis Cluster does not answer at {addresses}: start it with `cargo xtask services up`, or name \
             yours in {VARIABLE} ({error})"
        );
    }
    Arc::new(cluster)
}

/// What no other test's keys begin with.
pub fn fresh_prefix() -> String {
    format!("test-{}:", new_order_id())
}

/// A plain client of the cluster.
pub async fn client() -> ClusterConnection {
    let nodes: Vec<String> = nodes().map(|node| format!("redis://{node}")).collect();
    let client = redis::cluster::ClusterClient::new(nodes).expect("addresses of Redis nodes");
    client.get_async_connection().await.expect("Redis Cluster answers")
}

fn nodes() -> impl Iterator<Item = String> {
    let addresses = addresses();
    let list = addresses.trim_start_matches("redis://").split(',').map(|node| node.trim().to_owned());
    list.collect::<Vec<_>>().into_iter()
}

/// The address of the master that has each of these keys.
pub async fn masters_of(keys: &[String]) -> Vec<String> {
    let mut client = client().await;
    type Node = (String, u16, String, redis::Value);
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let ranges: Vec<Vec<redis::Value>> = slots.query_async(&mut client).await.expect("slots");
    let ranges: Vec<(u16, u16, Node)> = ranges
        .into_iter()
        .map(|range| {
            let [first, last, master] = &range[..3] else { unreachable!("three of three") };
            let read = "a range of slots";
            (
                redis::from_redis_value_ref(first).expect(read),
                redis::from_redis_value_ref(last).expect(read),
                redis::from_redis_value_ref(master).expect(read),
            )
        })
        .collect();
    let mut masters = Vec::new();
    for key in keys {
        let mut slot = redis::cmd("CLUSTER");
        slot.arg("KEYSLOT").arg(key);
        let slot: u16 = slot.query_async(&mut client).await.expect("a slot");
        let range = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        let (_, _, (host, port, ..)) = range.expect("every slot has a master");
        masters.push(format!("{host}:{port}"));
    }
    masters
}

/// A product on each master, by the master's address.
pub async fn a_product_on_each_master() -> BTreeMap<String, ProductId> {
    let keys: Vec<String> = (1..=64).map(|id| format!("{{{id}}}")).collect();
    (1..).map(ProductId).zip(masters_of(&keys).await).map(|(product, master)| (master, product)).collect()
}

/// Every key that begins with the prefix, on whichever node.
pub async fn keys_with(prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for master in a_product_on_each_master().await.into_keys() {
        let client = redis::Client::open(format!("redis://{master}")).expect("an address");
        let mut node = client.get_multiplexed_async_connection().await.expect("the node answers");
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1_000);
            let (next, some): (u64, Vec<String>) = scan.query_async(&mut node).await.expect("keys");
            keys.extend(some);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    keys.sort_unstable();
    keys
}

/// A port of this machine that nobody listens on.
pub async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// One node as a cluster that can go away without harm to the others that use it: a proxy before it
/// that says that it has all slots. Dropped, it closes every connection and listens no more.
pub struct OneNode {
    accepting: JoinHandle<()>,
}

impl OneNode {
    /// Stands before the node at `master`.
    pub async fn before(master: &str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let master = master.to_owned();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let master = master.clone();
                connections.spawn(async move {
                    // An end of the connection at either side is what a proxy is there for.
                    let _ = pass_on(client, &master, port).await;
                });
            }
        });
        Self { accepting }
    }
}

impl Drop for OneNode {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on in both directions, and answers the question for slots itself.
async fn pass_on(mut client: TcpStream, master: &str, port: u16) -> std::io::Result<()> {
    let mut node = TcpStream::connect(master).await?;
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let asked = &asked[..read?];
                if asked.is_empty() {
                    return Ok(());
                }
                // The client waits for this answer before it asks anything else on a connection.
                if asked.windows(5).any(|word| word == b"SLOTS") {
                    let slots = format!(
                        "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n",
                        "0".repeat(40),
                    );
                    client.write_all(slots.as_bytes()).await?;
                } else {
                    node.write_all(asked).await?;
                }
            }
            read = node.read(&mut answered) => {
                let answered = &answered[..read?];
                if answered.is_empty() {
                    return Ok(());
                }
                client.write_all(answered).await?;
            }
        }
    }
}

/// How long a test waits for Redis to do what it will do.
pub const PATIENCE: Duration = Duration::from_secs(20);
