//! What becomes of an order when the payment goes wrong, or takes its time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::ports::payments::ChargeState;
use insta::assert_snapshot;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::http_client::{Answer, Client, lines};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

/// Time-outs of the gateway, for tests that wait for them.
const SHORT_MS: u64 = 20;

async fn states(app: &TestApp) -> Vec<ChargeState> {
    app.charges().await.iter().map(|charge| charge.state).collect()
}

/// The order in an answer that says how it failed.
fn failed_order(answer: &Answer) -> Value {
    answer.json()["order"].clone()
}

async fn ends(client: &Client, order: &str, status: &str) -> Value {
    let ended = async || client.view_order(order).await.json()["status"] != "PENDING";
    wait_for("the order has ended", PATIENCE, ended).await;
    let order = client.view_order(order).await.json();
    assert_eq!(order["status"], status, "{order}");
    order
}

#[tokio::test]
async fn a_declined_payment_fails_the_order_and_gives_its_units_back() {
    let app = TestApp::builder().product(1).start().await;
    let buyer = app.customer(1);
    let declined = buyer.buy_with("tok_declined", 1, "a").await;
    assert_snapshot!(declined.shown(), @r#"
    402
    content-type: application/problem+json
    {
      "detail": "The payment provider declined.",
      "order": {
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
        "reason": "PAYMENT_DECLINED",
        "status": "FAILED",
        "total": {
          "amount": 250,
          "currency": "EUR"
        },
        "updated_at": "[time]"
      },
      "status": 402,
      "title": "The payment was declined",
      "type": "/problems/payment-declined"
    }
    "#);
    assert_eq!(app.levels().await, [(1, 0)]);

    let before = app.contents().await;
    let again = buyer.buy_with("tok_declined", 1, "a").await.expect(402);
    assert_eq!(failed_order(&again), failed_order(&declined));
    assert_eq!(app.contents().await, before, "nothing changes");
    buyer.buy_with("tok_ok", 1, "b").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_token_that_the_gateway_does_not_know_is_declined() {
    let app = TestApp::builder().product(1).start().await;
    app.customer(1).buy_with("tok_nonsense", 1, "a").await.expect(402);
    app.finish().await;
}

#[tokio::test]
async fn a_gateway_that_never_answers_fails_the_order_and_keeps_nothing() {
    let app = TestApp::builder().product(1).config(|c| c.payments.faults.timeout_ms = SHORT_MS).start().await;
    let buyer = app.customer(1);
    let unknown = buyer.buy_with("tok_timeout_before", 1, "a").await;
    assert_snapshot!(unknown.shown(), @r#"
    502
    content-type: application/problem+json
    {
      "detail": "The payment provider did not answer; the payment was voided.",
      "order": {
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
        "reason": "PAYMENT_UNKNOWN",
        "status": "FAILED",
        "total": {
          "amount": 250,
          "currency": "EUR"
        },
        "updated_at": "[time]"
      },
      "status": 502,
      "title": "The payment provider did not answer",
      "type": "/problems/payment-unknown"
    }
    "#);
    assert_eq!(states(&app).await, [ChargeState::Voided]);
    assert_eq!(app.levels().await, [(1, 0)]);
    let again = buyer.buy_with("tok_timeout_before", 1, "a").await.expect(502);
    assert_eq!(failed_order(&again), failed_order(&unknown));
    app.finish().await;
}

#[tokio::test]
async fn a_gateway_that_charges_and_never_answers_fails_the_order_and_refunds_it() {
    let app = TestApp::builder().product(1).config(|c| c.payments.faults.timeout_ms = SHORT_MS).start().await;
    let buyer = app.customer(1);
    let unknown = buyer.buy_with("tok_timeout_after", 1, "a").await.expect(502);
    assert_eq!(failed_order(&unknown)["reason"], "PAYMENT_UNKNOWN");
    assert_eq!(states(&app).await, [ChargeState::Refunded]);
    assert_eq!(app.levels().await, [(1, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_repeated_until_it_is_answered() {
    let app = TestApp::builder()
        .product(20)
        .config(|c| {
            c.payments.faults.timeout_ms = 1;
            c.payments.faults.timeout_after_rate = 0.5;
            c.sale.act_tries_max = 50;
            c.sale.pause_max_ms = 5;
        })
        .start()
        .await;
    let buyers: Vec<_> = (1..=20).map(|id| app.customer(id)).collect();
    let orders = buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) });
    join_all(orders).await;
    assert_eq!(states(&app).await, [ChargeState::Captured; 20]);
    app.finish().await;
}

#[tokio::test]
async fn a_charge_that_arrives_after_it_was_voided_takes_no_money() {
    let late_ms = 500;
    let app = TestApp::builder()
        .product(1)
        .config(move |c| {
            c.payments.faults.timeout_ms = 1;
            c.payments.faults.late_ms = late_ms;
            c.sale.act_tries_max = 2;
        })
        .start()
        .await;
    let begun = Instant::now();
    let unknown = app.customer(1).buy_with("tok_late", 1, "a").await.expect(502);
    assert_eq!(failed_order(&unknown)["reason"], "PAYMENT_UNKNOWN");
    // Both charges are on their way still, or this test shows nothing.
    assert!(begun.elapsed() < Duration::from_millis(late_ms), "too slow a machine: {:?}", begun.elapsed());
    let arrived = begun + 3 * Duration::from_millis(late_ms);
    wait_for("the late charges have arrived", PATIENCE, async || {
        assert_eq!(states(&app).await, [ChargeState::Voided]);
        Instant::now() > arrived
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_charge_that_arrives_late_but_before_the_shop_gives_up_is_refunded() {
    let app = TestApp::builder()
        .product(1)
        .config(|c| {
            c.payments.faults.timeout_ms = 3 * SHORT_MS;
            c.payments.faults.late_ms = 1;
        })
        .start()
        .await;
    app.customer(1).buy_with("tok_late", 1, "a").await.expect(502);
    assert_eq!(states(&app).await, [ChargeState::Refunded]);
    assert_eq!(app.levels().await, [(1, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_charge_that_is_delivered_twice_takes_money_once() {
    let app = TestApp::builder().product(5).start().await;
    app.customer(1).buy_with("tok_duplicate", 1, "a").await.expect(201);
    let charges = app.charges().await;
    assert_eq!((charges.len(), charges[0].amount.minor), (1, 250));
    assert_eq!(charges[0].state, ChargeState::Captured);
    app.finish().await;
}

#[tokio::test]
async fn an_order_whose_payment_takes_long_is_answered_202_and_confirmed_later() {
    let app = TestApp::builder()
        .product(5)
        .config(|c| {
            c.payments.faults.latency_ms = 5_000;
            c.sale.answer_within_ms = 1_500;
        })
        .start()
        .await;
    let buyer = app.customer(1);
    let pending = buyer.buy(1, 2, "a").await;
    assert_snapshot!(pending.shown(), @r#"
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
          "quantity": 2,
          "sku": "SKU-1",
          "unit_price": {
            "amount": 250,
            "currency": "EUR"
          }
        }
      ],
      "status": "PENDING",
      "total": {
        "amount": 500,
        "currency": "EUR"
      },
      "updated_at": "[time]"
    }
    "#);
    assert_eq!(app.levels().await, [(5, 2)]);
    // A retry meets the first attempt.
    assert_eq!(buyer.buy(1, 2, "a").await.expect(202).id(), pending.id());

    let location = pending.header("location").expect("an address").to_owned();
    let confirmed = async || buyer.get(&location).await.json()["status"] == "CONFIRMED";
    wait_for("the order is confirmed", PATIENCE, confirmed).await;
    assert_eq!(buyer.buy(1, 2, "a").await.expect(201).id(), pending.id());
    app.shows(1, 3).await;
    assert_eq!(app.charges().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn cancelling_a_pending_order_is_carried_out_once_its_payment_is_known() {
    let app = TestApp::builder()
        .product(5)
        .config(|c| {
            c.payments.faults.latency_ms = 5_000;
            c.sale.answer_within_ms = 1_500;
        })
        .start()
        .await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 2, "a").await.expect(202).id();
    let wished = buyer.cancel(&order).await;
    assert_snapshot!(wished.shown(), @r#"
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
          "quantity": 2,
          "sku": "SKU-1",
          "unit_price": {
            "amount": 250,
            "currency": "EUR"
          }
        }
      ],
      "status": "PENDING",
      "total": {
        "amount": 500,
        "currency": "EUR"
      },
      "updated_at": "[time]"
    }
    "#);
    buyer.cancel(&order).await.expect(202);
    assert_eq!(ends(&buyer, &order, "CANCELLED").await["reason"], "CANCELLED_BY_CUSTOMER");
    app.quiet().await;
    assert_eq!(states(&app).await, [ChargeState::Refunded]);
    assert_eq!(app.levels().await, [(5, 0)]);
    buyer.cancel(&order).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn orders_on_their_way_are_listed_for_administrators() {
    let app = TestApp::builder()
        .product(5)
        .config(|c| {
            c.payments.faults.latency_ms = 5_000;
            c.sale.answer_within_ms = 1_500;
        })
        .start()
        .await;
    let (buyer, admin) = (app.customer(1), app.admin());
    let order = buyer.buy(1, 2, "a").await.expect(202).id();
    let listed = admin.get("/api/v1/admin/sagas").await.expect(200).json();
    assert_eq!(
        (&listed["items"][0]["id"], &listed["items"][0]["stuck"]),
        (&order.clone().into(), &false.into())
    );
    let mut on_their_way = 0;
    for _ in 0..app.servers() {
        // One server after the other.
        on_their_way += admin.get("/readyz").await.json()["orders_on_their_way"].as_i64().expect("a number");
    }
    assert_eq!(on_their_way, 1);
    // It is on its way, so there is nothing to resume.
    admin.request("POST", &format!("/api/v1/admin/sagas/{order}/resume")).await.expect(409);
    ends(&buyer, &order, "CONFIRMED").await;
    app.finish().await;
}

#[tokio::test]
async fn an_order_for_nothing_takes_no_payment() {
    let app = TestApp::builder().priced(5, 0, "EUR").start().await;
    let buyer = app.customer(1);
    // Not even with a token that would be declined.
    let order = buyer.buy_with("tok_declined", 1, "a").await.expect(201);
    assert_eq!(order.json()["total"]["amount"], 0);
    assert_eq!(states(&app).await, []);
    buyer.cancel(&order.id()).await.expect(200);
    assert_eq!(states(&app).await, []);
    assert_eq!(app.levels().await, [(5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn more_orders_than_may_be_on_their_way_are_told_to_come_back() {
    let app = TestApp::builder()
        .product(50)
        .config(|c| {
            c.payments.faults.latency_ms = 500;
            c.sale.in_flight_max = 3;
        })
        .start()
        .await;
    let buyers: Vec<_> = (1..=10).map(|id| Arc::new(app.customer(id))).collect();
    let answers = join_all(buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await })).await;
    let (sold, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((sold.len(), busy.len()), (3, 7), "{answers:?}");
    assert_snapshot!(busy[0].shown(), @r#"
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
    assert!(busy.iter().all(|answer| answer.shown() == busy[0].shown()));
    assert_eq!(app.levels().await, [(47, 0)]);
    // The same keys get through later.
    for (buyer, answer) in buyers.iter().zip(&answers).filter(|(_, answer)| answer.status == 503).take(2) {
        buyer.buy(1, 1, "a").await.expect(201);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    app.finish().await;
}

#[tokio::test]
async fn a_busy_shop_still_knows_the_keys_that_are_on_their_way() {
    let app = TestApp::builder()
        .product(50)
        .config(|c| {
            c.payments.faults.latency_ms = 500;
            c.sale.in_flight_max = 1;
        })
        .start()
        .await;
    let (one, other) = (app.customer(1), app.customer(1));
    let answers = futures_util::future::join(async { one.buy(1, 1, "a").await.expect(201) }, async {
        other.buy(1, 1, "a").await.expect(201)
    })
    .await;
    assert_eq!(answers.0.id(), answers.1.id());
    app.finish().await;
}

#[tokio::test]
async fn units_of_orders_that_are_on_their_way_are_not_sold_twice() {
    let app = TestApp::builder()
        .product(1)
        .config(|c| {
            c.payments.faults.latency_ms = 5_000;
            c.payments.faults.decline_rate = 0.0;
            c.sale.answer_within_ms = 1_500;
        })
        .start()
        .await;
    let (ann, bob) = (app.customer(1), app.customer(2));
    let order = ann.buy(1, 1, "a").await.expect(202).id();
    assert_snapshot!(
        bob.order("a", &lines(&[(1, 1)])).await.brief(),
        @"409 out-of-stock: Left: 0 of product 1."
    );
    ends(&ann, &order, "CONFIRMED").await;
    app.finish().await;
}
