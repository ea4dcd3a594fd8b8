//! `holdfast gateway`, and shops that are told of one.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::Site;

#[tokio::test]
async fn a_gateway_says_where_it_is_and_stops_when_told_to() {
    let site = Site::new();
    let gateway = site.gateway_process("127.0.0.1:0").await;
    assert!(gateway.url().starts_with("http://127.0.0.1:"), "{}", gateway.greeting);
    assert!(site.gateway().is_file());
    gateway.stop(Signal::TERM).await;
    let gateway = site.gateway_process("127.0.0.1:0").await;
    gateway.stop(Signal::INT).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_before_anything_is_made() {
    let site = Site::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    site.holdfast(&["gateway", "--listen", &address]).run().await.refused(&["cannot listen on", &address]);
    assert!(!site.data().exists());
}

#[tokio::test]
async fn a_wrong_gateway_is_named_and_nothing_is_made() {
    for (url, reason) in [
        ("http://", "payments.url"),
        ("http://shop:sesame@gateway:80", "payments.secret"),
        ("http://gateway:80/pay", "nothing may follow"),
        ("https://gateway?x=1", "nothing may follow"),
        ("ftp://gateway", "not known"),
        ("stripe:", "payments.secret"),
        ("stripe:somewhere", "payments.url"),
        ("paypal:", "not known"),
    ] {
        let site = Site::new();
        let refused = site.shop().env("HOLDFAST_PAYMENTS__URL", url).run().await;
        refused.refused(&["configuration", reason]);
        assert!(!refused.stderr.contains("sesame"), "{}", refused.stderr);
        assert!(!site.ledger().exists(), "{url}");
    }
}

/// What the doctor says of the payments.
async fn diagnosis(site: &Site, url: &str) -> Value {
    let finished = site.holdfast(&["doctor", "--json"]).env("HOLDFAST_PAYMENTS__URL", url).run().await;
    let findings: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let mut findings = findings.as_array().expect("findings").clone();
    findings.retain(|finding| finding["check"] == "payments");
    findings.pop().unwrap_or_else(|| panic!("nothing about payments: {finished:?}"))
}

#[tokio::test]
async fn the_doctor_asks_the_gateway() {
    let site = Site::new();
    let gateway = site.gateway_process("127.0.0.1:0").await;
    assert_eq!(diagnosis(&site, gateway.url()).await["verdict"], "ok");
    let url = gateway.url().to_owned();
    gateway.stop(Signal::TERM).await;
    let finding = diagnosis(&site, &url).await;
    assert_eq!(finding["verdict"], "fail");
    assert!(finding["advice"].as_str().is_some_and(|advice| advice.contains("payments.url")), "{finding}");
}

#[tokio::test]
async fn an_audit_asks_the_gateway_for_its_list() {
    let site = Site::new();
    let gateway = site.gateway_process("127.0.0.1:0").await;
    let settings = [("HOLDFAST_PAYMENTS__URL", gateway.url().to_owned())];
    let elsewhere = Site::new();
    elsewhere.import("sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,10\n").await;
    let server = elsewhere.shop().envs(&settings).open().await;
    let mut buyer = server.client(&server.token(7, holdfast::ports::ledger::Role::Customer)).await;
    let lamp = buyer.get("/api/v1/products").await["items"][0]["id"].clone();
    let body = json!({ "lines": [{ "product_id": lamp, "quantity": 3 }] });
    assert_eq!(buyer.order("first", &body).await.expect("an answer").0, 201);
    server.stop().await;

    let report = elsewhere.holdfast(&["audit", "--json"]).envs(&settings).run().await.json();
    assert_eq!((&report["broken"], &report["charges"]), (&Value::Null, &json!({ "captured": 1 })));
    let change = rusqlite::Connection::open(site.gateway()).expect("the file opens");
    change.execute_batch("UPDATE charges SET state = 'refunded'; DELETE FROM charges").expect("SQL");
    let broken = elsewhere.holdfast(&["audit", "--json"]).envs(&settings).run().await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.stdout.contains("confirmed-is-paid"), "{}", broken.stdout);
    gateway.stop(Signal::TERM).await;
    elsewhere.holdfast(&["audit"]).envs(&settings).run().await.refused(&["tcp connect error"]);
}
