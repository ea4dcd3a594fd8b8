//! What the shop says about itself: health, the description of the API, its pages.

use std::collections::BTreeSet;

use holdfast::http::problem::Kind;
use insta::assert_snapshot;
use serde_json::Value;

use crate::support::http_client::Client;
use crate::support::test_app::TestApp;

/// Where the routes are.
const ROUTER: &str = include_str!("../../../src/http/router.rs");

/// Pages for people; the description is of the API.
const PAGES: [(&str, &str); 2] = [("get", "/problems/{slug}"), ("get", "/asyncapi.json")];

#[tokio::test]
async fn a_shop_that_runs_says_so() {
    let app = TestApp::builder().start().await;
    assert_snapshot!(app.anybody().get("/healthz").await.shown(), @r#"
    200
    content-type: application/json
    {
      "status": "ok"
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn a_shop_that_can_sell_says_so() {
    let app = TestApp::builder().start().await;
    assert_snapshot!(app.anybody().get("/readyz").await.shown(), @r#"
    200
    content-type: application/json
    {
      "orders_on_their_way": 0,
      "status": "ready"
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn a_shop_that_is_about_to_stop_says_so() {
    let app = TestApp::builder().product(5).start().await;
    app.shop.announce_stop();
    let mut answers = Vec::new();
    for _ in 0..app.servers() {
        answers.push(app.anybody().get("/readyz").await);
    }
    let stopping = answers.iter().find(|answer| answer.status == 503).expect("one is about to stop");
    assert_eq!(stopping.json()["detail"], "The server is about to stop.");
    let seconds: u32 = stopping.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=5).contains(&seconds));
    // What still comes is done.
    app.customer(1).buy(1, 1, "a").await.expect(201);
    app.finish().await;
}

/// Method and path of each route in the source of the router.
fn routes() -> BTreeSet<(String, String)> {
    let (mut routes, mut prefix) = (BTreeSet::new(), "/api/v1");
    for statement in ROUTER.split(".route(").skip(1) {
        let path = statement.split('"').nth(1).expect("a path");
        let call = statement.split(".nest(").next().expect("a call");
        for method in ["get", "post", "patch", "put", "delete"] {
            if call.contains(&format!("{method}(")) {
                routes.insert((method.to_owned(), format!("{prefix}{path}")));
            }
        }
        if statement.contains(".nest(") {
            // Those that follow are not of the API.
            prefix = "";
        }
    }
    routes
}

fn described(description: &Value) -> BTreeSet<(String, String)> {
    let paths = description["paths"].as_object().expect("paths");
    let methods = |(path, item): (&String, &Value)| {
        let item = item.as_object().expect("operations").clone();
        let path = path.clone();
        item.into_iter().map(move |(method, _)| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

#[tokio::test]
async fn the_description_lists_every_route_and_no_other() {
    let app = TestApp::builder().start().await;
    let answer = app.anybody().get("/openapi.json").await.expect(200);
    let description = answer.json();
    assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    let pages = PAGES.map(|(method, path)| (method.to_owned(), path.to_owned()));
    let mut routes = routes();
    assert!(routes.len() > 15, "{routes:?}");
    for page in &pages {
        assert!(routes.remove(page), "{page:?}");
    }
    assert_eq!(described(&description), routes);
    app.finish().await;
}

#[tokio::test]
async fn every_described_operation_is_there_and_knows_no_other_method() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    let operations = described(&anybody.get("/openapi.json").await.json());
    for (_, path) in &operations {
        let real = path.replace("{id}", "0190a2b4-0000-7000-8000-000000000000");
        for method in ["get", "post", "patch", "put", "delete"] {
            let answer = anybody.request(&method.to_uppercase(), &real).await;
            let there = answer.status != 405 && !answer.text().contains("nothing at this address");
            assert_eq!(there, operations.contains(&(method.to_owned(), path.clone())), "{method} {path}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn every_described_operation_has_a_name_of_its_own_and_answers() {
    let app = TestApp::builder().start().await;
    let description = app.anybody().get("/openapi.json").await.json();
    let mut names = BTreeSet::new();
    for (method, path) in described(&description) {
        let operation = &description["paths"][&path][&method];
        let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
        assert!(!name.is_empty() && names.insert(name), "{method} {path}");
        assert!(operation["responses"].as_object().is_some_and(|answers| !answers.is_empty()), "{path}");
        let signed_in = path.starts_with("/api/v1/orders") || path.starts_with("/api/v1/admin");
        assert_eq!(operation["security"].is_array(), signed_in, "{method} {path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found.insert(reference.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let app = TestApp::builder().start().await;
    let description = app.anybody().get("/openapi.json").await.json();
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.len() > 5, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the description");
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
    app.finish().await;
}

#[tokio::test]
async fn every_kind_of_problem_has_a_page() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    for kind in Kind::ALL {
        let about = kind.about();
        let page = anybody.get(&format!("/problems/{}", about.slug)).await.expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        for part in [about.title, about.explanation, about.slug, about.status.as_str()] {
            assert!(page.text().contains(part), "{}: {part}", about.slug);
        }
        assert_eq!(outside(page.text()), None);
    }
    app.finish().await;
}

#[tokio::test]
async fn every_problem_in_the_description_is_one_that_there_is() {
    let app = TestApp::builder().start().await;
    let description = app.anybody().get("/openapi.json").await.json();
    let slugs: BTreeSet<_> = Kind::ALL.into_iter().map(|kind| kind.about().slug).collect();
    let mut seen = 0;
    for (method, path) in described(&description) {
        let operation = &description["paths"][&path][&method];
        for (status, answer) in operation["responses"].as_object().expect("answers") {
            if status.parse().is_ok_and(|status: u16| status >= 400) {
                let words = answer["description"].as_str().expect("a description");
                let names = words.split([',', ':']).map(str::trim);
                let known = names.filter(|name| slugs.contains(name)).collect::<Vec<_>>();
                assert!(!known.is_empty(), "{method} {path} {status}: {words}");
                for name in known {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.about().slug == name).expect("known");
                    assert_eq!(kind.about().status.as_str(), status, "{method} {path}: {name}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 15, "{seen}");
    app.finish().await;
}

#[tokio::test]
async fn the_front_door_leads_to_the_documentation() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    let shop = anybody.get("/").await.expect(200);
    assert!(shop.text().contains("href=\"/docs/\""), "{}", shop.text());
    let page = anybody.get("/docs/").await.expect(200);
    assert!(page.text().contains("swagger-ui"), "{}", page.text());
    app.finish().await;
}

/// The first place where a page or script loads something from another host.
fn outside(text: &str) -> Option<String> {
    let attributes = ["src=\"", "href=\"", "url(", "url: \"", "@import \"", "fetch(\"", "validatorUrl: \""];
    attributes.iter().find_map(|attribute| {
        let mut values =
            text.split(attribute).skip(1).map(|rest| rest.split(['"', ')']).next().unwrap_or(rest));
        let foreign = |value: &str| value.starts_with("http") || value.starts_with("//");
        values.find(|value| foreign(value)).map(|value| format!("{attribute}{value}"))
    })
}

/// What a page links to on the same host.
fn links(page: &str) -> BTreeSet<String> {
    let values = ["src=\"", "href=\""].into_iter().flat_map(|attribute| page.split(attribute).skip(1));
    let values = values.filter_map(|rest| rest.split('"').next());
    values.map(|value| value.trim_start_matches("./").to_owned()).collect()
}

async fn page(client: &Client, path: &str) -> String {
    String::from_utf8_lossy(&client.get(path).await.expect(200).body).into_owned()
}

#[tokio::test]
async fn the_documentation_needs_nothing_from_another_host() {
    let app = TestApp::builder().start().await;
    let anybody = app.anybody();
    let index = page(&anybody, "/docs/").await;
    assert_eq!(outside(&index), None);
    let links = links(&index);
    assert!(links.contains("swagger-initializer.js") && links.contains("swagger-ui.css"), "{links:?}");
    for link in &links {
        let text = page(&anybody, &format!("/docs/{link}")).await;
        if link.ends_with(".css") || link == "swagger-initializer.js" {
            assert_eq!(outside(&text), None, "{link}");
        }
    }
    // Unless told otherwise, the page asks validator.swagger.io what it thinks of the description.
    let initializer = page(&anybody, "/docs/swagger-initializer.js").await;
    assert!(initializer.contains(r#""validatorUrl": "none""#), "{initializer}");
    assert!(initializer.contains("/openapi.json"), "{initializer}");
    app.finish().await;
}
