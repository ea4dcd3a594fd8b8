//! Servers that are gone, hang up, refuse or are told to stop.

use holdfast::ports::ledger::Role;
use rustix::process::Signal;

use super::nginx::{BROWSER, Nginx, Plan, Servers};
use crate::support::process::{PATIENCE, Site};
use crate::support::wait_for;

const OK: Plan = Plan::Answer("200 OK\r\ncontent-type: application/json", "{}");

const ORDER: &[&str] = &["--header", "Idempotency-Key: k", "--json", "{}"];

#[tokio::test]
async fn a_get_to_a_dead_server_goes_to_the_other() {
    let mut servers = Servers::start(OK).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    servers.close(0).await;
    for _ in 0..4 {
        assert_eq!(nginx.ask("/api/v1/orders/1", &[]).await.status, 200);
    }
    assert!(servers.seen().iter().all(|(number, _)| *number == 1), "{:?}", servers.seen());
    nginx.stop().await;
}

#[tokio::test]
async fn an_order_that_was_read_and_not_answered_goes_to_the_other_server() {
    let servers = Servers::start(Plan::HangUpOnce(&OK)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    assert_eq!(nginx.ask("/api/v1/orders", ORDER).await.status, 200);
    let seen = servers.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_ne!(seen[0].0, seen[1].0, "{seen:?}");
    assert_eq!(seen[0].1, seen[1].1, "both got the same request");
    assert!(seen[0].1.to_lowercase().contains("idempotency-key: k\r\n"), "{seen:?}");
    nginx.stop().await;
}

#[tokio::test]
async fn another_post_that_was_read_and_not_answered_is_not_repeated() {
    let servers = Servers::start(Plan::HangUpOnce(&OK)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    let answer = nginx.ask("/api/v1/orders/1/cancel", ORDER).await;
    answer.assert_problem(503, "/problems/unavailable");
    assert_eq!(servers.seen().len(), 1, "{:?}", servers.seen());
    // The other server is still there.
    assert_eq!(nginx.ask("/api/v1/orders/1/cancel", ORDER).await.status, 200);
    nginx.stop().await;
}

#[tokio::test]
async fn a_server_that_is_busy_says_so_itself() {
    let busy = "503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 7";
    let servers = Servers::start(Plan::Answer(busy, r#"{"type":"/problems/busy"}"#)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    let answer = nginx.ask("/api/v1/orders", ORDER).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")), "{answer:?}");
    assert_eq!(answer.json()["type"], "/problems/busy");
    assert_eq!(servers.seen().len(), 1, "{:?}", servers.seen());
    nginx.stop().await;
}

#[tokio::test]
async fn servers_that_are_not_ready_are_asked_when_none_is_better() {
    let servers = Servers::start(Plan::Answer("503 Service Unavailable", "{}")).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    // The last one that is tried answers, so it takes two questions until neither gets anything by rights.
    assert_eq!(nginx.ask_inside("/ready").await.status, 503);
    assert_eq!(nginx.ask_inside("/ready").await.status, 503);
    for server in 0..2 {
        assert!(servers.seen().iter().any(|(number, _)| *number == server), "{:?}", servers.seen());
    }
    servers.plan(OK);
    assert_eq!(nginx.ask("/api/v1/orders", ORDER).await.status, 200);
    nginx.stop().await;
}

#[tokio::test]
async fn nobody_is_left_without_an_answer() {
    let mut servers = Servers::start(OK).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    servers.close_all().await;
    nginx.ask("/api/v1/orders", ORDER).await.assert_problem(503, "/problems/unavailable");
    nginx.ask("/api/v1/orders/1", &[]).await.assert_problem(503, "/problems/unavailable");
    nginx.ask("/", &["--header", BROWSER]).await.assert_page(503, true);
    nginx.ask("/checkout", &["--data", "", "--header", BROWSER]).await.assert_page(503, false);
    // Not to be had by their own address.
    assert_eq!(nginx.ask("/.unavailable/page", &[]).await.status, 404);
    assert_eq!(nginx.ask_inside("/alive").await.status, 200);
    assert_ne!(nginx.ask_inside("/ready").await.status, 200);
    nginx.stop().await;
}

const CATALOGUE: &str = "sku,name,description,category,price,currency,stock\nmug,Mug,,,5.00,EUR,100000\n";
const SECRET: &str = "the-same-for-both-servers-of-the-shop";

#[tokio::test(flavor = "multi_thread")]
async fn buyers_notice_nothing_of_a_server_that_is_told_to_stop() {
    // Shops of their own, which is all the same to nginx.
    let sites = [Site::new(), Site::new()];
    let mut shops = Vec::new();
    for site in &sites {
        site.import(CATALOGUE).await;
        shops.push(site.shop().signing_with(SECRET).open().await);
    }
    let address = |url: &str| url.trim_start_matches("http://").parse().expect("an address");
    let nginx = Nginx::start([address(shops[0].url()), address(shops[1].url())], 50).await;
    let token = format!("Authorization: Bearer {}", shops[0].token(1, Role::Customer));
    let buy = async |key: String| {
        let key = format!("Idempotency-Key: {key}");
        let body = r#"{"lines":[{"product_id":1,"quantity":1}],"payment_token":"tok_ok"}"#;
        nginx.ask("/api/v1/orders", &["--header", &token, "--header", &key, "--json", body]).await
    };
    let buyers = async |name: &str, from: usize| {
        for number in from..from + 25 {
            let answer = buy(format!("{name}-{number}")).await;
            assert_eq!(answer.status, 201, "{answer:?}; {}", nginx.log());
        }
    };
    let stopped = shops.remove(0);
    tokio::join!(buyers("a", 0), buyers("b", 0), buyers("c", 0), async {
        stopped.signal(Signal::TERM);
        let (status, _) = stopped.ended().await;
        assert!(status.success(), "{status}");
    });
    // From the first one on, also to an address at which nobody is any more.
    buyers("d", 0).await;
    wait_for("nginx to see that one sells", PATIENCE, async || {
        nginx.ask_inside("/ready").await.status == 200
    })
    .await;
    nginx.stop().await;
    shops.remove(0).stop().await;
}
