//! Bad products and changes of stock: each refused, and nothing changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::{Client, Request};
use crate::support::test_app::TestApp;

use super::administration::{adjust, lamp};

/// Creates a lamp with another `field`.
fn create<'c>(admin: &'c Client, field: &str, value: impl Into<Value>) -> Request<'c> {
    let mut product = lamp();
    product[field] = value.into();
    admin.post("/api/v1/admin/products", &product)
}

#[tokio::test]
async fn only_administrators_may_use_the_routes_of_administrators() {
    let app = TestApp::builder().product(5).start().await;
    let (customer, anybody) = (app.customer(1), app.anybody());
    let order = customer.buy(1, 1, "a").await.expect(201).id();
    let resume = format!("/api/v1/admin/sagas/{order}/resume");
    for (method, path, body) in [
        ("POST", "/api/v1/admin/products", lamp()),
        ("PATCH", "/api/v1/admin/products/1", json!({"name": "New"})),
        ("POST", "/api/v1/admin/products/1/stock", json!({"delta": 1, "reason": "restock"})),
        ("GET", "/api/v1/admin/sagas", Value::Null),
        ("POST", &resume, Value::Null),
    ] {
        let refused = app.refuses(customer.request(method, path).key("k").json(&body)).await;
        assert_eq!(refused, "403 forbidden: Only administrators may do this.", "{method} {path}");
        let refused = app.refuses(anybody.request(method, path).key("k").json(&body)).await;
        assert_eq!(refused, "401 unauthorized: The header Authorization is missing.", "{method} {path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_negative_price_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let price = json!({"amount": -1, "currency": "EUR"});
    assert_snapshot!(
        app.refuses(create(&admin, "price", price.clone())).await,
        @"422 invalid-request: /price/amount: cannot be negative"
    );
    let change = admin.patch("/api/v1/admin/products/1", &json!({"price": price}));
    assert_snapshot!(app.refuses(change).await, @"422 invalid-request: /price/amount: cannot be negative");
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_currency_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for currency in ["XXX", "eur", "EURO", "", "€"] {
        let price = json!({"amount": 1, "currency": currency});
        let error = "422 invalid-request: /price/currency: not an ISO 4217 currency code, such as EUR";
        assert_eq!(app.refuses(create(&admin, "price", price.clone())).await, error, "{currency}");
        let change = admin.patch("/api/v1/admin/products/1", &json!({"price": price}));
        assert_eq!(app.refuses(change).await, error, "{currency}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_price_that_is_no_amount_of_minor_units_is_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    let price = |amount: Value| json!({"amount": amount, "currency": "EUR"});
    assert_snapshot!(
        app.refuses(create(&admin, "price", price(json!(1.5)))).await,
        @"422 invalid-request: /price/amount: invalid type: floating point `1.5`, expected i64"
    );
    assert_snapshot!(
        app.refuses(create(&admin, "price", price(json!("1")))).await,
        @r#"422 invalid-request: /price/amount: invalid type: string "1", expected i64"#
    );
    assert_snapshot!(
        app.refuses(create(&admin, "price", price(json!(u64::MAX)))).await,
        @"422 invalid-request: /price/amount: invalid value: integer `18446744073709551615`, expected i64"
    );
    assert_snapshot!(
        app.refuses(create(&admin, "price", json!(1))).await,
        @"422 invalid-request: /price: invalid type: integer `1`, expected an object"
    );
    assert_snapshot!(
        app.refuses(create(&admin, "price", json!([1, "EUR"]))).await,
        @"422 invalid-request: /price: invalid type: sequence, expected an object"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_negative_or_huge_opening_stock_is_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    assert_snapshot!(
        app.refuses(create(&admin, "stock", -1)).await,
        @"422 invalid-request: /stock: has to be 0 to 1000000000"
    );
    assert_snapshot!(
        app.refuses(create(&admin, "stock", 1_000_000_001)).await,
        @"422 invalid-request: /stock: has to be 0 to 1000000000"
    );
    assert_snapshot!(
        app.refuses(create(&admin, "stock", i64::MIN)).await,
        @"422 invalid-request: /stock: has to be 0 to 1000000000"
    );
    create(&admin, "stock", 1_000_000_000).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn texts_that_are_too_short_or_too_long_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for (field, min, max) in
        [("sku", 1, 64), ("name", 1, 200), ("description", 0, 4_000), ("category", 0, 64)]
    {
        let error = format!("422 invalid-request: /{field}: has to have {min} to {max} characters");
        assert_eq!(app.refuses(create(&admin, field, "ä".repeat(max + 1))).await, error);
        if min > 0 {
            assert_eq!(app.refuses(create(&admin, field, "")).await, error);
        }
        if field != "sku" {
            let change = admin.patch("/api/v1/admin/products/1", &json!({ field: "x".repeat(max + 1) }));
            assert_eq!(app.refuses(change).await, error);
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn nul_bytes_and_other_control_characters_in_texts_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for field in ["sku", "name", "description", "category"] {
        let error = format!("422 invalid-request: /{field}: has a control character");
        for value in ["a\u{0}b", "\u{7f}", "a\tb", "\u{9b}", "\r"] {
            assert_eq!(app.refuses(create(&admin, field, value)).await, error, "{value:?}");
        }
        if field != "sku" {
            let change = admin.patch("/api/v1/admin/products/1", &json!({ field: "\u{0}" }));
            assert_eq!(app.refuses(change).await, error);
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn unknown_fields_of_products_and_stock_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    assert_snapshot!(
        app.refuses(create(&admin, "reserved", 1)).await,
        @"422 invalid-request: /reserved: unknown field `reserved`, expected one of `sku`, `name`, `description`, `category`, `price`, `stock`"
    );
    // What an administrator may not set: the stock has a log.
    let change = admin.patch("/api/v1/admin/products/1", &json!({"stock": 100}));
    assert_snapshot!(
        app.refuses(change).await,
        @"422 invalid-request: /stock: unknown field `stock`, expected one of `name`, `description`, `category`, `price`, `version`"
    );
    let stock = json!({"delta": 1, "reason": "restock", "note": ""});
    let stock = admin.post("/api/v1/admin/products/1/stock", &stock).key("a");
    assert_snapshot!(
        app.refuses(stock).await,
        @"422 invalid-request: /note: unknown field `note`, expected `delta` or `reason`"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_stock_by_0_or_more_than_a_billion_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for delta in [0, 1_000_000_001, -1_000_000_001, i64::MAX, i64::MIN] {
        let error = "422 invalid-request: /delta: has to be -1000000000 to 1000000000 and not 0";
        assert_eq!(app.refuses(adjust(&admin, "a", delta)).await, error, "{delta}");
    }
    let fraction = json!({"delta": 0.5, "reason": "restock"});
    let fraction = admin.post("/api/v1/admin/products/1/stock", &fraction).key("a");
    assert_snapshot!(
        app.refuses(fraction).await,
        @"422 invalid-request: /delta: invalid type: floating point `0.5`, expected i64"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_stock_that_would_be_too_large_to_be_counted_is_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    create(&admin, "stock", 1_000_000_000).await.expect(201);
    for n in 1..1_000 {
        adjust(&admin, &format!("key {n}"), 1_000_000_000).await.expect(200);
    }
    assert_snapshot!(
        app.refuses(adjust(&admin, "one more", 1)).await,
        @"422 invalid-request: /delta: the stock would be too large to be counted"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_reason_that_the_stock_log_uses_itself_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for reason in ["opening", "sale", "cancel"] {
        let body = json!({"delta": 1, "reason": reason});
        let request = admin.post("/api/v1/admin/products/1/stock", &body).key("a");
        let error = "422 invalid-request: /reason: is a word that the stock log uses itself";
        assert_eq!(app.refuses(request).await, error, "{reason}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_reason_that_is_empty_or_too_long_or_has_control_characters_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let with = |reason: &str| {
        let body = json!({"delta": 1, "reason": reason});
        admin.post("/api/v1/admin/products/1/stock", &body).key("a")
    };
    assert_snapshot!(
        app.refuses(with("")).await,
        @"422 invalid-request: /reason: has to have 1 to 200 characters"
    );
    assert_snapshot!(
        app.refuses(with(&"x".repeat(201))).await,
        @"422 invalid-request: /reason: has to have 1 to 200 characters"
    );
    assert_snapshot!(
        app.refuses(with("sale\u{0}")).await,
        @"422 invalid-request: /reason: has a control character"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_stock_without_a_key_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    let body = json!({"delta": 1, "reason": "restock"});
    let request = admin.post("/api/v1/admin/products/1/stock", &body);
    assert_snapshot!(
        app.refuses(request).await,
        @"400 idempotency-key-missing: The header Idempotency-Key is missing."
    );
    app.finish().await;
}

#[tokio::test]
async fn a_product_id_that_is_none_names_no_product() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for id in ["0", "-1", "x", "1.0", "99999999999999999999"] {
        let change = admin.patch(&format!("/api/v1/admin/products/{id}"), &json!({"name": "New"}));
        assert_eq!(app.refuses(change).await, "404 not-found: There is no such product.", "{id}");
    }
    app.finish().await;
}

#[tokio::test]
async fn bad_parameters_of_the_list_of_sagas_are_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    assert_snapshot!(
        app.refuses(admin.get("/api/v1/admin/sagas?limit=0")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    assert_snapshot!(
        app.refuses(admin.get("/api/v1/admin/sagas?limit=101")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    assert_snapshot!(
        app.refuses(admin.get("/api/v1/admin/sagas?stuck=maybe")).await,
        @"400 malformed-request: Failed to deserialize query string: stuck: provided string was not `true` or `false`"
    );
    assert_snapshot!(
        app.refuses(admin.get("/api/v1/admin/sagas?cursor=1")).await,
        @"400 malformed-request: Failed to deserialize query string: cursor: unknown field `cursor`, expected `stuck` or `limit`"
    );
    app.finish().await;
}
