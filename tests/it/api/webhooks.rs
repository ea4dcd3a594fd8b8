//! How administrators manage webhooks, and what is refused.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::http_client::Client;
use crate::support::test_app::TestApp;

const PATH: &str = "/api/v1/admin/webhooks";

async fn create(admin: &Client) -> String {
    admin.post(PATH, &json!({ "url": "https://owner.example/hook" })).await.expect(201).id()
}

/// An answer whose secret is shown as such.
fn without_secret(mut answer: Value) -> String {
    if let Some(secret) = answer.get_mut("secret") {
        let text = secret.as_str().expect("a text");
        assert!(text.starts_with("whsec_") && text.len() == 50, "{text}");
        *secret = "[secret]".into();
    }
    for (field, value) in [("id", "[id]"), ("created_at", "[time]")] {
        assert!(answer[field].is_string());
        answer[field] = value.into();
    }
    answer.to_string()
}

#[tokio::test]
async fn a_webhook_is_made_changed_and_deleted() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    let events = ["order.cancelled", "order.created", "order.cancelled"];
    let body = json!({ "url": "https://owner.example/hook?a=b", "events": events, "description": "Mine" });
    let made = admin.post(PATH, &body).await.expect(201).json();
    let path = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
    let secret = made["secret"].clone();
    assert_snapshot!(
        without_secret(made),
        @r#"{"created_at":"[time]","description":"Mine","enabled":true,"events":["order.created","order.cancelled"],"id":"[id]","secret":"[secret]","url":"https://owner.example/hook?a=b"}"#
    );
    let listed = admin.get(PATH).await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_snapshot!(
        without_secret(listed["items"][0].clone()),
        @r#"{"created_at":"[time]","description":"Mine","enabled":true,"events":["order.created","order.cancelled"],"id":"[id]","url":"https://owner.example/hook?a=b"}"#
    );
    let change = json!({ "url": "http://127.0.0.1:9/", "events": null, "description": "", "enabled": false });
    assert_snapshot!(
        without_secret(admin.patch(&path, &change).await.expect(200).json()),
        @r#"{"created_at":"[time]","description":"","disabled_because":"administrator","enabled":false,"events":null,"id":"[id]","url":"http://127.0.0.1:9/"}"#
    );
    let same = admin.patch(&path, &json!({})).await.expect(200).json();
    assert_eq!((&same["events"], &same["enabled"]), (&Value::Null, &json!(false)));
    let enabled = admin.patch(&path, &json!({ "enabled": true })).await.expect(200).json();
    assert_eq!(enabled["enabled"], true);
    let rotated = admin.request("POST", &format!("{path}/secret")).await.expect(200).json();
    assert!(rotated["secret"].is_string() && rotated["secret"] != secret);
    let deliveries = admin.get(&format!("{path}/deliveries")).await.expect(200).json();
    assert_eq!(deliveries, json!({ "items": [] }));
    let replay = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z" });
    let replayed = admin.post(&format!("{path}/replay"), &replay).await.expect(202).json();
    assert_eq!(replayed, json!({ "deliveries": 0 }));
    let deleted = admin.request("DELETE", &path).await.expect(204);
    assert!(deleted.body.is_empty());
    assert_eq!(admin.get(PATH).await.expect(200).json(), json!({ "items": [] }));
    app.finish().await;
}

#[tokio::test]
async fn webhooks_are_for_administrators() {
    let app = TestApp::builder().start().await;
    let path = format!("{PATH}/{}", create(&app.admin()).await);
    let (customer, anybody) = (app.customer(1), app.anybody());
    let (secret, deliveries) = (format!("{path}/secret"), format!("{path}/deliveries"));
    let replay = format!("{path}/replay");
    for (method, path, body) in [
        ("POST", PATH, json!({ "url": "https://owner.example/" })),
        ("GET", PATH, Value::Null),
        ("PATCH", &*path, json!({ "enabled": false })),
        ("DELETE", &*path, Value::Null),
        ("POST", &*secret, Value::Null),
        ("GET", &*deliveries, Value::Null),
        ("POST", &*replay, json!({ "from": "2026-01-01T00:00:00Z" })),
    ] {
        let refused = app.refuses(customer.request(method, path).json(&body)).await;
        assert_eq!(refused, "403 forbidden: Only administrators may do this.", "{method} {path}");
        let refused = app.refuses(anybody.request(method, path).json(&body)).await;
        assert_eq!(refused, "401 unauthorized: The header Authorization is missing.", "{method} {path}");
    }
    assert_eq!(app.admin().get(PATH).await.json()["items"][0]["enabled"], true);
    app.finish().await;
}

#[tokio::test]
async fn a_webhook_that_is_not_there_is_not_found() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    let gone = create(&admin).await;
    admin.request("DELETE", &format!("{PATH}/{gone}")).await.expect(204);
    for id in [&*gone, "0190a2b4-0000-7000-8000-000000000000", "7", "%20"] {
        let path = format!("{PATH}/{id}");
        for (method, path, body) in [
            ("PATCH", path.clone(), json!({ "enabled": false })),
            ("DELETE", path.clone(), Value::Null),
            ("POST", format!("{path}/secret"), Value::Null),
            ("GET", format!("{path}/deliveries"), Value::Null),
            ("POST", format!("{path}/replay"), json!({ "from": "2026-01-01T00:00:00Z" })),
        ] {
            let refused = app.refuses(admin.request(method, &path).json(&body)).await;
            assert_eq!(refused, "404 not-found: There is no such webhook.", "{method} {path}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_webhook_with_a_value_that_is_wrong_is_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    let path = format!("{PATH}/{}", create(&admin).await);
    let absolute = "/url: has to be an absolute URL that begins with http:// or https://";
    let graphic = "/url: has a space, or a character that is not ASCII";
    let kinds = "expected one of `order.created`, `order.paid`, `order.confirmed`, `order.cancelled`, \
                 `order.failed`, `order.refunded`";
    let unknown = |word: &str, place: usize| format!("/events/{place}: unknown variant `{word}`, {kinds}");
    let long_url = format!("https://owner.example/{}", "a".repeat(1_979));
    for (field, value, error) in [
        ("url", json!("owner.example/hook"), absolute.to_owned()),
        ("url", json!("ftp://owner.example/"), absolute.to_owned()),
        ("url", json!("/hook"), absolute.to_owned()),
        ("url", json!("https://me:pw@owner.example/"), "/url: cannot have a user or a password".to_owned()),
        ("url", json!("https://owner.example/#a"), "/url: cannot have a fragment".to_owned()),
        ("url", json!("https://owner.example:0/"), "/url: has no host, or a port that is none".to_owned()),
        ("url", json!("https://owner.example/a b"), graphic.to_owned()),
        ("url", json!("https://öwner.example/"), graphic.to_owned()),
        ("url", json!(""), "/url: has to have 1 to 2000 characters".to_owned()),
        ("url", json!(long_url), "/url: has to have 1 to 2000 characters".to_owned()),
        ("url", json!(7), "/url: invalid type: integer `7`, expected a string".to_owned()),
        ("events", json!([]), "/events: has to name at least one".to_owned()),
        ("events", json!(["order.created", "order.lost"]), unknown("order.lost", 1)),
        ("events", json!(["OrderCreated"]), unknown("OrderCreated", 0)),
        (
            "events",
            json!("order.created"),
            "/events: invalid type: string \"order.created\", expected a sequence".to_owned(),
        ),
        ("description", json!("a".repeat(501)), "/description: has to have 0 to 500 characters".to_owned()),
        ("description", json!("a\u{7}"), "/description: has a control character".to_owned()),
    ] {
        let error = format!("422 invalid-request: {error}");
        let mut body = json!({ "url": "https://owner.example/" });
        body[field] = value.clone();
        assert_eq!(app.refuses(admin.post(PATH, &body)).await, error, "{value}");
        let change = admin.patch(&path, &json!({ (field): value }));
        assert_eq!(app.refuses(change).await, error, "{value}");
    }
    assert_snapshot!(
        app.refuses(admin.post(PATH, &json!({}))).await,
        @"422 invalid-request: missing field `url`"
    );
    let secret = json!({ "url": "https://owner.example/", "secret": "mine" });
    assert_snapshot!(
        app.refuses(admin.post(PATH, &secret)).await,
        @"422 invalid-request: /secret: unknown field `secret`, expected one of `url`, `events`, `description`"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_replay_or_a_list_with_a_value_that_is_wrong_is_refused() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    let path = format!("{PATH}/{}", create(&admin).await);
    let replay = |body: Value| admin.post(&format!("{path}/replay"), &body);
    assert_snapshot!(
        app.refuses(replay(json!({}))).await,
        @"422 invalid-request: missing field `from`"
    );
    let later = json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z" });
    assert_snapshot!(
        app.refuses(replay(later)).await,
        @"422 invalid-request: /from: has to be before `to`, which is now where it is left out"
    );
    let future = app.refuses(replay(json!({ "from": "2999-01-01T00:00:00Z" }))).await;
    assert!(future.starts_with("422 invalid-request: /from: has to be before"), "{future}");
    let no_time = app.refuses(replay(json!({ "from": "yesterday" }))).await;
    assert!(no_time.starts_with("422 invalid-request: /from: "), "{no_time}");
    for (query, error) in [
        ("state=lost", "422 invalid-request: state: has to be one of waiting, delivered, failed, skipped"),
        ("cursor=x", "422 invalid-request: cursor: is not one that this shop gave"),
        ("limit=0", "422 invalid-request: limit: a page has 1 to 100 items"),
        ("limit=101", "422 invalid-request: limit: a page has 1 to 100 items"),
    ] {
        assert_eq!(app.refuses(admin.get(&format!("{path}/deliveries?{query}"))).await, error);
    }
    let unknown = app.refuses(admin.get(&format!("{path}/deliveries?page=2"))).await;
    assert!(unknown.starts_with("400 malformed-request"), "{unknown}");
    app.finish().await;
}

#[tokio::test]
async fn there_may_be_fifty_webhooks() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    for _ in 0..49 {
        create(&admin).await;
    }
    let last = create(&admin).await;
    let one_more = json!({ "url": "https://owner.example/" });
    assert_snapshot!(
        app.refuses(admin.post(PATH, &one_more)).await,
        @"409 too-many-webhooks: There are 50 webhooks already."
    );
    admin.request("DELETE", &format!("{PATH}/{last}")).await.expect(204);
    admin.post(PATH, &one_more).await.expect(201);
    app.finish().await;
}
