//! `holdfast events` over a shop of one process, and the roles of a server.

use std::collections::BTreeSet;

use holdfast::ports::event_log::Group;
use holdfast::ports::ledger::Role;
use serde_json::{Value, json};

use crate::support::process::{PATIENCE, Server, Site};
use crate::support::wait_for;

async fn shop() -> Site {
    let site = Site::new();
    site.import("sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,10\n").await;
    site
}

async fn buy(server: &Server, key: &str) {
    let mut customer = server.client(&server.token(5, Role::Customer)).await;
    let body = json!({ "lines": [{ "product_id": 1, "quantity": 1 }] });
    assert_eq!(customer.order(key, &body).await.expect("an answer").0, 201);
}

/// Opens the shop until every group has read to the end, and stops it.
async fn consumed(site: &Site, work: impl AsyncFnOnce(&Server)) {
    let server = site.shop().open().await;
    work(&server).await;
    let store = rusqlite::Connection::open(site.data().join("consumers.sqlite3")).expect("the store");
    let ledger = rusqlite::Connection::open(site.ledger()).expect("the ledger");
    wait_for("every group has read to the end", PATIENCE, async || {
        let end: i64 =
            ledger.query_row("SELECT max(position) FROM outbox", [], |row| row.get(0)).expect("a number");
        let sql = "SELECT count(*) FROM consumer_offsets WHERE position = ?";
        let there: i64 = store.query_row(sql, [end], |row| row.get(0)).expect("a number");
        there == i64::try_from(Group::ALL.len()).expect("few")
    })
    .await;
    server.stop().await;
}

async fn events(site: &Site, arguments: &[&str]) -> Value {
    site.holdfast(&[&["events", "--json"], arguments].concat()).run().await.json()
}

#[tokio::test]
async fn a_group_can_be_let_read_everything_again_and_nothing_is_counted_twice() {
    let site = shop().await;
    consumed(&site, async |server| {
        buy(server, "a").await;
        buy(server, "b").await;
    })
    .await;
    let nothing: serde_json::Map<String, Value> =
        Group::ALL.iter().map(|group| (group.to_string(), json!(0))).collect();
    assert_eq!(events(&site, &["lag"]).await, Value::Object(nothing.clone()));
    for group in Group::ALL {
        assert_eq!(events(&site, &["rewind", group.as_str()]).await, json!({ "group": group.as_str() }));
    }
    let lag = events(&site, &["lag"]).await;
    assert!(lag.as_object().expect("an object").values().all(|lag| *lag == 4), "{lag}");
    let behind = site.audited().await;
    assert_eq!(behind["lag"].as_object().map(serde_json::Map::len), Some(Group::ALL.len()));
    consumed(&site, async |_| {}).await;
    let report = site.audited().await;
    assert_eq!(
        (&report["broken"], &report["lag"]),
        (&Value::Null, &json!({})),
        "mails and sums are as before"
    );
}

#[tokio::test]
async fn a_row_that_nobody_can_read_is_put_aside_and_read_when_it_can_be() {
    let site = shop().await;
    consumed(&site, async |server| buy(server, "a").await).await;
    for group in Group::ALL {
        events(&site, &["rewind", group.as_str()]).await;
    }
    let change = |sql: &str| {
        let ledger = rusqlite::Connection::open(site.ledger()).expect("the ledger");
        assert_eq!(ledger.execute(sql, []).expect("it answers"), 1);
    };
    change("UPDATE outbox SET events = replace(events, 'SagaStarted', 'SagaDreamt') WHERE position = 1");
    consumed(&site, async |server| buy(server, "b").await).await;
    let letters = events(&site, &["dead-letters"]).await;
    let groups: BTreeSet<&str> =
        letters.as_array().expect("a list").iter().filter_map(|letter| letter["group"].as_str()).collect();
    assert_eq!(groups, Group::ALL.map(Group::as_str).into(), "{letters}");
    let all = Group::ALL.len();
    assert_eq!(events(&site, &["resend"]).await, json!({ "sent": 0, "left": all }));
    change("UPDATE outbox SET events = replace(events, 'SagaDreamt', 'SagaStarted') WHERE position = 1");
    assert_eq!(events(&site, &["resend"]).await, json!({ "sent": all, "left": 0 }));
    assert_eq!(events(&site, &["dead-letters"]).await, json!([]));
    consumed(&site, async |_| {}).await;
    let report = site.audited().await;
    assert_eq!((&report["broken"], &report["lag"]), (&Value::Null, &json!({})));
}

#[tokio::test]
async fn what_is_no_group_no_time_and_no_role_is_refused() {
    let site = shop().await;
    let refusals: [(&[&str], &[&str]); 6] = [
        (&["events", "rewind", "nobody"], &["analytics-service"]),
        (
            &["events", "publish", "--from", "yesterday", "--to", "2026-11-27T09:00:00Z"],
            &["--from", "yesterday"],
        ),
        (
            &["events", "publish", "--from", "2026-11-27T09:00:00Z", "--to", "2026-11-27T09:00:00Z"],
            &["before"],
        ),
        (&["serve", "--roles", "http,cook"], &["cook"]),
        (&["serve", "--roles", "http"], &["saga"]),
        (&["serve", "--roles", ""], &["roles"]),
    ];
    for (arguments, reasons) in refusals {
        site.holdfast(arguments).run().await.refused(reasons);
    }
    let wrong = [
        ("HOLDFAST_EVENTS__URL", "kafka://127.0.0.1:9092", "events.url"),
        ("HOLDFAST_MAIL__URL", "smtp://user:secret@127.0.0.1", "mail.url"),
        ("HOLDFAST_MAIL__URL", "carrier://pigeon", "mail.url"),
    ];
    for (name, value, reason) in wrong {
        let finished = site.shop().env(name, value).run().await;
        assert!(!finished.stderr.contains("secret"), "{finished:?}");
        finished.refused(&[reason]);
    }
}

#[tokio::test]
async fn a_server_that_does_not_sell_only_says_how_it_is() {
    let site = shop().await;
    let server = site.shop().arg("--roles").arg("saga,analytics").open().await;
    let mut client = server.client(&server.token(5, Role::Customer)).await;
    assert_eq!(client.get("/healthz").await["status"], "ok");
    assert_eq!(client.send("GET", "/api/v1/products/1", None, None).await.expect("an answer").0, 404);
    server.stop().await;
}
