//! Orders of a customer: buying, looking, taking back.

use std::future::IntoFuture as _;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::{Answer, lines};
use crate::support::test_app::TestApp;

#[tokio::test]
async fn an_order_is_confirmed_and_has_an_address() {
    let app = TestApp::builder().product(5).priced(7, 1_999, "EUR").start().await;
    let buyer = app.customer(1);
    let order = buyer.order("a", &lines(&[(2, 2), (1, 3)])).await;
    assert_snapshot!(order.shown(), @r#"
    201
    content-type: application/json
    location: /api/v1/orders/[id]
    {
      "created_at": "[time]",
      "id": "[id]",
      "lines": [
        {
          "name": "Product 1",
          "product_id": 1,
          "quantity": 3,
          "sku": "SKU-1",
          "unit_price": {
            "amount": 250,
            "currency": "EUR"
          }
        },
        {
          "name": "Product 2",
          "product_id": 2,
          "quantity": 2,
          "sku": "SKU-2",
          "unit_price": {
            "amount": 1999,
            "currency": "EUR"
          }
        }
      ],
      "status": "CONFIRMED",
      "total": {
        "amount": 4748,
        "currency": "EUR"
      },
      "updated_at": "[time]"
    }
    "#);

    let location = order.header("location").expect("an address").to_owned();
    let viewed = buyer.get(&location).await.expect(200);
    assert_eq!(viewed.json(), order.json());
    assert_eq!(app.levels().await, [(2, 0), (5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_retry_with_the_same_key_returns_the_first_order() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let first = buyer.buy(1, 2, "a").await.expect(201);
    for _ in 0..3 {
        let again = buyer.buy(1, 2, "a").await.expect(201);
        assert_eq!(again.shown(), first.shown());
        assert_eq!(again.id(), first.id());
    }
    assert_eq!(app.levels().await, [(3, 0)]);
    assert_eq!(app.charges().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_retry_may_put_its_lines_in_another_order_and_spell_the_body_differently() {
    let app = TestApp::builder().product(5).product(5).start().await;
    let buyer = app.customer(1);
    let first = buyer.order("a", &lines(&[(1, 2), (2, 1)])).await.expect(201);
    let body = r#"{ "lines": [ {"quantity": 1, "product_id": 2}, {"product_id": 1, "quantity": 2} ] }"#;
    let again = buyer.request("POST", "/api/v1/orders").key("a").body(body).await.expect(201);
    assert_eq!(again.id(), first.id());
    app.finish().await;
}

#[tokio::test]
async fn lines_of_one_product_are_sold_as_one() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.order("a", &lines(&[(1, 2), (1, 3)])).await.expect(201);
    assert_eq!(order.json()["lines"].as_array().map(Vec::len), Some(1));
    assert_eq!(order.json()["lines"][0]["quantity"], 5);
    // Each line alone would fit into what is left, both together do not.
    app.admin()
        .post("/api/v1/admin/products/1/stock", &json!({"delta": 4, "reason": "restock"}))
        .key("restock")
        .await
        .expect(200);
    assert_snapshot!(
        app.refuses(buyer.order("b", &lines(&[(1, 3), (1, 2)]))).await,
        @"409 out-of-stock: Left: 4 of product 1."
    );
    app.finish().await;
}

#[tokio::test]
async fn an_order_over_more_than_is_left_is_refused_with_what_is_left_of_each_line() {
    let app = TestApp::builder().product(5).product(1).start().await;
    let buyer = app.customer(1);
    let refused = buyer.order("a", &lines(&[(1, 5), (2, 2)])).await;
    assert_snapshot!(refused.shown(), @r#"
    409
    content-type: application/problem+json
    {
      "detail": "Left: 1 of product 2.",
      "lines": [
        {
          "left": 5,
          "product_id": 1,
          "requested": 5
        },
        {
          "left": 1,
          "product_id": 2,
          "requested": 2
        }
      ],
      "status": 409,
      "title": "Not enough is left",
      "type": "/problems/out-of-stock"
    }
    "#);
    assert_eq!(app.levels().await, [(5, 0), (1, 0)]);
    // A refusal leaves nothing behind, so the key may be tried again, with another body too.
    buyer.order("a", &lines(&[(1, 5), (2, 1)])).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_right_expected_total_is_accepted() {
    let app = TestApp::builder().product(5).start().await;
    let mut body = lines(&[(1, 3)]);
    body["expected_total"] = json!({"amount": 750, "currency": "EUR"});
    app.customer(1).order("a", &body).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_expected_total_that_is_no_longer_right_is_refused_with_the_new_one() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let price = json!({"price": {"amount": 300, "currency": "EUR"}});
    app.admin().patch("/api/v1/admin/products/1", &price).await.expect(200);
    let mut body = lines(&[(1, 3)]);
    body["expected_total"] = json!({"amount": 750, "currency": "EUR"});
    let before = app.contents().await;
    let refused = buyer.order("a", &body).await;
    assert_snapshot!(refused.shown(), @r#"
    409
    content-type: application/problem+json
    {
      "detail": "The total is 9.00 EUR now.",
      "status": 409,
      "title": "The price has changed",
      "total": {
        "amount": 900,
        "currency": "EUR"
      },
      "type": "/problems/price-changed"
    }
    "#);
    assert_eq!(app.contents().await, before, "nothing changes");

    body["expected_total"] = refused.json()["total"].clone();
    buyer.order("a", &body).await.expect(201);
    body["expected_total"]["currency"] = "GBP".into();
    buyer.order("b", &body).await.expect(409);
    app.finish().await;
}

#[tokio::test]
async fn an_order_keeps_the_names_and_prices_it_was_sold_with() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 1, "a").await.expect(201);
    let change = json!({"name": "Another name", "price": {"amount": 9, "currency": "GBP"}});
    app.admin().patch("/api/v1/admin/products/1", &change).await.expect(200);
    assert_eq!(buyer.view_order(&order.id()).await.json(), order.json());
    app.finish().await;
}

#[tokio::test]
async fn a_customer_lists_only_their_own_orders_newest_first() {
    let app = TestApp::builder().product(50).start().await;
    let (ann, bob) = (app.customer(1), app.customer(2));
    let mut newest_first = Vec::new();
    for n in 0..5 {
        newest_first.insert(0, ann.buy(1, n + 1, &format!("key {n}")).await.expect(201).id());
    }
    bob.buy(1, 1, "a").await.expect(201);

    let ids = |answer: &Answer| -> Vec<String> {
        let json = answer.json();
        let items = json["items"].as_array().expect("a page");
        items.iter().map(|order| order["id"].as_str().expect("an id").to_owned()).collect()
    };
    let (mut seen, mut path, mut sizes) = (Vec::new(), "/api/v1/orders?limit=2".to_owned(), Vec::new());
    loop {
        let page = ann.get(&path).await.expect(200);
        sizes.push(ids(&page).len());
        seen.extend(ids(&page));
        match page.json()["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/orders?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((seen, sizes), (newest_first, vec![2, 2, 1]));
    assert_snapshot!(bob.get("/api/v1/orders").await.shown(), @r#"
    200
    content-type: application/json
    {
      "items": [
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
          "status": "CONFIRMED",
          "total": {
            "amount": 250,
            "currency": "EUR"
          },
          "updated_at": "[time]"
        }
      ]
    }
    "#);
    assert_snapshot!(app.customer(3).get("/api/v1/orders").await.shown(), @r#"
    200
    content-type: application/json
    {
      "items": []
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn a_page_of_0_or_101_orders_is_refused() {
    let app = TestApp::builder().start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.get("/api/v1/orders?limit=0")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    assert_snapshot!(
        app.refuses(buyer.get("/api/v1/orders?limit=101")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_cursor_that_the_list_of_orders_did_not_give_is_refused() {
    let app = TestApp::builder().start().await;
    assert_snapshot!(
        app.refuses(app.customer(1).get("/api/v1/orders?cursor=1")).await,
        @"422 invalid-request: cursor: is not one that this shop gave"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_parameter_of_the_list_of_orders_is_refused() {
    let app = TestApp::builder().start().await;
    assert_snapshot!(
        app.refuses(app.customer(1).get("/api/v1/orders?user=2")).await,
        @"400 malformed-request: Failed to deserialize query string: user: unknown field `user`, expected `limit` or `cursor`"
    );
    app.finish().await;
}

#[tokio::test]
async fn the_history_of_an_order_is_told_by_its_events() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 2, "a").await.expect(201).id();
    assert_snapshot!(buyer.get(&format!("/api/v1/orders/{order}/events")).await.shown(), @r#"
    200
    content-type: application/json
    {
      "items": [
        {
          "data": {
            "lines": [
              {
                "product_id": 1,
                "quantity": 2
              }
            ],
            "user_id": 1
          },
          "saga_id": "[id]",
          "sequence": 1,
          "time": "[time]",
          "type": "SagaStarted"
        },
        {
          "data": {
            "lines": [
              {
                "product_id": 1,
                "quantity": 2
              }
            ]
          },
          "saga_id": "[id]",
          "sequence": 2,
          "time": "[time]",
          "type": "InventoryReserved"
        },
        {
          "data": {
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
            "order_id": "[id]",
            "total": {
              "amount": 500,
              "currency": "EUR"
            },
            "user_id": 1
          },
          "saga_id": "[id]",
          "sequence": 3,
          "time": "[time]",
          "type": "OrderCreated"
        },
        {
          "data": {
            "amount": {
              "amount": 500,
              "currency": "EUR"
            },
            "order_id": "[id]",
            "transaction_id": "sim_[id]",
            "user_id": 1
          },
          "saga_id": "[id]",
          "sequence": 4,
          "time": "[time]",
          "type": "PaymentProcessed"
        },
        {
          "data": {
            "lines": [
              {
                "product_id": 1,
                "quantity": 2,
                "unit_price": {
                  "amount": 250,
                  "currency": "EUR"
                }
              }
            ],
            "order_id": "[id]",
            "total": {
              "amount": 500,
              "currency": "EUR"
            },
            "user_id": 1
          },
          "saga_id": "[id]",
          "sequence": 5,
          "time": "[time]",
          "type": "OrderConfirmed"
        }
      ]
    }
    "#);
    app.finish().await;
}

/// Sequence, type and reason of each event.
fn story(events: &Answer) -> Vec<String> {
    let json = events.json();
    let items = json["items"].as_array().expect("a page");
    let told = |event: &Value| match event["data"]["reason"].as_str() {
        Some(reason) => format!("{} {} {reason}", event["sequence"], event["type"].as_str().unwrap_or("?")),
        None => format!("{} {}", event["sequence"], event["type"].as_str().unwrap_or("?")),
    };
    items.iter().map(told).collect()
}

#[tokio::test]
async fn a_cancelled_order_is_refunded_and_its_units_are_in_stock_again() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 2, "a").await.expect(201).id();
    assert_eq!(app.levels().await, [(3, 0)]);
    assert_snapshot!(buyer.cancel(&order).await.shown(), @r#"
    200
    content-type: application/json
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
      "reason": "CANCELLED_BY_CUSTOMER",
      "status": "CANCELLED",
      "total": {
        "amount": 500,
        "currency": "EUR"
      },
      "updated_at": "[time]"
    }
    "#);

    assert_eq!(app.levels().await, [(5, 0)]);
    assert_eq!(buyer.get("/api/v1/products/1").await.json()["available"], 5);
    let charges = app.charges().await;
    assert_eq!(charges.len(), 1);
    assert_eq!(charges[0].state, holdfast::ports::payments::ChargeState::Refunded);
    let events = buyer.get(&format!("/api/v1/orders/{order}/events")).await;
    assert_snapshot!(story(&events).join("\n"), @r"
    1 SagaStarted
    2 InventoryReserved
    3 OrderCreated
    4 PaymentProcessed
    5 OrderConfirmed
    6 PaymentRefunded
    7 InventoryReleaseRequested CANCELLED_BY_CUSTOMER
    8 OrderCancelled CANCELLED_BY_CUSTOMER
    ");
    // Somebody else can have them now.
    app.customer(2).buy(1, 5, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn cancelling_again_changes_nothing() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 2, "a").await.expect(201).id();
    let first = buyer.cancel(&order).await.expect(200);
    let before = app.contents().await;
    for _ in 0..3 {
        assert_eq!(buyer.cancel(&order).await.expect(200).json(), first.json());
    }
    // The retry of the purchase tells what became of it.
    assert_eq!(buyer.buy(1, 2, "a").await.expect(200).json(), first.json());
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_many_cancel_at_once_is_refunded_once() {
    let app = TestApp::builder().product(5).start().await;
    let order = app.customer(1).buy(1, 2, "a").await.expect(201).id();
    let clients: Vec<_> = (0..20).map(|_| app.customer(1)).collect();
    let answers =
        futures_util::future::join_all(clients.iter().map(|client| client.cancel(&order).into_future()))
            .await;
    assert!(answers.iter().all(|answer| [200, 202].contains(&answer.status)), "{answers:?}");
    app.quiet().await;
    assert_eq!(app.customer(1).view_order(&order).await.json()["status"], "CANCELLED");
    assert_eq!(app.levels().await, [(5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_failed_cannot_be_cancelled() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let declined = buyer.buy_with("tok_declined", 1, "a").await.expect(402);
    let order = declined.json()["order"]["id"].as_str().expect("an id").to_owned();
    let before = app.contents().await;
    assert_snapshot!(buyer.cancel(&order).await.shown(), @r#"
    409
    content-type: application/problem+json
    {
      "detail": "The order failed before.",
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
      "status": 409,
      "title": "The order cannot be cancelled",
      "type": "/problems/not-cancellable"
    }
    "#);
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_order_is_not_found() {
    let app = TestApp::builder().start().await;
    let buyer = app.customer(1);
    for id in ["0190a2b4-0000-7000-8000-000000000000", "1", "not-an-id", "%00"] {
        for (method, tail) in [("GET", ""), ("GET", "/events"), ("POST", "/cancel")] {
            let request = buyer.request(method, &format!("/api/v1/orders/{id}{tail}"));
            assert_eq!(app.refuses(request).await, "404 not-found: There is no such order.", "{id}{tail}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn somebody_elses_order_is_not_found() {
    let app = TestApp::builder().product(5).start().await;
    let order = app.customer(1).buy(1, 2, "a").await.expect(201).id();
    // Not even an administrator's: what is theirs is under /admin.
    for other in [app.customer(2), app.admin()] {
        let events = format!("/api/v1/orders/{order}/events");
        for request in [other.view_order(&order), other.get(&events), other.cancel(&order)] {
            assert_eq!(app.refuses(request).await, "404 not-found: There is no such order.");
        }
    }
    assert_eq!(app.customer(1).view_order(&order).await.json()["status"], "CONFIRMED");
    app.finish().await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let app = TestApp::builder().product(5).product(5).start().await;
    let buyer = app.customer(1);
    buyer.buy(1, 2, "a").await.expect(201);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "a")).await,
        @"422 idempotency-key-reused: This key was used for another order."
    );
    assert_snapshot!(
        app.refuses(buyer.buy(2, 2, "a")).await,
        @"422 idempotency-key-reused: This key was used for another order."
    );
    assert_snapshot!(
        app.refuses(buyer.buy_with("tok_ok", 1, "a")).await,
        @"422 idempotency-key-reused: This key was used for another order."
    );
    let mut body = lines(&[(1, 2)]);
    body["expected_total"] = json!({"amount": 500, "currency": "EUR"});
    assert_snapshot!(
        app.refuses(buyer.order("a", &body)).await,
        @"422 idempotency-key-reused: This key was used for another order."
    );
    app.finish().await;
}

#[tokio::test]
async fn the_same_key_of_another_customer_is_another_order() {
    let app = TestApp::builder().product(5).start().await;
    let first = app.customer(1).buy(1, 2, "a").await.expect(201).id();
    let second = app.customer(2).buy(1, 1, "a").await.expect(201).id();
    assert_ne!(first, second);
    assert_eq!(app.levels().await, [(2, 0)]);
    app.finish().await;
}
