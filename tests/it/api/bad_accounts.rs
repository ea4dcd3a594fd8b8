//! Bad credentials: each refused, and nothing changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::{Client, Request};
use crate::support::test_app::TestApp;

fn register<'c>(client: &'c Client, email: impl Into<Value>, password: impl Into<Value>) -> Request<'c> {
    client.post("/api/v1/auth/register", &json!({"email": email.into(), "password": password.into()}))
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    let long = format!("{}@example.org", "a".repeat(243));
    let no_addresses = [
        "",
        "ann",
        "@",
        "ann@",
        "@example.org",
        "ann@b@c",
        "ann @example.org",
        "a\u{0}@b.org",
        "a\n@b.org",
        &long,
    ];
    for email in no_addresses {
        let refused = app.refuses(register(&anybody, email, "correct horse")).await;
        assert_eq!(refused, "422 invalid-request: /email: is not an e-mail address", "{email:?}");
    }
    register(&anybody, &long[1..], "correct horse").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_password_of_7_or_129_characters_is_refused() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(register(&anybody, "ann@example.org", "1234567")).await,
        @"422 invalid-request: /password: has to have 8 to 128 characters"
    );
    assert_snapshot!(
        app.refuses(register(&anybody, "ann@example.org", "x".repeat(129))).await,
        @"422 invalid-request: /password: has to have 8 to 128 characters"
    );
    // Characters count, not bytes.
    assert_snapshot!(
        app.refuses(register(&anybody, "ann@example.org", "äöüßäöü")).await,
        @"422 invalid-request: /password: has to have 8 to 128 characters"
    );
    register(&anybody, "ann@example.org", "ä".repeat(128)).await.expect(201);
    register(&anybody, "bob@example.org", "12345678").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_address_that_has_an_account_is_refused_in_any_case() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    register(&anybody, "ann@example.org", "correct horse").await.expect(201);
    assert_snapshot!(
        app.refuses(register(&anybody, "ann@example.org", "another horse")).await,
        @"409 email-taken: There is an account with this address."
    );
    assert_snapshot!(
        app.refuses(register(&anybody, "ANN@Example.ORG", "another horse")).await,
        @"409 email-taken: There is an account with this address."
    );
    app.finish().await;
}

#[tokio::test]
async fn an_address_that_many_register_at_once_gets_one_account() {
    let app = TestApp::builder().start().await;
    let clients: Vec<_> = (0..8).map(|_| app.anybody()).collect();
    let all =
        clients.iter().map(|client| async { register(client, "ann@example.org", "correct horse").await });
    let mut statuses: Vec<_> =
        futures_util::future::join_all(all).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    app.finish().await;
}

#[tokio::test]
async fn nobody_becomes_an_administrator_by_asking() {
    let app = TestApp::builder().start().await;
    let body = json!({"email": "ann@example.org", "password": "correct horse", "role": "admin"});
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(anybody.post("/api/v1/auth/register", &body)).await,
        @"422 invalid-request: /role: unknown field `role`, expected `email` or `password`"
    );
    app.finish().await;
}

#[tokio::test]
async fn credentials_of_another_type_are_refused() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(register(&anybody, 1, "correct horse")).await,
        @"422 invalid-request: /email: invalid type: integer `1`, expected a string"
    );
    assert_snapshot!(
        app.refuses(register(&anybody, "ann@example.org", Value::Null)).await,
        @"422 invalid-request: /password: invalid type: null, expected a string"
    );
    let refused = anybody.post("/api/v1/auth/register", &json!({"email": "ann@example.org"}));
    assert_snapshot!(app.refuses(refused).await, @"422 invalid-request: missing field `password`");
    app.finish().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    register(&anybody, "ann@example.org", "correct horse").await.expect(201);
    let login = |email: &str, password: &str| {
        anybody.post("/api/v1/auth/login", &json!({"email": email, "password": password}))
    };
    assert_snapshot!(
        app.refuses(login("ann@example.org", "correct horsf")).await,
        @"401 unauthorized: The address or the password is wrong."
    );
    assert_snapshot!(
        app.refuses(login("bob@example.org", "correct horse")).await,
        @"401 unauthorized: The address or the password is wrong."
    );
    assert_snapshot!(
        app.refuses(login("ann@example.org\u{0}", "correct horse")).await,
        @"401 unauthorized: The address or the password is wrong."
    );
    assert_snapshot!(
        app.refuses(login("", "")).await,
        @"401 unauthorized: The address or the password is wrong."
    );
    app.finish().await;
}

#[tokio::test]
async fn a_password_is_never_written_down() {
    let app = TestApp::builder().start().await;
    register(&app.anybody(), "ann@example.org", "correct horse").await.expect(201);
    let contents = format!("{:?}", app.contents().await);
    assert!(contents.contains("ann@example.org") && contents.contains("$argon2id$"), "{contents}");
    assert!(!contents.contains("correct horse"));
    app.finish().await;
}
