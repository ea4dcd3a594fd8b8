//! What administrators do: products, stock, sagas.

use std::sync::Arc;
use std::time::Duration;

use holdfast::domain::{Basket, Digest, Driver, Hold, OrderId, ProductId, Purchase, Saga, StepName, UserId};
use holdfast::ports::ledger::{NewOrder, SagaRef};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::{Client, Request};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

pub fn lamp() -> Value {
    json!({
        "sku": "LAMP", "name": "A lamp", "description": "It shines.", "category": "home",
        "price": {"amount": 8_900, "currency": "EUR"}, "stock": 3,
    })
}

pub fn adjust<'c>(admin: &'c Client, key: &str, delta: i64) -> Request<'c> {
    admin.post("/api/v1/admin/products/1/stock", &json!({"delta": delta, "reason": "restock"})).key(key)
}

#[tokio::test]
async fn a_new_product_can_be_bought_at_once() {
    let app = TestApp::builder().start().await;
    assert_snapshot!(app.admin().post("/api/v1/admin/products", &lamp()).await.shown(), @r#"
    201
    content-type: application/json
    {
      "available": 3,
      "category": "home",
      "description": "It shines.",
      "id": 1,
      "name": "A lamp",
      "price": {
        "amount": 8900,
        "currency": "EUR"
      },
      "reserved": 0,
      "sku": "LAMP",
      "stock": 3,
      "updated_at": "[time]",
      "version": 1
    }
    "#);
    app.customer(1).buy(1, 3, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_new_product_is_shown_to_those_who_asked_for_it_too_early() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    anybody.get("/api/v1/products/1").await.expect(404);
    app.admin().post("/api/v1/admin/products", &lamp()).await.expect(201);
    assert_eq!(anybody.get("/api/v1/products/1").await.expect(200).json()["available"], 3);
    app.finish().await;
}

#[tokio::test]
async fn a_product_without_a_category_or_stock_can_be_added() {
    let app = TestApp::builder().start().await;
    let mut product = lamp();
    product.as_object_mut().expect("an object").remove("category");
    product["stock"] = 0.into();
    product["price"]["amount"] = 0.into();
    let created = app.admin().post("/api/v1/admin/products", &product).await.expect(201);
    assert_eq!((&created.json()["category"], &created.json()["available"]), (&json!(""), &json!(0)));
    app.finish().await;
}

#[tokio::test]
async fn a_sku_that_is_taken_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let mut product = lamp();
    product["sku"] = "SKU-1".into();
    let admin = app.admin();
    assert_snapshot!(
        app.refuses(admin.post("/api/v1/admin/products", &product)).await,
        @r#"409 sku-taken: The SKU "SKU-1" is taken."#
    );
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_a_product_is_shown_at_once() {
    let app = TestApp::builder().product(5).start().await;
    let (admin, anybody) = (app.admin(), app.anybody());
    anybody.get("/api/v1/products/1").await.expect(200);
    let change = json!({
        "name": "New name", "description": "", "category": "new", "price": {"amount": 1, "currency": "GBP"},
        "version": 1,
    });
    assert_snapshot!(admin.patch("/api/v1/admin/products/1", &change).await.shown(), @r#"
    200
    content-type: application/json
    {
      "available": 5,
      "category": "new",
      "description": "",
      "id": 1,
      "name": "New name",
      "price": {
        "amount": 1,
        "currency": "GBP"
      },
      "reserved": 0,
      "sku": "SKU-1",
      "stock": 5,
      "updated_at": "[time]",
      "version": 2
    }
    "#);
    assert_snapshot!(anybody.get("/api/v1/products/1").await.shown(), @r#"
    200
    content-type: application/json
    {
      "as_of": "[time]",
      "available": 5,
      "category": "new",
      "description": "",
      "id": 1,
      "name": "New name",
      "price": {
        "amount": 1,
        "currency": "GBP"
      },
      "sku": "SKU-1"
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn a_change_leaves_alone_what_it_does_not_name() {
    let app = TestApp::builder().product(5).start().await;
    let changed = app.admin().patch("/api/v1/admin/products/1", &json!({"category": "new"})).await;
    let json = changed.expect(200).json();
    assert_eq!(json["name"], "Product 1");
    assert_eq!(json["price"], json!({"amount": 250, "currency": "EUR"}));
    assert_eq!((&json["category"], &json["stock"]), (&json!("new"), &json!(5)));
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_an_old_version_is_refused_with_the_current_one() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    app.customer(1).buy(1, 1, "a").await.expect(201);
    let before = app.contents().await;
    let refused = admin.patch("/api/v1/admin/products/1", &json!({"name": "New", "version": 1})).await;
    assert_snapshot!(refused.shown(), @r#"
    409
    content-type: application/problem+json
    {
      "detail": "The product is at version 3.",
      "status": 409,
      "title": "Somebody else changed it meanwhile",
      "type": "/problems/version-conflict",
      "version": 3
    }
    "#);
    assert_eq!(app.contents().await, before, "nothing changes");
    let version = refused.json()["version"].clone();
    admin.patch("/api/v1/admin/products/1", &json!({"name": "New", "version": version})).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_product_cannot_be_changed() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let change = admin.patch("/api/v1/admin/products/2", &json!({"name": "New"}));
    assert_snapshot!(app.refuses(change).await, @"404 not-found: There is no such product.");
    let stock = admin.post("/api/v1/admin/products/2/stock", &json!({"delta": 1, "reason": "restock"}));
    assert_snapshot!(app.refuses(stock.key("a")).await, @"404 not-found: There is no such product.");
    app.finish().await;
}

#[tokio::test]
async fn units_that_are_added_can_be_bought() {
    let app = TestApp::builder().product(1).start().await;
    assert_snapshot!(adjust(&app.admin(), "a", 4).await.shown(), @r#"
    200
    content-type: application/json
    {
      "available": 5,
      "category": "odd",
      "description": "What product 1 is.",
      "id": 1,
      "name": "Product 1",
      "price": {
        "amount": 250,
        "currency": "EUR"
      },
      "reserved": 0,
      "sku": "SKU-1",
      "stock": 5,
      "updated_at": "[time]",
      "version": 2
    }
    "#);
    app.customer(1).buy(1, 5, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_stock_with_the_same_key_is_made_once() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let first = adjust(&admin, "a", 4).await.expect(200);
    let before = app.contents().await;
    assert_eq!(adjust(&admin, "a", 4).await.expect(200).json(), first.json());
    assert_eq!(app.contents().await, before, "nothing changes");

    assert_snapshot!(
        app.refuses(adjust(&admin, "a", 5)).await,
        @"422 idempotency-key-reused: This key was used for another change of stock."
    );
    assert_eq!(app.levels().await, [(9, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_key_for_stock_is_none_for_orders() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    adjust(&admin, "a", 4).await.expect(200);
    admin.buy(1, 9, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn not_more_units_can_be_taken_away_than_are_available() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let before = app.contents().await;
    assert_snapshot!(adjust(&admin, "a", -6).await.shown(), @r#"
    409
    content-type: application/problem+json
    {
      "available": 5,
      "detail": "Only 5 units can be taken away.",
      "status": 409,
      "title": "Not enough is left",
      "type": "/problems/out-of-stock"
    }
    "#);
    assert_eq!(app.contents().await, before, "nothing changes");
    adjust(&admin, "a", -5).await.expect(200);
    assert_eq!(app.levels().await, [(0, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn stock_that_many_change_at_once_is_the_sum_of_all_changes() {
    let app = TestApp::builder().product(100).start().await;
    let admins: Vec<_> = (0..20).map(|_| app.admin()).collect();
    let buyers: Vec<_> = (1..=20).map(|id| app.customer(id)).collect();
    let changes = admins.iter().zip(1..).map(|(admin, n)| {
        let delta = if n % 2 == 0 { n } else { -n };
        async move { adjust(admin, &format!("key {n}"), delta).await.expect(200) }
    });
    let sales = buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) });
    futures_util::future::join(
        futures_util::future::join_all(changes),
        futures_util::future::join_all(sales),
    )
    .await;
    assert_eq!(app.levels().await, [(100 + 10 - 20, 0)]);
    app.finish().await;
}

/// An order whose saga stopped at the payment, as it is when the gateway answers no undo.
async fn stuck_order(app: &TestApp) -> OrderId {
    let stores = &app.shop.stores;
    let driver = Driver { instance: app.shop.engine.instance(), epoch: 1 };
    let (id, at) = (stores.clock.new_order_id(), stores.clock.now());
    let basket = Basket::new([(ProductId(1), 2)].into_iter(), 1, 2).expect("a basket");
    let deadline = at.plus(Duration::from_secs(60));
    let purchase = Purchase {
        user_id: UserId(1),
        key: Digest::of(&[b"key"]),
        body: Digest::of(&[b"body"]),
        basket,
        expected_total: None,
        payment_token: None,
        at,
        deadline,
    };
    let purchase = Arc::new(purchase);
    let hold = [Hold::of(&Saga::new(id, driver, Arc::clone(&purchase)))];
    app.shop.gate.reserve(&hold).await.pop().expect("an answer").expect("it is held");
    let order = NewOrder { id, driver, purchase, at };
    stores.ledger.create_orders(vec![order]).await.pop().expect("an answer").expect("it is created");
    app.shop.gate.ordered(&hold).await.expect("the gate answers");
    let saga = SagaRef { id, driver, at };
    stores.ledger.park_saga(saga, StepName::TakePayment, None).await.expect("it is parked");
    id
}

#[tokio::test]
async fn a_stuck_saga_is_listed_and_can_be_resumed() {
    let app = TestApp::builder().product(5).start().await;
    let (admin, buyer) = (app.admin(), app.customer(1));
    assert_snapshot!(admin.get("/api/v1/admin/sagas?stuck=true").await.shown(), @r#"
    200
    content-type: application/json
    {
      "items": []
    }
    "#);
    let order = stuck_order(&app).await;
    let listed = admin.get("/api/v1/admin/sagas?stuck=true").await;
    assert_eq!(listed.json(), admin.get("/api/v1/admin/sagas").await.json());
    assert_snapshot!(listed.shown(), @r#"
    200
    content-type: application/json
    {
      "items": [
        {
          "epoch": 1,
          "id": "[id]",
          "order": {
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
          },
          "owner": "[id]",
          "stuck": true,
          "stuck_at": "take_payment",
          "updated_at": "[time]",
          "user_id": 1
        }
      ]
    }
    "#);

    let resumed = admin.post(&format!("/api/v1/admin/sagas/{order}/resume"), &Value::Null).await;
    assert_snapshot!(resumed.shown(), @r#"
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
    let confirmed = async || buyer.view_order(&order.to_string()).await.json()["status"] == "CONFIRMED";
    wait_for("the order is confirmed", PATIENCE, confirmed).await;
    assert_eq!(admin.get("/api/v1/admin/sagas").await.json(), json!({"items": []}));
    assert_eq!(app.levels().await, [(3, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_saga_that_is_not_stuck_cannot_be_resumed() {
    let app = TestApp::builder().product(5).start().await;
    let order = app.customer(1).buy(1, 1, "a").await.expect(201).id();
    let admin = app.admin();
    let resume = admin.request("POST", &format!("/api/v1/admin/sagas/{order}/resume"));
    assert_snapshot!(app.refuses(resume).await, @"409 not-stuck: The saga is not stuck.");
    let unknown = admin.request("POST", "/api/v1/admin/sagas/0190a2b4-0000-7000-8000-000000000000/resume");
    assert_snapshot!(app.refuses(unknown).await, @"404 not-found: There is no such saga.");
    app.finish().await;
}

#[tokio::test]
async fn a_stuck_saga_keeps_its_units_and_its_key() {
    let app = TestApp::builder().product(3).start().await;
    let order = stuck_order(&app).await;
    let buyer = app.customer(2);
    assert_snapshot!(app.refuses(buyer.buy(1, 2, "a")).await, @"409 out-of-stock: Left: 1 of product 1.");
    buyer.buy(1, 1, "a").await.expect(201);
    app.shop.engine.resume(order).await.expect("the ledger answers");
    app.finish().await;
}
