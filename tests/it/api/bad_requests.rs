//! Bad HTTP: too large, too slow, not HTTP at all. Each ends soon, and nothing changed.

use std::time::Duration;

use insta::assert_snapshot;
use tokio::time::Instant;

use crate::support::http_client::{Client, lines};
use crate::support::test_app::{PATIENCE, TestApp};

/// A time-out for tests that wait for it.
const SHORT_MS: u64 = 100;

/// The head of an order whose body is still to come.
fn order_head(buyer: &Client, body: &str) -> Vec<u8> {
    let token = buyer.token.as_deref().expect("a customer");
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\n\
         idempotency-key: a\r\n{body}\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let app = TestApp::builder().product(5).config(|c| c.server.body_max_bytes = 1_000).start().await;
    let buyer = app.customer(1);
    let body = lines(&[(1, 1)]).to_string();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let order = |length| buyer.request("POST", "/api/v1/orders").key("a").body(padded(length));
    assert_snapshot!(
        app.refuses(order(1_001)).await,
        @"413 body-too-large: The body has more than 1000 bytes."
    );
    order(1_000).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_body_over_the_limit_in_chunks_is_refused() {
    let app = TestApp::builder().product(5).config(|c| c.server.body_max_bytes = 1_000).start().await;
    let before = app.contents().await;
    let mut connection = app.connect().await;
    connection.write(&order_head(&app.customer(1), "transfer-encoding: chunked")).await;
    for _ in 0..11 {
        connection.write(format!("64\r\n{}\r\n", " ".repeat(100)).as_bytes()).await;
    }
    assert_snapshot!(
        connection.answer().await.brief(),
        @"413 body-too-large: The body has more than 1000 bytes."
    );
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_body_in_chunks_is_accepted() {
    let app = TestApp::builder().product(5).start().await;
    let mut connection = app.connect().await;
    connection.write(&order_head(&app.customer(1), "transfer-encoding: chunked")).await;
    let body = lines(&[(1, 1)]).to_string();
    for byte in body.bytes() {
        connection.write(format!("1\r\n{}\r\n", char::from(byte)).as_bytes()).await;
    }
    connection.write(b"0\r\n\r\n").await;
    connection.answer().await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_claims_to_be_larger_than_the_limit_is_refused_once_the_limit_has_come() {
    let app = TestApp::builder().product(5).config(|c| c.server.body_max_bytes = 1_000).start().await;
    let before = app.contents().await;
    let mut connection = app.connect().await;
    connection.write(&order_head(&app.customer(1), "content-length: 999999999999")).await;
    connection.write(" ".repeat(1_001).as_bytes()).await;
    assert_snapshot!(
        connection.answer().await.brief(),
        @"413 body-too-large: The body has more than 1000 bytes."
    );
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let app = TestApp::builder().product(5).config(|c| c.server.body_timeout_ms = SHORT_MS).start().await;
    let before = app.contents().await;
    let mut connection = app.connect().await;
    connection.write(&order_head(&app.customer(1), "content-length: 100")).await;
    connection.write(b"{\"lines\":").await;
    assert_snapshot!(
        connection.answer().await.brief(),
        @"408 body-timeout: The body did not arrive in time."
    );
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_refused_too() {
    let app = TestApp::builder().product(5).config(|c| c.server.body_timeout_ms = SHORT_MS).start().await;
    let before = app.contents().await;
    let mut connection = app.connect().await;
    connection.write(&order_head(&app.customer(1), "content-length: 100000")).await;
    let (mut trickle, until) = (tokio::time::interval(Duration::from_millis(5)), Instant::now() + PATIENCE);
    let answer = loop {
        tokio::select! {
            answer = connection.answer() => break answer,
            _ = trickle.tick() => {}
        }
        connection.write(b" ").await;
        assert!(Instant::now() < until, "the shop waits for ever");
    };
    assert_eq!(answer.status, 408);
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_buys_nothing() {
    let app = TestApp::builder().product(5).start().await;
    let before = app.contents().await;
    let buyer = app.customer(1);
    let body = lines(&[(1, 1)]).to_string();
    let mut connection = app.connect().await;
    connection.write(&order_head(&buyer, &format!("content-length: {}", body.len() + 1))).await;
    connection.write(body.as_bytes()).await;
    drop(connection);
    // A request on a later connection is served after it.
    buyer.get("/api/v1/orders").await.expect(200);
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let app = TestApp::builder().product(5).config(|c| c.server.header_timeout_ms = SHORT_MS).start().await;
    for beginning in ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nhost: shop\r\nx: "] {
        let mut connection = app.connect().await;
        connection.write(beginning.as_bytes()).await;
        let answer = connection.answer_or_end().await;
        assert!(answer.is_none_or(|answer| answer.status == 408), "{beginning:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let app = TestApp::builder().product(5).config(|c| c.server.header_timeout_ms = SHORT_MS).start().await;
    let mut connection = app.connect().await;
    connection.write(b"GET /healthz HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    connection.answer().await.expect(200);
    assert!(connection.answer_or_end().await.is_none());
    app.finish().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let app = TestApp::builder().product(5).config(|c| c.server.head_max_bytes = 8_192).start().await;
    let buyer = app.customer(1);
    let request = || buyer.buy(1, 1, "a");
    assert_snapshot!(app.refuses(request().header("x-large", "x".repeat(9_000))).await, @"431");
    request().header("x-large", "x".repeat(7_000)).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_address_over_the_limit_is_refused() {
    let app = TestApp::builder().product(5).config(|c| c.server.head_max_bytes = 8_192).start().await;
    let anybody = app.anybody();
    let path = format!("/api/v1/products?q={}", "x".repeat(9_000));
    assert_snapshot!(app.refuses(anybody.get(&path)).await, @"431");
    app.finish().await;
}

#[tokio::test]
async fn more_than_64_headers_are_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    // host, authorization, content-type, idempotency-key and content-length are there already.
    let with = |more: usize| {
        (0..more).fold(buyer.buy(1, 1, "a"), |request, n| request.header(&format!("x-{n}"), "1"))
    };
    assert_snapshot!(app.refuses(with(60)).await, @"431");
    with(59).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let before = app.contents().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: shop\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nhost: shop\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nhost: shop\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12",
        b"POST /api/v1/orders HTTP/1.1\r\nhost: shop\r\nbad header: 1\r\n\r\n",
    ] {
        let mut connection = app.connect().await;
        connection.write(bytes).await;
        let answer = connection.answer_or_end().await;
        let shown = String::from_utf8_lossy(bytes).into_owned();
        assert!(answer.is_none_or(|answer| [400, 505].contains(&answer.status)), "{shown}");
    }
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_length_beside_chunks_hides_no_second_request() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let before = app.contents().await;
    // By its length the body would hide an order; by its chunks the order is a request of its own.
    let hidden = String::from_utf8(buyer.buy(1, 1, "hidden").bytes()).expect("a text");
    let body = format!("0\r\n\r\n{hidden}");
    let mut connection = app.connect().await;
    let headers = format!("content-length: {}\r\ntransfer-encoding: chunked", body.len());
    connection.write(&order_head(&buyer, &headers)).await;
    connection.write(body.as_bytes()).await;
    let first = connection.answer_or_end().await;
    assert!(first.is_none_or(|answer| answer.status == 400));
    assert!(connection.answer_or_end().await.is_none(), "no further request is read");
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_those_that_are_right() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(buyer.request("DELETE", "/api/v1/orders").await.shown(), @r#"
    405
    content-type: application/problem+json
    allow: POST,GET,HEAD
    {
      "detail": "The address does not know this method.",
      "status": 405,
      "title": "The address does not know this method",
      "type": "/problems/method-not-allowed"
    }
    "#);
    for (method, path, allow) in [
        ("PUT", "/api/v1/orders/1", "GET,HEAD"),
        ("GET", "/api/v1/orders/1/cancel", "POST"),
        ("POST", "/api/v1/products", "GET,HEAD"),
        ("GET", "/api/v1/auth/login", "POST"),
        ("DELETE", "/api/v1/admin/products/1", "PATCH"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/problems/not-found", "GET,HEAD"),
        ("DELETE", "/", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("FROBNICATE", "/api/v1/admin/sagas", "GET,HEAD"),
    ] {
        let before = app.contents().await;
        let answer = buyer.request(method, path).await.expect(405);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(answer.brief(), "405 method-not-allowed: The address does not know this method.");
        assert_eq!(app.contents().await, before, "nothing changes");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_address_is_not_found() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    assert_snapshot!(buyer.get("/api/v1/nothing").await.shown(), @r#"
    404
    content-type: application/problem+json
    {
      "detail": "There is nothing at this address.",
      "status": 404,
      "title": "Not found",
      "type": "/problems/not-found"
    }
    "#);
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/products",
        "/api/v1/products/",
        "/api/v1/orders/1/live/x",
        "//",
        "/api/v1/products/1/../../orders",
        "/%00",
        "/problems/nothing",
        "/problems/",
    ] {
        let answer = buyer.get(path).await.expect(404);
        assert!(answer.brief().starts_with("404 not-found: "), "{path}: {}", answer.brief());
    }
    for path in ["/docs/nothing", "/docs/../Cargo.toml", "/docs/%2e%2e/Cargo.toml", "/docs//etc/passwd"] {
        buyer.get(path).await.expect(404);
    }
    app.finish().await;
}

#[tokio::test]
async fn an_address_that_is_no_text_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    for path in ["/api/v1/products/%FF", "/api/v1/orders/%FF", "/problems/%FF"] {
        let answer = app.refuses(buyer.get(path)).await;
        let right = answer.starts_with("400 malformed-request: ") || answer.starts_with("404 not-found: ");
        assert!(right, "{path}: {answer}");
    }
    app.finish().await;
}

#[tokio::test]
async fn requests_sent_without_waiting_are_answered_in_order() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let mut bytes = Vec::new();
    for path in ["/healthz", "/api/v1/products/1", "/api/v1/nothing", "/healthz"] {
        bytes.extend(buyer.get(path).bytes());
    }
    bytes.extend(buyer.buy(1, 1, "a").bytes());
    let mut connection = app.connect().await;
    connection.write(&bytes).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(connection.answer().await.status);
    }
    assert_eq!(statuses, [200, 200, 404, 200, 201]);
    app.finish().await;
}

#[tokio::test]
async fn an_answer_that_needs_no_body_is_not_held_up_by_one() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    let before = app.contents().await;
    for length in [1, 10_000, 1_000_000] {
        let mut connection = app.connect().await;
        let request = anybody.request("POST", "/api/v1/orders").body(" ".repeat(length));
        // All that fits; the rest is of no use to the shop.
        connection.write(&request.bytes()).await;
        connection.answer().await.expect(401);
    }
    assert_eq!(app.contents().await, before, "nothing changes");
    app.finish().await;
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_next_request_to_be_complete() {
    let app = TestApp::builder().start().await;
    let mut connection = app.connect().await;
    connection.write(b"GET /healthz HTTP/1.1\r\nhost: shop\r\n\r\nGET /healthz HT").await;
    connection.answer().await.expect(200);
    connection.write(b"TP/1.1\r\nhost: shop\r\n\r\n").await;
    connection.answer().await.expect(200);
    app.finish().await;
}
