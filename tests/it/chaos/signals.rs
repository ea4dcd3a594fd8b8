//! Being told to stop in the middle of a sale.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast::ports::ledger::Role;
use rustix::process::Signal;
use serde_json::json;

use super::books::Books;
use super::load::{Buyers, Template};
use crate::support::process::{PATIENCE, Site};
use crate::support::retail::DAYS;
use crate::support::wait_for;

/// Buyers whose payment takes a while.
const SLOW_BUYERS: i64 = 40;

#[tokio::test]
async fn a_shop_told_to_stop_answers_what_is_under_way_however_often_it_is_told() {
    let site = Site::new();
    site.import("sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,100\n").await;
    let slow = ("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "700".to_owned());
    let server = site.shop().envs(&[slow]).open().await;
    let lamp = server.admin().await.get("/api/v1/products").await["items"][0]["id"].clone();

    let body = json!({ "lines": [{ "product_id": lamp, "quantity": 1 }] });
    let mut buyers = Vec::new();
    for user in 1..=SLOW_BUYERS {
        let (mut client, body) = (server.client(&server.token(user, Role::Customer)).await, body.clone());
        buyers.push(tokio::spawn(async move { client.order("lamp", &body).await }));
    }
    let mut admin = server.admin().await;
    wait_for("every payment to be under way", PATIENCE, async || {
        i64::try_from(admin.unfinished().await.len()).expect("few") == SLOW_BUYERS
    })
    .await;
    server.signal(Signal::TERM);
    let address = server.target.clone();
    wait_for("the shop to let nobody in any more", PATIENCE, async || {
        holdfast::load::Connection::open(&address, PATIENCE).await.is_err()
    })
    .await;
    server.signal(Signal::TERM);
    server.signal(Signal::INT);

    for buyer in buyers {
        let (status, order) = buyer.await.expect("no panic").expect("a request under way is answered");
        assert_eq!((status, &order["status"]), (201, &json!("CONFIRMED")), "{order}");
    }
    let (status, _) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    let books = Books::of(&site);
    books.assert_balanced(&BTreeMap::from([("lamp".to_owned(), 100)]));
    assert_eq!(books.orders.len(), usize::try_from(SLOW_BUYERS).expect("few"));
    site.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_told_to_stop_under_load_leaves_nothing_unfinished() {
    let template = Arc::new(Template::of(DAYS[2]).await);
    let mut acknowledged = 0;
    for round in 0..5 {
        let site = Site::new();
        template.site.copy_data_to(&site);
        let server = site.shop().open().await;
        let mut buyers = Buyers::new(&template, round, &["tok_declined", "tok_duplicate"]);
        buyers.begin(&server);
        let mut admin = server.admin().await;
        wait_for("orders to be under way", PATIENCE, async || !admin.unfinished().await.is_empty()).await;
        server.signal(Signal::TERM);
        buyers.given_up().await;
        let (status, _) = server.ended().await;
        assert_eq!(status.code(), Some(0), "{}", site.logs());

        // Without another start in between: there is nothing to recover.
        let books = Books::of(&site);
        books.assert_balanced(&template.stocked);
        buyers.assert_in(&books);
        site.audited().await;
        acknowledged += buyers.acknowledged();
    }
    assert!(acknowledged > 0, "nobody bought anything");
}
