//! Two servers over MySQL, Redis and Kafka.

use std::time::Duration;

use holdfast::ports::ledger::Role;
use mysql_async::prelude::Queryable as _;

use crate::support::cluster_site::ClusterSite;
use crate::support::exposition::Exposition;
use crate::support::http_client::Client;
use crate::support::process::Server;
use crate::support::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

const CONFIRMED: &str = "holdfast_sagas_total{result=\"confirmed\",reason=\"\"}";

/// Buys one unit for each of these customers, alternating between the servers.
async fn buy(servers: &[Server], product: i64, users: std::ops::Range<i64>) {
    let purchases = users.map(|user| {
        let server = &servers[usize::try_from(user).expect("small") % servers.len()];
        let customer = Client::new(server.address(), Some(server.token(user, Role::Customer)));
        async move { customer.buy(product, 1, "a").await.expect(201) }
    });
    futures_util::future::join_all(purchases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sales_counted_are_orders_confirmed_across_a_restart_of_one_server() {
    let site = ClusterSite::telling(&[("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "200")]).await;
    let ids = site.import(&[("A".to_owned(), 500, 250)]).await;
    let product = ids["A"];
    let mut servers = Vec::from(site.open_two().await);
    buy(&servers, product, 1..101).await;
    let count = async |servers: &[Server]| {
        let mut sum = 0.0;
        for server in servers {
            sum += Exposition::of(server).await.sum(CONFIRMED.split('{').next().expect("a name"));
        }
        sum
    };
    // Nothing is on its way, so what it shows last is all that it has counted.
    let gone = servers.remove(0);
    let of_gone = Exposition::of(&gone).await.get(CONFIRMED).expect("it has sold");
    gone.stop().await;
    buy(&servers, product, 101..151).await;
    servers.push(site.open().await);
    buy(&servers, product, 151..251).await;
    assert_eq!(of_gone + count(&servers).await, 250.0);
    let mut connection = site.database.connection().await;
    let sql = "SELECT COUNT(*) FROM orders WHERE status = 'CONFIRMED'";
    let confirmed: i64 = connection.query_first(sql).await.expect("it answers").expect("a count");
    assert_eq!(confirmed, 250);
    drop(connection);
    for server in &servers {
        // Any server shows what the whole shop has sold, and that all is well.
        wait_for("what the whole shop has sold", PATIENCE, async || {
            let figures = Exposition::of(server).await;
            figures.get("holdfast_shop_sales_total") == Some(250.0)
                && figures.get("holdfast_oversold_units") == Some(0.0)
                && figures.get("holdfast_charged_without_order") == Some(0.0)
                && figures.get("holdfast_outbox_unsent_entries") == Some(0.0)
                && figures.get("holdfast_gate_drift_units") == Some(0.0)
                // Three of each of four topics.
                && figures.get("holdfast_event_log_partitions{state=\"whole\"}") == Some(12.0)
                && figures.get("holdfast_consumer_lag_events{group=\"analytics-service\"}") == Some(0.0)
        })
        .await;
        let figures = Exposition::of(server).await;
        figures.assert_described();
        for name in [
            "holdfast_redis_call_duration_seconds_count",
            "holdfast_db_connections",
            "holdfast_db_connections_max",
            "holdfast_db_connection_wait_seconds_count",
            "holdfast_db_commit_batch_size_count",
        ] {
            assert!(figures.sum(name) > 0.0, "{name}");
        }
    }
    for server in servers {
        server.stop().await;
    }
}
