//! The log of a server: what it says of requests and orders, and that it keeps nobody waiting.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use holdfast::ports::ledger::Role;

use crate::support::http_client::Client;
use crate::support::process::{PATIENCE, Site};
use crate::support::wait_for;

const LAMP: &str = "sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,10\n";

#[tokio::test]
async fn a_line_of_the_log_is_an_object_that_names_request_and_order() {
    let site = Site::new();
    site.import(LAMP).await;
    let server = site.shop().env("HOLDFAST_LOG__LEVEL", "debug").open().await;
    let customer = Client::new(server.address(), Some(server.token(7, Role::Customer)));
    let named = customer.buy(1, 1, "one").header("x-request-id", "a-name_7").await.expect(201);
    assert_eq!(named.header("x-request-id"), Some("a-name_7"));
    let refused = customer.buy_with("tok_timeout_before", 1, "two").await;
    let made = refused.header("x-request-id").expect("a name").to_owned();
    assert_eq!(made.len(), 32, "{made}");
    // What cannot stand in a log is no name.
    for odd in ["", "two words", "quote\"", "a.b", &"x".repeat(65)] {
        let answer = customer.get("/healthz").header("x-request-id", odd).await.expect(200);
        let name = answer.header("x-request-id").expect("a name");
        assert!(name.len() == 32 && name != made, "{odd:?} is called {name:?}");
    }
    server.stop().await;

    let log = site.logs();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    let of = |request: &str| lines.iter().filter(|line| line["request_id"] == *request).collect::<Vec<_>>();
    let order = named.id();
    let answered = of("a-name_7").into_iter().find(|line| line["message"] == "a request was answered");
    let answered = answered.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&answered["status"], &answered["route"]), (&json!(201), &json!("/api/v1/orders")));
    assert_eq!(answered["order_id"], order);
    let order = of(&made).into_iter().find_map(|line| line["order_id"].as_str()).expect("an order");
    // The step runs in a task of its own, for many requests: it knows the saga.
    let unanswered = lines.iter().find(|line| line["message"] == "a charge was not answered");
    assert_eq!(unanswered.expect("it is logged")["saga_id"], order);
}

#[tokio::test]
async fn nobody_waits_for_a_log_that_nobody_reads() {
    let site = Site::new();
    site.import(LAMP).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(site.data())
        .envs([("HOLDFAST_LOG__LEVEL", "trace"), ("HOLDFAST_LOG__PER_SECOND_MAX", "1000000")])
        .stdout(Stdio::piped())
        // A pipe takes 64 KiB, and nobody empties this one.
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn().expect("the shop starts");
    let mut greeting = String::new();
    let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
    stdout.read_line(&mut greeting).await.expect("a greeting");
    let greeting: Value = serde_json::from_str(&greeting).expect("a greeting");
    let address = greeting["shop"].as_str().expect("an address").trim_start_matches("http://");
    let anybody = Client::new(address.parse().expect("an address"), None);
    let lost = async || {
        let figures = anybody.get("/metrics").await.expect(200);
        let line = figures.text().lines().find(|line| line.starts_with("holdfast_log_lost_total "));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    wait_for("lines to be lost, and every request to be answered", PATIENCE, async || {
        for _ in 0..200 {
            anybody.get("/api/v1/products/1").await.expect(200);
        }
        lost().await
    })
    .await;
    process.kill().await.expect("it is killed");
}

#[tokio::test]
async fn what_comes_too_often_is_left_out_of_the_log_and_said() {
    let site = Site::new();
    let few = ("HOLDFAST_LOG__PER_SECOND_MAX", "5");
    let server = site.shop().env("HOLDFAST_LOG__LEVEL", "holdfast=debug").env(few.0, few.1).open().await;
    let anybody = Client::new(server.address(), None);
    for _ in 0..100 {
        anybody.get("/healthz").await.expect(200);
    }
    wait_for("it is said", PATIENCE, async || site.logs().contains("came too often")).await;
    let figures = anybody.get("/metrics").await.expect(200);
    assert!(figures.text().contains("holdfast_log_suppressed_total{level=\"debug\"}"), "{}", figures.text());
    server.stop().await;
    let log = site.logs();
    let shown = log.lines().filter(|line| line.contains("a request was answered")).count();
    let said = log.lines().filter(|line| line.contains("came too often"));
    let left_out: u64 = said
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["events"].as_u64().expect("a number"))
        .sum();
    // The last second may not have been told of.
    assert!((20..=101).contains(&left_out) && shown <= 81, "{shown} shown, {left_out} left out");
}
