//! How much one account and one address may ask for, and what a full shop says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::http_client::{Answer, Client, Connection};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

/// An address that is none of ours, as a proxy names it.
const SOMEWHERE: &str = "203.0.113.7";

/// A look at a product from an address behind a proxy.
async fn look_from(client: &Client, address: &str) -> Answer {
    client.get("/api/v1/products/1").header("x-forwarded-for", address).await
}

#[tokio::test]
async fn an_account_that_buys_too_much_is_told_when_to_come_back_and_others_go_on() {
    let shop = TestApp::builder().product(100).config(|config| {
        config.limits.account_purchases_per_s = 1;
        config.limits.account_purchases_at_once = 6;
    });
    let app = shop.start().await;
    let greedy = app.customer(1);
    let mut refused = None;
    // Two servers may let in as much each, before they have heard of each other.
    for n in 0..20 {
        let answer = greedy.buy(1, 1, &n.to_string()).await;
        if answer.status == 429 {
            refused = Some((n, answer));
            break;
        }
        answer.expect(201);
    }
    let (n, refused) = refused.expect("not all of them");
    assert_snapshot!(refused.shown(), @r#"
    429
    content-type: application/problem+json
    retry-after: 1
    {
      "detail": "From this account come more purchases than one may send.",
      "status": 429,
      "title": "Too many requests",
      "type": "/problems/rate-limited"
    }
    "#);
    app.customer(2).buy(1, 1, "a").await.expect(201);
    // The same key buys as soon as there is room for it, and a look has no limit.
    greedy.get("/api/v1/orders").await.expect(200);
    wait_for("the purchase to be let in", PATIENCE, async || {
        let status = greedy.buy(1, 1, &n.to_string()).await.status;
        assert!([201, 429].contains(&status), "{status}");
        status == 201
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn an_address_that_asks_for_too_much_is_refused_by_every_server() {
    const AT_ONCE: u32 = 500;
    let shop = TestApp::builder().product(1).config(|config| {
        config.limits.address_requests_per_s = 1;
        config.limits.address_requests_at_once = AT_ONCE;
    });
    let app = shop.start().await;
    let servers: Vec<_> = app.addresses().into_iter().map(|server| Client::new(server, None)).collect();
    let first = &servers[0];
    for _ in 0..AT_ONCE {
        look_from(first, SOMEWHERE).await.expect(200);
    }
    look_from(first, SOMEWHERE).await.expect(429);
    // Whoever is behind the same proxy but somewhere else, and we ourselves, go on.
    look_from(first, "203.0.113.8").await.expect(200);
    first.get("/api/v1/products/1").await.expect(200);
    // Those who watch over the shop do, too.
    first.get("/healthz").header("x-forwarded-for", SOMEWHERE).await.expect(200);
    // The others hear of it: they refuse long before they have let in as much themselves.
    for other in &servers[1..] {
        let mut looks = 0;
        wait_for("another server to refuse", PATIENCE, async || {
            looks += 1;
            assert!(looks < AT_ONCE / 2, "it has not heard of what the first one has let in");
            look_from(other, SOMEWHERE).await.status == 429
        })
        .await;
    }
    let page = first.get("/").header("accept", "text/html").header("x-forwarded-for", SOMEWHERE).await;
    assert_eq!(page.status, 429);
    app.finish().await;
}

/// Purchases that a shop has room for.
const ROOM: usize = 4;

/// Does something while a shop is full, with purchases under the key `a` that take so long.
async fn while_full<T>(latency_ms: u64, outside: impl AsyncFnOnce(&TestApp) -> T) -> (Arc<TestApp>, T) {
    let shop = TestApp::builder().product(100).config(move |config| {
        config.sale.in_flight_max = ROOM;
        config.payments.faults.latency_ms = latency_ms;
    });
    let app = Arc::new(shop.start().await);
    let buyers: Vec<_> =
        (1..=ROOM as i64).map(|user| Client::new(app.address, app.customer(user).token)).collect();
    let inside = join_all(buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) }));
    let outside = async {
        wait_for("the shop to be full", PATIENCE, async || app.shop.engine.in_flight() == ROOM).await;
        outside(&app).await
    };
    let (_, done) = tokio::join!(inside, outside);
    (app, done)
}

#[tokio::test]
async fn a_full_shop_refuses_at_once_and_sells_again_when_there_is_room() {
    let (app, refused) = while_full(1_500, async |app| {
        let begun = tokio::time::Instant::now();
        let refused = Client::new(app.address, app.customer(9).token).buy(1, 1, "b").await;
        assert!(begun.elapsed() < Duration::from_secs(1), "it is told at once");
        refused
    })
    .await;
    assert_snapshot!(refused.shown(), @r#"
    503
    content-type: application/problem+json
    retry-after: 1
    {
      "detail": "Too many purchases are on their way.",
      "status": 503,
      "title": "Too much is going on",
      "type": "/problems/busy"
    }
    "#);
    app.customer(9).buy(1, 1, "c").await.expect(201);
    Arc::into_inner(app).expect("nobody else has it").finish().await;
}

#[tokio::test]
async fn a_full_shop_asks_nobody_who_they_are_unless_their_key_may_be_on_its_way() {
    let (app, ()) = while_full(5_000, async |app| {
        let [stranger, customer] = [None, app.customer(9).token].map(|token| Client::new(app.address, token));
        assert_eq!(stranger.order("b", &json!({})).await.status, 503);
        assert_eq!(stranger.order("a", &json!({})).await.status, 401);
        assert_eq!(customer.order("a", &json!({})).await.status, 422);
        assert_eq!(customer.buy(1, 1, "a").await.status, 503);
        // A body that comes later than its head is read all the same: the connection goes on.
        let request = customer.buy(1, 1, "b").bytes();
        let (head, body) = request.split_at(request.len() - 8);
        let mut connection = Connection::open(app.address).await;
        for _ in 0..2 {
            connection.write(head).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            connection.write(body).await;
            assert_eq!(connection.answer().await.status, 503);
        }
    })
    .await;
    Arc::into_inner(app).expect("nobody else has it").finish().await;
}
