//! A shop whose payment gateway is another server, as `holdfast gateway` is, and that server itself.

use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::join_all;
use holdfast::adapters::gateway::Faults;
use holdfast::config::Config;
use holdfast::ports::payments::ChargeState;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::gateway::Gateway;
use crate::support::goods::new_order_id;
use crate::support::http_client::{Client, Connection};
use crate::support::shop::NO_FAULTS;
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

const SECRET: &str = "what the shop and its gateway know";

struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("gateway.db")
    }
}

async fn gateway_at(address: SocketAddr, file: &Path) -> Gateway {
    Gateway::start_at(address, file, NO_FAULTS, Some(SECRET)).await
}

/// An address at which nobody listens.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address")
}

/// Makes a shop a client of the gateway at this address.
fn paying_at(address: SocketAddr) -> impl FnOnce(&mut Config) + Send + 'static {
    move |config| {
        config.payments.url = format!("http://{address}");
        config.payments.secret = Some(SECRET.to_owned().into());
        config.payments.down_ms = 50;
    }
}

async fn states(app: &TestApp) -> Vec<ChargeState> {
    app.charges().await.iter().map(|charge| charge.state).collect()
}

#[tokio::test]
async fn a_shop_sells_through_a_gateway_of_its_own() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some(SECRET)).await;
    let app = TestApp::builder().product(50).config(paying_at(gateway.address)).start().await;
    let buyers: Vec<_> = (1..=20).map(|id| app.customer(id)).collect();
    join_all(buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) })).await;
    let declined = app.customer(1).buy_with("tok_declined", 1, "b").await.expect(402);
    assert_eq!(declined.json()["order"]["reason"], "PAYMENT_DECLINED");
    app.customer(2).buy_with("tok_duplicate", 1, "b").await.expect(201);
    let order = app.customer(3).buy(1, 1, "b").await.expect(201).id();
    app.customer(3).cancel(&order).await.expect(200);
    let mut states = states(&app).await;
    states.sort_by_key(|state| format!("{state:?}"));
    let mut wanted = vec![ChargeState::Captured; 21];
    wanted.extend([ChargeState::Declined, ChargeState::Refunded]);
    assert_eq!(states, wanted);
    app.finish().await;
    gateway.stop().await;
}

#[tokio::test]
async fn answers_that_are_lost_on_the_wire_are_settled() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some(SECRET)).await;
    let app = TestApp::builder()
        .product(3)
        .config(paying_at(gateway.address))
        .config(|config| config.sale.act_tries_max = 3)
        .start()
        .await;
    for (token, state) in
        [("tok_timeout_before", ChargeState::Voided), ("tok_timeout_after", ChargeState::Refunded)]
    {
        let unknown = app.customer(1).buy_with(token, 1, token).await.expect(502);
        assert_eq!(unknown.json()["order"]["reason"], "PAYMENT_UNKNOWN");
        assert_eq!(states(&app).await.last(), Some(&state), "{token}");
    }
    assert_eq!(app.levels().await, [(3, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn lost_answers_are_repeated_until_one_arrives() {
    let site = Site::new();
    let faults = Faults { timeout_before_rate: 0.2, timeout_after_rate: 0.3, ..NO_FAULTS };
    let gateway = Gateway::start(&site.file(), faults, Some(SECRET)).await;
    let app = TestApp::builder()
        .product(40)
        .config(paying_at(gateway.address))
        .config(|config| {
            config.sale.act_tries_max = 100;
            config.sale.pause_max_ms = 5;
            config.payments.failures_max = 1_000;
        })
        .start()
        .await;
    let buyers: Vec<_> = (1..=40).map(|id| app.customer(id)).collect();
    join_all(buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) })).await;
    assert_eq!(states(&app).await, [ChargeState::Captured; 40]);
    app.finish().await;
}

#[tokio::test]
async fn a_gateway_slower_than_the_shop_is_patient_leaves_nothing_charged() {
    let site = Site::new();
    let faults = Faults { timeout_ms: 60_000, ..NO_FAULTS };
    let gateway = Gateway::start(&site.file(), faults, Some(SECRET)).await;
    let app = TestApp::builder()
        .product(1)
        .config(paying_at(gateway.address))
        .config(|config| {
            config.payments.timeout_ms = 100;
            config.sale.act_tries_max = 2;
        })
        .start()
        .await;
    // It holds the connection for longer than anybody waits.
    app.customer(1).buy_with("tok_timeout_after", 1, "a").await.expect(502);
    assert_eq!(states(&app).await, [ChargeState::Refunded]);
    app.finish().await;
}

#[tokio::test]
async fn a_shop_opens_without_its_gateway_and_sells_as_soon_as_it_is_there() {
    let (site, address) = (Site::new(), free_address().await);
    let app = TestApp::builder()
        .product(5)
        .config(paying_at(address))
        .config(|config| {
            config.sale.answer_within_ms = 1_000;
            config.sale.act_tries_max = 3;
        })
        .start()
        .await;
    let (ann, bob) = (app.customer(1), app.customer(2));
    // Whoever finds out waits in vain; after that nobody waits.
    let first = ann.buy(1, 1, "a").await.expect(202).id();
    let (mut tries, mut in_a_row) = (0, 0);
    wait_for("every server has found out", PATIENCE, async || {
        tries += 1;
        let refused = bob.buy(1, 1, &format!("try-{tries}")).await.status == 503;
        in_a_row = if refused { in_a_row + 1 } else { 0 };
        in_a_row > app.servers()
    })
    .await;
    let refused = bob.buy(1, 1, "a").await.expect(503);
    assert_eq!(refused.brief(), "503 unavailable: A part of the shop did not answer.");
    // A key that has an order is told of it all the same.
    assert_eq!(ann.buy(1, 1, "a").await.expect(202).id(), first);

    let gateway = gateway_at(address, &site.file()).await;
    let failed = async || ann.view_order(&first).await.json()["status"] == "FAILED";
    wait_for("the order that could not be paid is undone", PATIENCE, failed).await;
    let sells = async || [201, 502].contains(&bob.buy(1, 1, "a").await.status);
    wait_for("the shop sells again", PATIENCE, sells).await;
    ann.buy(1, 1, "b").await.expect(201);
    app.quiet().await;
    app.finish().await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_order_outlasts_a_gateway_that_is_started_again() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some(SECRET)).await;
    let address = gateway.address;
    let app = TestApp::builder().product(5).config(paying_at(address)).start().await;
    app.customer(1).buy(1, 1, "a").await.expect(201);
    gateway.stop().await;
    let buyer = app.customer(2);
    let (bought, gateway) = tokio::join!(async { buyer.buy(1, 1, "a").await }, async {
        wait_for("the shop has noticed", PATIENCE, async || app.shop.stores.payments.is_down()).await;
        gateway_at(address, &site.file()).await
    });
    // In the cluster profile the other server takes the order.
    if app.servers() == 1 {
        bought.expect(201);
    }
    app.finish().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_shop_that_does_not_know_the_secret_sells_nothing() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some("another one")).await;
    let app = TestApp::builder()
        .product(1_000)
        .config(paying_at(gateway.address))
        .config(|config| config.sale.answer_within_ms = 500)
        .start()
        .await;
    let buyer = app.customer(1);
    // A key that has an order is told of it; and each server has to see for itself.
    let mut key = 0;
    wait_for("the shop sees that nobody could pay", PATIENCE, async || {
        key += 1;
        buyer.buy(1, 1, &key.to_string()).await.status == 503
    })
    .await;
    let error = app.shop.stores.payments.ping().await.expect_err("it is not let in").to_string();
    assert!(!error.contains(SECRET), "{error}");
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_answers_every_call_as_described() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some(SECRET)).await;
    let shop = Client::new(gateway.address, Some(SECRET.to_owned()));
    let [order, other] = [new_order_id(), new_order_id()];
    let (path, money) = (format!("/v1/charges/{order}"), json!({ "amount": 500, "currency": "EUR" }));
    let put = |path: String, body: &serde_json::Value| shop.request("PUT", &path).json(body);

    shop.get("/healthz").await.expect(200);
    shop.get(&path).await.expect(404);
    let captured = put(path.clone(), &money).await.expect(200).json();
    assert_eq!((&captured["state"], &captured["capture"]["amount"]), (&json!("captured"), &json!(500)));
    assert_eq!(put(path.clone(), &money).await.expect(200).json(), captured, "asked again");
    assert_eq!(shop.post(&format!("{path}/void"), &money).await.expect(200).json(), captured);
    let refunded = shop.request("POST", &format!("{path}/refund")).await.expect(200).json();
    assert_eq!((&refunded["state"], &refunded["capture"]), (&json!("refunded"), &captured["capture"]));
    assert_eq!(shop.request("POST", &format!("{path}/refund")).await.expect(200).json(), refunded);
    assert_eq!(shop.get(&path).await.expect(200).json()["state"], "refunded");
    assert_eq!(put(path.clone(), &money).await.brief(), "409 charge-voided: The charge was voided before.");

    let declined = json!({ "amount": 500, "currency": "EUR", "token": "tok_declined" });
    let answer = put(format!("/v1/charges/{other}"), &declined).await.expect(402);
    assert_eq!(answer.json()["code"], "card_declined");
    let voided = shop.post(&format!("/v1/charges/{other}/void"), &money).await.expect(200).json();
    assert_eq!(voided, json!({ "order_id": other, "state": "voided" }));
    assert_eq!(
        shop.request("POST", &format!("/v1/charges/{other}/refund")).await.brief(),
        "409 nothing-captured: No money was taken under this key."
    );
    let listed = shop.get("/v1/charges?limit=1").await.expect(200).json();
    assert_eq!(listed["charges"][0]["order_id"], json!(order));
    let listed = shop.get(&format!("/v1/charges?after={order}")).await.expect(200).json();
    assert_eq!(
        (listed["charges"].as_array().map(Vec::len), &listed["charges"][0]["state"]),
        (Some(1), &json!("declined"))
    );

    for (body, status) in [
        (json!({ "amount": 0, "currency": "EUR" }), 422),
        (json!({ "amount": -5, "currency": "EUR" }), 422),
        (json!({ "amount": 5, "currency": "XXX" }), 422),
        (json!({ "amount": 5, "currency": "EUR", "tokem": "x" }), 422),
        (json!([]), 422),
    ] {
        put(format!("/v1/charges/{}", new_order_id()), &body).await.expect(status);
    }
    shop.request("PUT", &path).body("{").await.expect(400);
    shop.request("PUT", "/v1/charges/7").json(&money).await.expect(404);
    shop.get("/v1/charges?limit=0").await.expect(422);
    shop.get("/v1/charges?limit=many").await.expect(400);
    shop.request("DELETE", &path).await.expect(405);
    shop.get("/v2").await.expect(404);
    assert!(shop.get("/problems/charge-voided").await.expect(200).text().contains("voided"));
    gateway.stop().await;
}

#[tokio::test]
async fn only_who_knows_the_secret_is_served() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, Some(SECRET)).await;
    let order = new_order_id();
    let money = json!({ "amount": 500, "currency": "EUR" });
    for token in [None, Some(""), Some("another"), Some(&SECRET[1..])] {
        let stranger = Client::new(gateway.address, token.map(str::to_owned));
        stranger.request("PUT", &format!("/v1/charges/{order}")).json(&money).await.expect(401);
        stranger.post(&format!("/v1/charges/{order}/void"), &money).await.expect(401);
        stranger.request("POST", &format!("/v1/charges/{order}/refund")).await.expect(401);
        stranger.get(&format!("/v1/charges/{order}")).await.expect(401);
        stranger.get("/v1/charges").await.expect(401);
        stranger.get("/healthz").await.expect(200);
    }
    let shop = Client::new(gateway.address, Some(SECRET.to_owned()));
    shop.get(&format!("/v1/charges/{order}")).await.expect(404);
    gateway.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_a_connection_that_ends_without_one() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), NO_FAULTS, None).await;
    let shop = Client::new(gateway.address, None);
    for (token, state) in [
        ("tok_timeout_before", None),
        ("tok_timeout_after", Some("captured")),
        ("tok_late", Some("captured")),
    ] {
        let path = format!("/v1/charges/{}", new_order_id());
        let body = json!({ "amount": 500, "currency": "EUR", "token": token });
        let mut connection = Connection::open(gateway.address).await;
        connection.write(&shop.request("PUT", &path).json(&body).bytes()).await;
        assert!(connection.answer_or_end().await.is_none(), "{token}");
        wait_for("what was charged is on record", PATIENCE, async || {
            let record = shop.get(&path).await;
            (record.status == 200)
                .then(|| record.json()["state"].as_str().map(str::to_owned))
                .flatten()
                .as_deref()
                == state
        })
        .await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_charge_is_carried_out_though_its_sender_has_hung_up() {
    let site = Site::new();
    let gateway = Gateway::start(&site.file(), Faults { latency_ms: 50, ..NO_FAULTS }, None).await;
    let shop = Client::new(gateway.address, None);
    let path = format!("/v1/charges/{}", new_order_id());
    let mut connection = Connection::open(gateway.address).await;
    let body = json!({ "amount": 500, "currency": "EUR" });
    connection.write(&shop.request("PUT", &path).json(&body).bytes()).await;
    // A second request shows that the first one has been read, as far as anybody can tell.
    shop.get("/healthz").await.expect(200);
    drop(connection);
    let arrived = async || shop.get(&path).await.status == 200;
    wait_for("the charge is on record", PATIENCE, arrived).await;
    gateway.stop().await;
}
