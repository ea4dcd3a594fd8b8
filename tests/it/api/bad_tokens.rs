//! Bad tokens: each refused, and nothing changed.

use holdfast::ports::clock::{Clock as _, SystemClock};
use insta::assert_snapshot;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::http_client::Client;
use crate::support::test_app::{SECRET, TestApp};

fn now() -> i64 {
    SystemClock.now().0 / 1_000
}

/// Claims that the shop would make for an administrator.
fn claims() -> Value {
    json!({"sub": "1", "role": "admin", "iat": now(), "exp": now() + 60})
}

fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("a token")
}

/// What the shop says to a token, on a route of customers and on one of administrators.
async fn answers(app: &TestApp, token: &str) -> String {
    let client = Client::new(app.address, Some(token.to_owned()));
    let order = app.refuses(client.buy(1, 1, "a")).await;
    let sagas = app.refuses(client.get("/api/v1/admin/sagas")).await;
    assert_eq!(order, sagas);
    order
}

const NOT_OURS: &str = "401 unauthorized: The token is not ours, or it has expired.";

#[tokio::test]
async fn a_token_like_our_own_is_accepted() {
    // So that the other tests of this file are refused for the reason they name.
    let app = TestApp::builder().product(5).start().await;
    let client = Client::new(app.address, Some(signed(&claims(), Algorithm::HS256, SECRET)));
    client.buy(1, 1, "a").await.expect(201);
    client.get("/api/v1/admin/sagas").await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn a_missing_token_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    assert_snapshot!(anybody.buy(1, 1, "a").await.shown(), @r#"
    401
    content-type: application/problem+json
    www-authenticate: Bearer
    {
      "detail": "The header Authorization is missing.",
      "status": 401,
      "title": "Sign in first",
      "type": "/problems/unauthorized"
    }
    "#);
    for path in ["/api/v1/orders", "/api/v1/orders/1", "/api/v1/orders/1/events", "/api/v1/admin/sagas"] {
        let refused = app.refuses(anybody.get(path)).await;
        assert_eq!(refused, "401 unauthorized: The header Authorization is missing.", "{path}");
    }
    let cancel = app.refuses(anybody.cancel("1")).await;
    assert_eq!(cancel, "401 unauthorized: The header Authorization is missing.");
    app.finish().await;
}

#[tokio::test]
async fn a_header_that_carries_no_bearer_token_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    let token = signed(&claims(), Algorithm::HS256, SECRET);
    for header in [String::new(), "Bearer".to_owned(), token.clone(), format!("Basic {token}")] {
        let refused = app.refuses(anybody.buy(1, 1, "a").header("authorization", header.clone())).await;
        assert_eq!(refused, "401 unauthorized: The header has to be: Bearer and a token.", "{header}");
    }
    for header in ["Bearer  ".to_owned() + "x", format!("Bearer {token} {token}")] {
        let refused = app.refuses(anybody.buy(1, 1, "a").header("authorization", header.clone())).await;
        assert_eq!(refused, NOT_OURS, "{header}");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let mut claims = claims();
    claims["exp"] = (now() - 1).into();
    assert_eq!(answers(&app, &signed(&claims, Algorithm::HS256, SECRET)).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_that_never_expires_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove("exp");
    assert_eq!(answers(&app, &signed(&claims, Algorithm::HS256, SECRET)).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_signed_with_another_secret_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let other = signed(&claims(), Algorithm::HS256, "another secret of more than 32 characters");
    assert_eq!(answers(&app, &other).await, NOT_OURS);
    assert_eq!(answers(&app, &signed(&claims(), Algorithm::HS256, "")).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_whose_claims_were_changed_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    let customer = json!({"sub": "1", "role": "customer", "iat": now(), "exp": now() + 60});
    let real = signed(&customer, Algorithm::HS256, SECRET);
    let forged = signed(&claims(), Algorithm::HS256, "another secret of more than 32 characters");
    let (real, forged): (Vec<_>, Vec<_>) = (real.split('.').collect(), forged.split('.').collect());
    let token = [real[0], forged[1], real[2]].join(".");
    assert_eq!(answers(&app, &token).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused_whatever_its_algorithm_says() {
    let app = TestApp::builder().product(5).start().await;
    let real = signed(&claims(), Algorithm::HS256, SECRET);
    let parts: Vec<_> = real.split('.').collect();
    // {"alg":"none","typ":"JWT"}, {"alg":"None"} and {"alg":""} in base64url.
    for header in ["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiIifQ"] {
        for signature in ["", parts[2]] {
            assert_eq!(answers(&app, &[header, parts[1], signature].join(".")).await, NOT_OURS);
        }
    }
    assert_eq!(answers(&app, &[parts[0], parts[1], ""].join(".")).await, NOT_OURS);
    assert_eq!(answers(&app, &[parts[0], parts[1]].join(".")).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_of_another_algorithm_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    assert_eq!(answers(&app, &signed(&claims(), Algorithm::HS384, SECRET)).await, NOT_OURS);
    assert_eq!(answers(&app, &signed(&claims(), Algorithm::HS512, SECRET)).await, NOT_OURS);
    app.finish().await;
}

#[tokio::test]
async fn a_token_for_nobody_or_an_unknown_role_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    for (name, value) in [
        ("sub", json!("0")),
        ("sub", json!("-1")),
        ("sub", json!("ann")),
        ("sub", json!("")),
        ("sub", json!("9223372036854775808")),
        ("sub", Value::Null),
        ("role", json!("root")),
        ("role", Value::Null),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert_eq!(answers(&app, &signed(&claims, Algorithm::HS256, SECRET)).await, NOT_OURS, "{claims}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_token_at_all_is_refused() {
    let app = TestApp::builder().product(5).start().await;
    for token in ["x", ".", "..", "a.b.c", "null"] {
        assert_eq!(answers(&app, token).await, NOT_OURS, "{token}");
    }
    app.finish().await;
}
