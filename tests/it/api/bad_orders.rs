//! Bad orders: each refused with a clear answer, and nothing changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::{Client, Request, lines};
use crate::support::test_app::TestApp;

/// Sends a body as it is.
fn raw<'c>(buyer: &'c Client, body: impl Into<Vec<u8>>) -> Request<'c> {
    buyer.request("POST", "/api/v1/orders").key("a").header("content-type", "application/json").body(body)
}

/// Orders a quantity that need not be a number.
fn quantity<'c>(buyer: &'c Client, quantity: &str) -> Request<'c> {
    raw(buyer, format!(r#"{{"lines":[{{"product_id":1,"quantity":{quantity}}}]}}"#))
}

#[tokio::test]
async fn malformed_json_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(raw(&buyer, "")).await,
        @"400 malformed-json: The body is not JSON: EOF while parsing a value at line 1 column 0."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, "{")).await,
        @"400 malformed-json: The body is not JSON: EOF while parsing an object at line 1 column 1."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, "lines=1")).await,
        @"400 malformed-json: The body is not JSON: expected value at line 1 column 1."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":1,"quantity":1},]}"#)).await,
        @"400 malformed-json: The body is not JSON: trailing comma at line 1 column 41."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":1,"quantity":1}]} x"#)).await,
        @"400 malformed-json: The body is not JSON: trailing characters at line 1 column 43."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":1,"quantity":01}]}"#)).await,
        @"400 malformed-json: The body is not JSON: invalid number at line 1 column 39."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":1,"quantity":NaN}]}"#)).await,
        @"400 malformed-json: The body is not JSON: expected value at line 1 column 38."
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, "\u{feff}{}")).await,
        @"400 malformed-json: The body is not JSON: expected value at line 1 column 1."
    );
    app.finish().await;
}

#[tokio::test]
async fn the_answer_to_malformed_json_is_a_problem() {
    let app = TestApp::builder().product(5).start().await;
    assert_snapshot!(raw(&app.customer(1), "{\n  nonsense").await.shown(), @r#"
    400
    content-type: application/problem+json
    {
      "detail": "The body is not JSON: key must be a string at line 2 column 3.",
      "status": 400,
      "title": "The body is not JSON",
      "type": "/problems/malformed-json"
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn the_answer_to_a_bad_value_names_it_by_a_json_pointer() {
    let app = TestApp::builder().product(5).start().await;
    assert_snapshot!(quantity(&app.customer(1), "\"1\"").await.shown(), @r#"
    422
    content-type: application/problem+json
    {
      "detail": "/lines/0/quantity: invalid type: string \"1\", expected i64",
      "errors": [
        {
          "detail": "invalid type: string \"1\", expected i64",
          "pointer": "/lines/0/quantity"
        }
      ],
      "status": 422,
      "title": "A value is not acceptable",
      "type": "/problems/invalid-request"
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn json_of_another_shape_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(raw(&buyer, "null")).await,
        @"422 invalid-request: invalid type: null, expected an object"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, "1")).await,
        @"422 invalid-request: invalid type: integer `1`, expected an object"
    );
    assert_snapshot!(app.refuses(raw(&buyer, "{}")).await, @"422 invalid-request: missing field `lines`");
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":null}"#)).await,
        @"422 invalid-request: /lines: invalid type: null, expected a sequence"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":{"product_id":1,"quantity":1}}"#)).await,
        @"422 invalid-request: /lines: invalid type: map, expected a sequence"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":1}]}"#)).await,
        @"422 invalid-request: /lines/0: missing field `quantity`"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[{"product_id":"1","quantity":1}]}"#)).await,
        @r#"422 invalid-request: /lines/0/product_id: invalid type: string "1", expected i64"#
    );
    app.finish().await;
}

#[tokio::test]
async fn an_array_in_the_place_of_an_object_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(raw(&buyer, "[[[1,1]],null,null]")).await,
        @"422 invalid-request: invalid type: sequence, expected an object"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, r#"{"lines":[[1,1]]}"#)).await,
        @"422 invalid-request: /lines/0: invalid type: sequence, expected an object"
    );
    let total = r#"{"lines":[{"product_id":1,"quantity":1}],"expected_total":[250,"EUR"]}"#;
    assert_snapshot!(
        app.refuses(raw(&buyer, total)).await,
        @"422 invalid-request: /expected_total: invalid type: sequence, expected an object"
    );
    app.finish().await;
}

#[tokio::test]
async fn unknown_fields_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let mut body = lines(&[(1, 1)]);
    body["user_id"] = 2.into();
    assert_snapshot!(
        app.refuses(buyer.order("a", &body)).await,
        @"422 invalid-request: /user_id: unknown field `user_id`, expected one of `lines`, `payment_token`, `expected_total`"
    );
    let mut body = lines(&[(1, 1)]);
    body["lines"][0]["unit_price"] = 1.into();
    assert_snapshot!(
        app.refuses(buyer.order("a", &body)).await,
        @"422 invalid-request: /lines/0/unit_price: unknown field `unit_price`, expected `product_id` or `quantity`"
    );
    let mut body = lines(&[(1, 1)]);
    body["expected_total"] = json!({"amount": 250, "currency": "EUR", "tax": 0});
    assert_snapshot!(
        app.refuses(buyer.order("a", &body)).await,
        @"422 invalid-request: /expected_total/tax: unknown field `tax`, expected `amount` or `currency`"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_field_that_comes_twice_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let body = r#"{"lines":[{"product_id":1,"quantity":1,"quantity":2}]}"#;
    assert_snapshot!(
        app.refuses(raw(&buyer, body)).await,
        @"422 invalid-request: /lines/0: duplicate field `quantity`"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_quantity_of_zero_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(quantity(&buyer, "0")).await,
        @"422 invalid-request: /lines/0/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "-0")).await,
        @"422 invalid-request: /lines/0/quantity: invalid type: floating point `-0.0`, expected i64"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_negative_quantity_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(quantity(&buyer, "-1")).await,
        @"422 invalid-request: /lines/0/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "-9223372036854775808")).await,
        @"422 invalid-request: /lines/0/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    // Not even where the sum of the lines would be positive.
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 3), (1, -2)]))).await,
        @"422 invalid-request: /lines/1/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_huge_quantity_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(quantity(&buyer, "100001")).await,
        @"422 invalid-request: /lines/0/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "4294967297")).await,
        @"422 invalid-request: /lines/0/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "9223372036854775808")).await,
        @"422 invalid-request: /lines/0/quantity: invalid value: integer `9223372036854775808`, expected i64"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "1e400")).await,
        @"400 malformed-json: The body is not JSON: number out of range at line 1 column 42."
    );
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 60_000), (1, 60_000)]))).await,
        @"422 invalid-request: /lines/1/quantity: a line has at least 1 and at most 100000 units of a product, all lines of that product together"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_fractional_quantity_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(quantity(&buyer, "1.5")).await,
        @"422 invalid-request: /lines/0/quantity: invalid type: floating point `1.5`, expected i64"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "1.0")).await,
        @"422 invalid-request: /lines/0/quantity: invalid type: floating point `1.0`, expected i64"
    );
    assert_snapshot!(
        app.refuses(quantity(&buyer, "1e0")).await,
        @"422 invalid-request: /lines/0/quantity: invalid type: floating point `1.0`, expected i64"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_order_without_lines_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    assert_snapshot!(
        app.refuses(app.customer(1).order("a", &lines(&[]))).await,
        @"422 invalid-request: /lines: an order has at least one line"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_order_of_1001_lines_is_refused() {
    let app = TestApp::builder().product(5_000).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 1); 1_001]))).await,
        @"422 invalid-request: /lines: an order has at most 1000 lines"
    );
    let order = buyer.order("a", &lines(&[(1, 1); 1_000])).await.expect(201);
    assert_eq!(order.json()["lines"][0]["quantity"], 1_000);
    app.finish().await;
}

#[tokio::test]
async fn an_order_of_10000_lines_is_refused() {
    // Large enough for the body, so that it is the lines that are too many.
    let app = TestApp::builder().product(5).config(|c| c.server.body_max_bytes = 1 << 20).start().await;
    assert_snapshot!(
        app.refuses(app.customer(1).order("a", &lines(&[(1, 1); 10_000]))).await,
        @"422 invalid-request: /lines: an order has at most 1000 lines"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_order_of_1000_different_products_is_sold() {
    let app = TestApp::builder().products(1_000, 1).start().await;
    let all: Vec<_> = (1..=1_000).map(|product| (product, 1)).collect();
    let order = app.customer(1).order("a", &lines(&all)).await.expect(201);
    assert_eq!(order.json()["total"]["amount"], 250_000);
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_product_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 1), (2, 1)]))).await,
        @"422 invalid-request: /lines/1/product_id: there is no product 2"
    );
    assert_snapshot!(
        app.refuses(buyer.buy(0, 1, "a")).await,
        @"422 invalid-request: /lines/0/product_id: there is no product 0"
    );
    assert_snapshot!(
        app.refuses(buyer.buy(i64::MIN, 1, "a")).await,
        @"422 invalid-request: /lines/0/product_id: there is no product -9223372036854775808"
    );
    // The key is free again.
    buyer.buy(1, 1, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_total_that_overflows_is_refused() {
    let app = TestApp::builder().priced(5, i64::MAX, "EUR").priced(5, 1, "EUR").start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 2, "a")).await,
        @"422 invalid-request: /lines: the total is larger than any amount of money can be"
    );
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 1), (2, 1)]))).await,
        @"422 invalid-request: /lines: the total is larger than any amount of money can be"
    );
    buyer.buy(1, 1, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn sales_whose_sum_overflows_are_audited() {
    let app = TestApp::builder().priced(5, i64::MAX, "EUR").start().await;
    let buyer = app.customer(1);
    buyer.buy(1, 1, "a").await.expect(201);
    buyer.buy(1, 1, "b").await.expect(201);
    let report = app.finish().await;
    assert_eq!(report.units_sold, 2);
    assert_eq!(serde_json::to_value(&report).expect("JSON")["revenue_minor"]["EUR"], u64::MAX - 1);
}

#[tokio::test]
async fn products_in_two_currencies_are_not_sold_together() {
    let app = TestApp::builder().product(5).priced(5, 100, "GBP").start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.order("a", &lines(&[(1, 1), (2, 1)]))).await,
        @"422 invalid-request: /lines: the products are priced in different currencies"
    );
    buyer.buy(2, 1, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_expected_total_that_is_no_money_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let expecting = |total: Value| {
        let mut body = lines(&[(1, 1)]);
        body["expected_total"] = total;
        buyer.order("a", &body)
    };
    assert_snapshot!(
        app.refuses(expecting(json!(250))).await,
        @"422 invalid-request: /expected_total: invalid type: integer `250`, expected an object"
    );
    assert_snapshot!(
        app.refuses(expecting(json!({"amount": 2.5, "currency": "EUR"}))).await,
        @"422 invalid-request: /expected_total/amount: invalid type: floating point `2.5`, expected i64"
    );
    assert_snapshot!(
        app.refuses(expecting(json!({"amount": 250, "currency": "EUROS"}))).await,
        @"422 invalid-request: /expected_total/currency: not an ISO 4217 currency code, such as EUR"
    );
    assert_snapshot!(
        app.refuses(expecting(json!({"amount": 250}))).await,
        @"422 invalid-request: /expected_total: missing field `currency`"
    );
    assert_snapshot!(
        app.refuses(expecting(json!({"amount": -250, "currency": "EUR"}))).await,
        @"409 price-changed: The total is 2.50 EUR now."
    );
    app.finish().await;
}

#[tokio::test]
async fn a_payment_token_that_is_empty_or_too_long_or_has_control_characters_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy_with("", 1, "a")).await,
        @"422 invalid-request: /payment_token: has to have 1 to 255 characters"
    );
    assert_snapshot!(
        app.refuses(buyer.buy_with(&"x".repeat(256), 1, "a")).await,
        @"422 invalid-request: /payment_token: has to have 1 to 255 characters"
    );
    assert_snapshot!(
        app.refuses(buyer.buy_with("tok_ok\u{0}", 1, "a")).await,
        @"422 invalid-request: /payment_token: has a control character"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_order_without_a_key_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.post("/api/v1/orders", &lines(&[(1, 1)]))).await,
        @"400 idempotency-key-missing: The header Idempotency-Key is missing."
    );
    app.finish().await;
}

#[tokio::test]
async fn an_empty_key_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "")).await,
        @"400 idempotency-key-missing: The header Idempotency-Key has to be visible ASCII characters."
    );
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "  \t ")).await,
        @"400 idempotency-key-missing: The header Idempotency-Key has to be visible ASCII characters."
    );
    app.finish().await;
}

#[tokio::test]
async fn two_keys_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "a").key("b")).await,
        @"400 idempotency-key-missing: The header Idempotency-Key comes more than once."
    );
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "a").key("a")).await,
        @"400 idempotency-key-missing: The header Idempotency-Key comes more than once."
    );
    app.finish().await;
}

#[tokio::test]
async fn a_key_of_256_characters_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, &"k".repeat(256))).await,
        @"422 invalid-request: Idempotency-Key: has more than 255 characters"
    );
    buyer.buy(1, 1, &"k".repeat(255)).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_key_that_is_not_ascii_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(buyer.buy(1, 1, "schlüssel")).await,
        @"400 idempotency-key-missing: The header Idempotency-Key has to be visible ASCII characters."
    );
    app.finish().await;
}

#[tokio::test]
async fn invalid_utf_8_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(
        app.refuses(raw(&buyer, b"{\"lines\":[],\"\xff\":1}".to_vec())).await,
        @"400 malformed-json: The body is not JSON: invalid unicode code point at line 1 column 14."
    );
    let token = b"{\"lines\":[{\"product_id\":1,\"quantity\":1}],\"payment_token\":\"\xc3\x28\"}".to_vec();
    assert_snapshot!(
        app.refuses(raw(&buyer, token)).await,
        @"400 malformed-json: The body is not JSON: invalid unicode code point at line 1 column 59."
    );
    let surrogate = r#"{"lines":[{"product_id":1,"quantity":1}],"payment_token":"\ud800"}"#;
    assert_snapshot!(
        app.refuses(raw(&buyer, surrogate)).await,
        @"400 malformed-json: The body is not JSON: unexpected end of hex escape at line 1 column 65."
    );
    app.finish().await;
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    assert_snapshot!(
        app.refuses(raw(&buyer, format!("{open}{close}"))).await,
        @"422 invalid-request: invalid type: sequence, expected an object"
    );
    assert_snapshot!(
        app.refuses(raw(&buyer, format!(r#"{{"lines":{open}{close}}}"#))).await,
        @"422 invalid-request: /lines/0: invalid type: sequence, expected an object"
    );
    let unknown = format!(r#"{{"deep":{open}{close},"lines":[]}}"#);
    assert_snapshot!(
        app.refuses(raw(&buyer, unknown)).await,
        @"422 invalid-request: /deep: unknown field `deep`, expected one of `lines`, `payment_token`, `expected_total`"
    );
    app.finish().await;
}
