//! `holdfast events` over Kafka.

use std::collections::BTreeMap;

use serde_json::json;

use super::buyers::{Clients, body_of};
use crate::support::cluster_site::ClusterSite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_can_be_published_and_read_again_without_a_second_effect() {
    let site = ClusterSite::telling(&[]).await;
    let goods = vec![("lamp".to_owned(), 30, 250)];
    let lamp = site.import(&goods).await["lamp"];
    let server = site.open().await;
    let (mut clients, token_of) = (Clients::default(), site.customers());
    for user in 1..=20 {
        let body = body_of(&BTreeMap::from([(lamp, 1)]), None);
        let order = clients.order(&server.target, token_of(user), "key", &body).await;
        assert_eq!(order.expect("an answer").0, 201);
    }
    site.audited().await;
    let before = site.database.contents().await;
    let events = async |arguments: &[&str]| {
        site.holdfast(&[&["events", "--json"], arguments].concat()).run().await.json()
    };
    let day = ["publish", "--from", "2020-01-01T00:00:00Z", "--to", "2120-01-01T00:00:00Z"];
    assert_eq!(events(&day).await, json!({ "events": 100 }));
    let nothing = ["publish", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"];
    assert_eq!(events(&nothing).await, json!({ "events": 0 }));
    site.audited().await;
    assert!(site.database.contents().await == before, "the consumers have had all of it");
    server.stop().await;
    // Nobody reads now, so a group may begin again.
    for group in ["analytics-service", "notification-service"] {
        crate::support::wait_for("the group has gone", crate::support::process::PATIENCE, async || {
            site.holdfast(&["events", "rewind", group]).run().await.code == Some(0)
        })
        .await;
        assert!(events(&["lag"]).await[group].as_u64().is_some_and(|lag| lag > 0));
    }
    let server = site.open().await;
    site.audited().await;
    server.stop().await;
    assert!(site.database.contents().await == before, "nothing has a second effect");
}
