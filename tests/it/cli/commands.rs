//! What every command does: help with an example, JSON for machines, exit codes.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::process::Site;
use crate::support::retail::{DAYS, file_of};

/// The names in the list of commands.
async fn commands(site: &Site) -> Vec<String> {
    let help = site.bare(&["--help"]).run().await;
    assert_eq!(help.code, Some(0));
    let list = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    for name in ["serve", "import", "replay", "bench", "audit", "token", "doctor", "gateway", "drill"] {
        assert!(names.iter().any(|found| found == name), "{name} is not listed: {}", help.stdout);
    }
    names
}

#[tokio::test]
async fn the_help_of_every_command_has_an_example_of_it() {
    let site = Site::new();
    for command in commands(&site).await {
        let help = site.bare(&[&command, "--help"]).run().await;
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        let (_, examples) = help.stdout.split_once("Example").unwrap_or_else(|| panic!("{}", help.stdout));
        assert!(examples.contains(&format!("holdfast {command}")), "{}", help.stdout);
    }
    assert!(!site.data().exists());
}

#[tokio::test]
async fn every_command_answers_in_json() {
    let site = Site::new();
    let file = file_of(DAYS[0]);
    let file = file.to_str().expect("a plain path");
    let json = async |arguments: &[&str]| {
        let finished = site.holdfast(arguments).arg("--json").run().await;
        assert_eq!(finished.stderr, "", "{arguments:?}");
        finished.json()
    };
    assert!(json(&["import", "--format", "online-retail", file]).await["products"].is_u64());
    let server = site.shop().open().await;
    assert!(server.greeting["shop"].is_string());
    assert!(json(&["token", "--user", "7", "--role", "customer"]).await["access_token"].is_string());
    assert!(json(&["replay", file, "--target", server.url()]).await["outcome"].is_object());
    let bench = ["bench", "--target", server.url(), "--connections", "2", "--seconds", "0.1"];
    assert!(json(&bench).await[0]["report"].is_object());
    assert!(json(&["serve", "--print-config"]).await["sale"].is_object());
    let (status, rest) = {
        server.signal(rustix::process::Signal::TERM);
        server.ended().await
    };
    assert!(status.success());
    assert_eq!(rest, "", "a shop prints its greeting and nothing else");
    assert!(json(&["audit"]).await["broken"].is_null());
    let findings = site.holdfast(&["doctor", "--json"]).run().await;
    let findings: Value = serde_json::from_str(&findings.stdout).expect("JSON, whatever there is to do");
    assert!(findings.as_array().is_some_and(|findings| findings.len() > 3), "{findings}");
}

#[tokio::test]
async fn a_shop_without_any_configuration_has_something_to_sell() {
    let site = Site::new();
    let server = site.bare(&["--listen", "127.0.0.1:0", "--json"]).open_in(&site.path("holdfast-data")).await;
    assert_eq!(server.greeting["data_dir"], "./holdfast-data");
    assert!(site.path("holdfast-data").join("ledger.sqlite3").is_file());
    let products = server.client("").await.get("/api/v1/products").await;
    let products = products["items"].as_array().expect("a page");
    assert!(products.iter().any(|product| product["available"].as_i64() > Some(0)), "{products:?}");
    let product = products[0]["id"].clone();
    let mut buyer = server.client(&server.token(7, holdfast::ports::ledger::Role::Customer)).await;
    let body = json!({ "lines": [{ "product_id": product, "quantity": 1 }] });
    assert_eq!(buyer.order("first", &body).await.expect("an answer").0, 201);
    server.stop().await;
    site.bare(&["audit"]).data_dir(&site.path("holdfast-data")).run().await.assert_success();
}

/// A shop that has sold something, at rest.
async fn shop_with_a_sale() -> Site {
    let site = Site::new();
    site.import("sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,10\n").await;
    let server = site.shop().open().await;
    let lamp = server.admin().await.get("/api/v1/products").await["items"][0]["id"].clone();
    let mut buyer = server.client(&server.token(7, holdfast::ports::ledger::Role::Customer)).await;
    let body = json!({ "lines": [{ "product_id": lamp, "quantity": 3 }] });
    assert_eq!(buyer.order("first", &body).await.expect("an answer").0, 201);
    server.stop().await;
    site
}

#[tokio::test]
async fn an_audit_names_the_invariant_that_somebody_has_broken() {
    let site = shop_with_a_sale().await;
    let ledger = |sql: &'static str| ("ledger.sqlite3", sql);
    let gateway = |sql: &'static str| ("gateway.sqlite3", sql);
    for (invariant, (file, sql)) in [
        ("stock-conserved", ledger("UPDATE products SET stock = stock + 1")),
        ("stock-log-complete", ledger("DELETE FROM inventory_logs WHERE reason = 'sale'")),
        ("reserved-is-pending", ledger("UPDATE products SET reserved = 1")),
        ("totals-add-up", ledger("UPDATE orders SET total_minor = total_minor - 1")),
        ("confirmed-is-paid", gateway("DELETE FROM charges")),
        ("confirmed-is-paid", gateway("UPDATE charges SET amount = amount - 1")),
        ("confirmed-is-paid", gateway("UPDATE charges SET state = 'voided'")),
        ("charge-has-order", gateway("INSERT INTO charges VALUES (randomblob(16), 1, 'EUR', 'captured', 0)")),
        ("no-money-kept", ledger("UPDATE orders SET status = 'FAILED'")),
        ("events-complete", ledger("DELETE FROM outbox WHERE first_sequence > 1")),
        ("events-complete", ledger("DELETE FROM outbox")),
        (
            "sagas-finish",
            ledger("UPDATE orders SET status = 'PENDING'; DELETE FROM outbox WHERE first_sequence > 1"),
        ),
    ] {
        let copy = Site::new();
        site.copy_data_to(&copy);
        let change = |store: &Path| Connection::open(store)?.execute_batch(sql);
        change(&copy.data().join(file)).expect("SQL");
        let finished = copy.holdfast(&["audit", "--json"]).run().await;
        assert_eq!(finished.code, Some(1), "{sql}: {finished:?}");
        let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        assert_eq!(report["broken"]["invariant"], invariant, "{sql}: {report}");
    }
    site.audited().await;
}

#[tokio::test]
async fn a_copy_of_the_files_of_a_stopped_shop_is_the_shop() {
    let site = shop_with_a_sale().await;
    let copy = Site::new();
    std::fs::create_dir(copy.data()).expect("a fresh directory");
    // Without the logs that SQLite keeps beside them.
    std::fs::copy(site.ledger(), copy.ledger()).expect("it is copied");
    std::fs::copy(site.gateway(), copy.gateway()).expect("it is copied");
    assert_eq!(copy.audited().await["orders"], json!({ "CONFIRMED": 1 }));
}
