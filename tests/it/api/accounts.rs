//! Accounts: registering and signing in.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::http_client::Client;
use crate::support::test_app::TestApp;

#[tokio::test]
async fn registering_opens_an_account_and_signs_in() {
    let app = TestApp::builder().product(5).start().await;
    let credentials = json!({"email": "ann@example.org", "password": "correct horse"});
    let registered = app.anybody().post("/api/v1/auth/register", &credentials).await;
    assert_snapshot!(registered.shown(), @r#"
    201
    content-type: application/json
    {
      "access_token": "[token]",
      "expires_in": 86400,
      "token_type": "Bearer"
    }
    "#);

    let token = registered.json()["access_token"].as_str().expect("a token").to_owned();
    let ann = Client::new(app.address, Some(token));
    ann.buy(1, 1, "a").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn signing_in_gives_a_token_of_the_same_account() {
    let app = TestApp::builder().product(5).start().await;
    let credentials = json!({"email": "ann@example.org", "password": "correct horse"});
    let registered = app.anybody().post("/api/v1/auth/register", &credentials).await.expect(201);
    let token = |answer: crate::support::http_client::Answer| {
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    };
    let order = Client::new(app.address, Some(token(registered))).buy(1, 1, "a").await.expect(201).id();

    let signed_in = app.anybody().post("/api/v1/auth/login", &credentials).await;
    assert_snapshot!(signed_in.shown(), @r#"
    200
    content-type: application/json
    {
      "access_token": "[token]",
      "expires_in": 86400,
      "token_type": "Bearer"
    }
    "#);
    let again = Client::new(app.address, Some(token(signed_in)));
    again.view_order(&order).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn the_address_of_an_account_is_compared_without_regard_to_case() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    let register = json!({"email": "Ann@Example.org", "password": "correct horse"});
    anybody.post("/api/v1/auth/register", &register).await.expect(201);
    let login = json!({"email": "aNN@eXAMPLE.ORG", "password": "correct horse"});
    anybody.post("/api/v1/auth/login", &login).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn who_registers_is_no_administrator() {
    let app = TestApp::builder().start().await;
    let credentials = json!({"email": "ann@example.org", "password": "correct horse"});
    let registered = app.anybody().post("/api/v1/auth/register", &credentials).await.expect(201);
    let token = registered.json()["access_token"].as_str().expect("a token").to_owned();
    let ann = Client::new(app.address, Some(token));
    assert_snapshot!(ann.get("/api/v1/admin/sagas").await.shown(), @r#"
    403
    content-type: application/problem+json
    {
      "detail": "Only administrators may do this.",
      "status": 403,
      "title": "Not allowed for this account",
      "type": "/problems/forbidden"
    }
    "#);
    app.finish().await;
}
