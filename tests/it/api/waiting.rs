//! Orders whose payment needs their customers first (3-D Secure), as customers see them.

use std::time::Duration;

use holdfast::domain::OrderId;
use holdfast::ports::payments::ChargeState;
use insta::assert_snapshot;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::http_client::{Answer, lines};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

fn id(order: &str) -> OrderId {
    order.parse().expect("an order id")
}

/// The customer accepts or refuses at the gateway, and nobody hears of it: not from this gateway, at least.
async fn says(app: &TestApp, order: &str, accepted: bool) -> ChargeState {
    // Another process than the shop's, with the same file.
    let gateway = app.another_gateway();
    let said = gateway.authenticate(id(order), accepted).await.expect("the gateway answers");
    said.expect("the gateway knows the order").1
}

async fn state(app: &TestApp, order: &str) -> ChargeState {
    let charges = app.charges().await;
    charges.iter().find(|charge| charge.order == id(order)).expect("a charge").state
}

fn url(order: &Value) -> &str {
    assert_eq!(order["next_action"]["type"], "redirect_to_url", "{order}");
    order["next_action"]["url"].as_str().expect("an address")
}

/// A product of so many units, for customers who have so much time.
async fn shop(units: i64, customer_within_ms: u64) -> TestApp {
    TestApp::builder()
        .product(units)
        .config(move |c| c.payments.customer_within_ms = customer_within_ms)
        .start()
        .await
}

const LONG_MS: u64 = 600_000;

#[tokio::test]
async fn an_order_that_needs_its_customer_says_so_at_once_and_is_confirmed_when_they_have_accepted() {
    let app = shop(5, LONG_MS).await;
    let buyer = app.customer(1);
    let begun = Instant::now();
    let waiting = buyer.buy_with("tok_3ds", 1, "a").await;
    assert!(begun.elapsed() < PATIENCE / 2, "not only when the time to answer is over");
    assert_snapshot!(waiting.shown(), @r#"
    202
    content-type: application/json
    location: /api/v1/orders/[id]
    {
      "created_at": "[time]",
      "id": "[id]",
      "lines": [
        {
          "name": "Product 1",
          "product_id": 1,
          "quantity": 1,
          "sku": "SKU-1",
          "unit_price": {
            "amount": 250,
            "currency": "EUR"
          }
        }
      ],
      "next_action": {
        "type": "redirect_to_url",
        "url": "/challenge/[id]"
      },
      "status": "PENDING",
      "total": {
        "amount": 250,
        "currency": "EUR"
      },
      "updated_at": "[time]"
    }
    "#);
    let order = waiting.id();
    app.quiet().await;
    // A retry on any server, a look at the order, and the list of orders say the same, at once.
    for _ in 0..3 {
        let again = buyer.buy_with("tok_3ds", 1, "a").await.expect(202);
        assert_eq!(again.json(), waiting.json());
        assert_eq!(buyer.view_order(&order).await.expect(200).json(), waiting.json());
        assert_eq!(buyer.get("/api/v1/orders").await.expect(200).json()["items"][0], waiting.json());
        assert_eq!(buyer.continue_payment(&order).await.expect(202).json(), waiting.json());
    }
    buyer.order("a", &lines(&[(1, 1)])).await.expect(422);
    assert!(begun.elapsed() < PATIENCE / 2);
    assert_eq!(app.levels().await, [(5, 1)]);
    assert_eq!(state(&app, &order).await, ChargeState::Waiting);

    assert_eq!(says(&app, &order, true).await, ChargeState::Captured);
    let confirmed = buyer.continue_payment(&order).await.expect(201);
    assert_eq!((confirmed.id(), &confirmed.json()["status"]), (order.clone(), &"CONFIRMED".into()));
    assert!(confirmed.json().get("next_action").is_none());
    assert_eq!(confirmed.header("location"), waiting.header("location"));
    for again in [buyer.continue_payment(&order), buyer.buy_with("tok_3ds", 1, "a")] {
        assert_eq!(again.await.expect(201).json(), confirmed.json());
    }
    assert_eq!(buyer.view_order(&order).await.json(), confirmed.json());
    assert_eq!(app.levels().await, [(4, 0)]);
    let report = app.finish().await;
    assert_eq!(report.charges, [("captured", 1)].into());
}

#[tokio::test]
async fn an_order_whose_customer_refuses_fails() {
    let app = shop(1, LONG_MS).await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    assert_eq!(says(&app, &order, false).await, ChargeState::Declined);
    let declined = buyer.continue_payment(&order).await.expect(402);
    assert_snapshot!(declined.brief(), @"402 payment-declined: The payment provider declined.");
    assert_eq!(declined.json()["order"]["reason"], "PAYMENT_DECLINED");
    assert_eq!(buyer.buy_with("tok_3ds", 1, "a").await.expect(402).json(), declined.json());
    assert_eq!(says(&app, &order, true).await, ChargeState::Declined, "once and for all");
    buyer.buy_with("tok_ok", 1, "b").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn only_the_customer_of_an_order_goes_on_with_it() {
    let app = shop(5, LONG_MS).await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    app.quiet().await;
    let other = app.customer(2);
    assert_snapshot!(
        app.refuses(other.continue_payment(&order)).await,
        @"404 not-found: There is no such order."
    );
    app.refuses(app.anybody().continue_payment(&order)).await;
    app.refuses(buyer.continue_payment("0190a2b4-0000-7000-8000-000000000000")).await;
    app.refuses(buyer.continue_payment("no-id")).await;
    says(&app, &order, true).await;
    buyer.continue_payment(&order).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_needs_no_customer_is_continued_to_what_it_is() {
    let app = shop(5, LONG_MS).await;
    let buyer = app.customer(1);
    let sold = buyer.buy(1, 1, "a").await.expect(201);
    assert_eq!(buyer.continue_payment(&sold.id()).await.expect(201).json(), sold.json());
    buyer.cancel(&sold.id()).await.expect(200);
    let cancelled = buyer.continue_payment(&sold.id()).await.expect(200).json();
    assert_eq!(cancelled["status"], "CANCELLED");
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_waits_goes_on_without_anybody_saying_so() {
    let app = shop(5, LONG_MS).await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    says(&app, &order, true).await;
    ends(&app, &order, "CONFIRMED").await;
    app.finish().await;
}

async fn ends(app: &TestApp, order: &str, status: &str) -> Value {
    let buyer = app.customer(1);
    let ended = async || buyer.view_order(order).await.json()["status"] != "PENDING";
    wait_for("the order has ended", PATIENCE, ended).await;
    let order = buyer.view_order(order).await.json();
    assert_eq!(order["status"], status, "{order}");
    assert!(order.get("next_action").is_none(), "{order}");
    order
}

#[tokio::test]
async fn the_last_unit_is_held_until_the_time_is_over_and_comes_back() {
    let app = shop(1, 2_000).await;
    let (buyer, other) = (app.customer(1), app.customer(2));
    let begun = Instant::now();
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_millis(1_200) {
        let answer = other.buy(1, 1, &format!("try-{refused}")).await;
        assert_eq!(answer.expect(409).brief(), "409 out-of-stock: Left: 0 of product 1.");
        refused += 1;
    }
    assert!(refused > 0, "too slow a machine");
    let failed = ends(&app, &order, "FAILED").await;
    assert!(begun.elapsed() >= Duration::from_millis(2_000), "not before its time");
    assert_eq!(failed["reason"], "EXPIRED");
    assert_eq!(state(&app, &order).await, ChargeState::Voided);
    let late = [buyer.continue_payment(&order).await, buyer.buy_with("tok_3ds", 1, "a").await];
    for late in late {
        assert_eq!(
            late.brief(),
            "409 order-failed: The payment was not accepted in time; the order was undone."
        );
    }
    assert_eq!(says(&app, &order, true).await, ChargeState::Voided, "accepting it now takes no money");
    app.quiet().await;
    other.buy(1, 1, "at last").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_waits_is_cancelled_at_once() {
    let app = shop(1, LONG_MS).await;
    let buyer = app.customer(1);
    for (key, accepted) in [("a", false), ("b", true)] {
        let order = buyer.buy_with("tok_3ds", 1, key).await.expect(202).id();
        if accepted {
            says(&app, &order, true).await;
        }
        let cancelled = buyer.cancel(&order).await.expect(200).json();
        assert_eq!((&cancelled["status"], &cancelled["id"]), (&"CANCELLED".into(), &order.clone().into()));
        let wanted = if accepted { ChargeState::Refunded } else { ChargeState::Voided };
        assert_eq!(state(&app, &order).await, wanted);
        assert_eq!(says(&app, &order, true).await, wanted, "too late");
        buyer.continue_payment(&order).await.expect(200);
        app.quiet().await;
        assert_eq!(app.levels().await, [(1, 0)]);
    }
    app.finish().await;
}

#[tokio::test]
async fn orders_that_wait_are_listed_as_such_and_the_audit_counts_them() {
    let app = shop(5, LONG_MS).await;
    let (buyer, admin) = (app.customer(1), app.admin());
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    app.quiet().await;
    let listed = admin.get("/api/v1/admin/sagas").await.expect(200).json()["items"][0].clone();
    assert_eq!((&listed["id"], &listed["stuck"]), (&order.clone().into(), &false.into()), "{listed}");
    assert!(listed["waits_until"].is_string() && url(&listed).ends_with(&order), "{listed}");
    let stuck = admin.get("/api/v1/admin/sagas?stuck=true").await.expect(200).json();
    assert_eq!(stuck["items"].as_array().map(Vec::len), Some(0));
    admin.request("POST", &format!("/api/v1/admin/sagas/{order}/resume")).await.expect(409);
    let report = app.audit().await;
    assert_eq!((report.broken, report.waiting, report.stuck.len()), (None, 1, 0));
    assert_eq!(report.charges, [("waiting", 1)].into());
    says(&app, &order, true).await;
    buyer.continue_payment(&order).await.expect(201);
    assert_eq!(app.finish().await.waiting, 0);
}

async fn press(app: &TestApp, path: &str) -> Answer {
    app.anybody().request("POST", path).await
}

#[tokio::test]
async fn the_shop_shows_the_page_where_its_simulated_customers_accept() {
    let app = shop(5, LONG_MS).await;
    let buyer = app.customer(1);
    for (key, press_on, says, status) in
        [("a", "accept", "Thank you", "CONFIRMED"), ("b", "refuse", "Refused", "FAILED")]
    {
        let waiting = buyer.buy_with("tok_3ds", 1, key).await.expect(202);
        let (order, waiting) = (waiting.id(), waiting.json());
        let page = app.anybody().get(url(&waiting)).await.expect(200);
        for part in ["2.50", "EUR", "?answer=accept", "?answer=refuse", "method=\"post\""] {
            assert!(page.text().contains(part), "{part}: {}", page.text());
        }
        assert!(!page.text().contains("<script"), "{}", page.text());
        assert_eq!(page.header("cache-control"), Some("no-store"));
        press(&app, &format!("{}?answer=perhaps", url(&waiting))).await.expect(400);
        press(&app, url(&waiting)).await.expect(400);
        let begun = Instant::now();
        let done = press(&app, &format!("{}?answer={press_on}", url(&waiting))).await.expect(200);
        assert!(done.text().contains(says), "{}", done.text());
        // The gateway is of this process: the shop hears of it.
        ends(&app, &order, status).await;
        eprintln!("{status} after {:?}", begun.elapsed());
        let page = app.anybody().get(url(&waiting)).await.expect(200);
        assert!(page.text().contains(says), "{}", page.text());
    }
    for nothing in
        ["/challenge/0190a2b4-0000-7000-8000-000000000000", "/challenge/%3Cscript%3E", "/challenge/%FF"]
    {
        let page = app.anybody().get(nothing).await.expect(404);
        assert!(page.text().contains("No such payment") && !page.text().contains("cript"), "{}", page.text());
        press(&app, &format!("{nothing}?answer=accept")).await.expect(404);
    }
    let order = buyer.buy_with("tok_3ds", 1, "c").await.expect(202).id();
    buyer.cancel(&order).await.expect(200);
    let late = press(&app, &format!("/challenge/{order}?answer=accept")).await.expect(410);
    assert!(late.text().contains("Too late"), "{}", late.text());
    app.anybody().request("PUT", &format!("/challenge/{order}")).await.expect(405);
    app.finish().await;
}

#[tokio::test]
async fn simulated_customers_who_accept_by_themselves_end_a_sale_by_themselves() {
    let app = TestApp::builder()
        .product(100)
        .config(|c| {
            c.payments.faults.needs_customer_rate = 0.3;
            c.payments.faults.customer_after_ms = 30;
        })
        .start()
        .await;
    let buyer = app.customer(1);
    let (mut waited, mut orders) = (0, Vec::new());
    for n in 0..60 {
        let answer = buyer.buy(1, 1, &n.to_string()).await;
        waited += usize::from(answer.status == 202);
        orders.push(answer.id());
    }
    assert!((3..45).contains(&waited), "{waited} of 60 waited");
    for order in &orders {
        ends(&app, order, "CONFIRMED").await;
    }
    let report = app.finish().await;
    assert_eq!(report.orders, [("CONFIRMED", 60)].into());
}

#[tokio::test]
async fn a_challenge_elsewhere_begins_as_it_is_configured() {
    let app = TestApp::builder()
        .product(1)
        .config(|c| c.payments.challenge_base = "https://pay.example/".into())
        .start()
        .await;
    let buyer = app.customer(1);
    let waiting = buyer.buy_with("tok_3ds", 1, "a").await.expect(202);
    assert_eq!(url(&waiting.json()), format!("https://pay.example/challenge/{}", waiting.id()));
    buyer.cancel(&waiting.id()).await.expect(200);
    app.finish().await;
}
