//! What the doctor says of stores that are set so that orders are lost. These tests change settings of services that
//! others use, so they run alone.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;

use super::doctor::{diagnosis, doctor, of_check};
use super::outages::Services;
use crate::support::cluster_site::ClusterSite;
use crate::support::database::Database;
use crate::support::process::Finished;

/// The administrator of the primary, whom only its socket lets in.
async fn administrator() -> Conn {
    let mut primary = Database::connections_to_members().await.swap_remove(0);
    let socket: Option<String> = primary.query_first("SELECT @@socket").await.expect("it answers");
    primary.disconnect().await.expect("it says goodbye");
    let options = OptsBuilder::default().socket(socket).user(Some("root"));
    Conn::new(options).await.expect("the administrator comes in")
}

async fn node() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open("redis://127.0.0.1:17001").expect("an address");
    client.get_multiplexed_async_connection().await.expect("the node answers")
}

/// What the doctor and a server say.
struct Said {
    doctor: (Option<i32>, Vec<Value>),
    server: Finished,
}

impl Said {
    async fn by(site: &ClusterSite) -> Self {
        Self { doctor: diagnosis(doctor(site, &[])).await, server: site.shop().run().await }
    }

    /// Both refuse what is wrong, in the same words.
    fn refused(self, check: &str, says: &str) {
        let (code, findings) = self.doctor;
        assert_eq!(code, Some(1), "{findings:?}");
        let found = of_check(&findings, check);
        assert!(found.len() == 1 && found[0].0 == "fail" && found[0].1.contains(says), "{check}: {found:?}");
        self.server.refused(&[&format!("FAIL {check}"), &found[0].1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_forgets_commits_and_a_gate_that_forgets_stock_are_refused() {
    let _services = Services::of_ours();
    let site = ClusterSite::new().await;
    let mut root = administrator().await;
    for (name, value) in [("innodb_flush_log_at_trx_commit", 2), ("sync_binlog", 0)] {
        root.query_drop(format!("SET GLOBAL {name} = {value}")).await.expect("a setting");
        let said = Said::by(&site).await;
        // Before anything else can fail: others need it as it was.
        root.query_drop(format!("SET GLOBAL {name} = 1")).await.expect("a setting");
        said.refused("database durability", &format!("set {name} = 1"));
    }
    root.disconnect().await.expect("it says goodbye");

    let mut node = node().await;
    let mut policy = async |policy: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory-policy").arg(policy);
        set.query_async::<()>(&mut node).await.expect("a setting");
    };
    policy("allkeys-lru").await;
    let said = Said::by(&site).await;
    policy("noeviction").await;
    said.refused("gate memory", "set maxmemory-policy noeviction");

    let (code, findings) = diagnosis(doctor(&site, &[])).await;
    assert_eq!(code, Some(0), "{findings:?}");
    site.open().await.stop().await;
}
