//! Orders that wait for their customers, at two servers.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::ports::ledger::Role;
use serde_json::Value;
use tokio::time::Instant;

use super::buyers::body_of;
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{Client, PATIENCE, Server};
use crate::support::wait_for;

/// After which time a server that says nothing is thought dead, in these tests.
const DEAD_AFTER: Duration = Duration::from_secs(3);

async fn site(more: &[(&'static str, &str)]) -> ClusterSite {
    let settings =
        [("HOLDFAST_CLUSTER__DEAD_AFTER_MS", "3000"), ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "2000")];
    ClusterSite::with(&[&settings, more].concat()).await
}

async fn customer(site: &ClusterSite, server: &Server, user: i64) -> Client {
    server.client(&site.token(user, Role::Customer)).await
}

/// Orders a unit whose payment needs the customer. Returns the order's id.
async fn waiting(client: &mut Client, product: i64, key: &str) -> String {
    let body = body_of(&BTreeMap::from([(product, 1)]), Some("tok_3ds"));
    let (status, order) = client.order(key, &body).await.expect("an answer");
    assert_eq!(status, 202, "{order}");
    assert_eq!(order["next_action"]["url"], format!("/challenge/{}", id_of(&order)), "{order}");
    id_of(&order)
}

fn id_of(order: &Value) -> String {
    order["id"].as_str().expect("an id").to_owned()
}

/// The customer presses a button of the page that this server shows.
async fn press(client: &mut Client, order: &str, button: &str) {
    let path = format!("/challenge/{order}?answer={button}");
    let (status, _) = client.send("POST", &path, None, None).await.expect("an answer");
    assert_eq!(status, 200);
}

async fn status(client: &mut Client, order: &str) -> String {
    let order = client.get(&format!("/api/v1/orders/{order}")).await;
    order["status"].as_str().expect("a status").to_owned()
}

async fn becomes(client: &mut Client, order: &str, wanted: &str, within: Duration) -> Duration {
    let since = Instant::now();
    wait_for(wanted, within, async || status(client, order).await == wanted).await;
    since.elapsed()
}

async fn go_on(client: &mut Client, order: &str) -> (u16, Value) {
    let path = format!("/api/v1/orders/{order}/payment/continue");
    client.send("POST", &path, None, None).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_a_server_that_was_killed_while_they_waited_go_on_at_the_other_at_once() {
    let site = site(&[]).await;
    let goods = vec![("lamp".to_owned(), 10, 250)];
    let lamp = site.import(&goods).await["lamp"];
    let [first, second] = site.open_two().await;
    let mut here = customer(&site, &first, 1).await;
    let mut there = customer(&site, &second, 1).await;
    let mut orders = Vec::new();
    for key in ["page", "call", "cancel", "refuse", "later"] {
        orders.push(waiting(&mut here, lamp, key).await);
    }
    let [page, call, cancel, refuse, later] = &orders[..] else { panic!("five") };
    // A message of the gateway at the other server, while the owner lives.
    let alive = waiting(&mut here, lamp, "alive").await;
    press(&mut there, &alive, "accept").await;
    let took = becomes(&mut here, &alive, "CONFIRMED", Duration::from_secs(1)).await;
    eprintln!("confirmed at the other server after {took:?}");
    first.kill().await;

    let since = Instant::now();
    press(&mut there, page, "accept").await;
    becomes(&mut there, page, "CONFIRMED", Duration::from_secs(1)).await;
    press(&mut there, refuse, "refuse").await;
    becomes(&mut there, refuse, "FAILED", Duration::from_secs(1)).await;
    assert_eq!(go_on(&mut there, call).await.0, 202);
    let path = format!("/api/v1/orders/{cancel}/cancel");
    let (answered, order) = there.send("POST", &path, None, None).await.expect("an answer");
    assert_eq!((answered, &order["status"]), (200, &"CANCELLED".into()), "{order}");
    assert!(since.elapsed() < DEAD_AFTER, "nobody waited to see that the other one is gone");
    let (answered, again) = there
        .order("later", &body_of(&BTreeMap::from([(lamp, 1)]), Some("tok_3ds")))
        .await
        .expect("an answer");
    assert_eq!((answered, id_of(&again)), (202, later.clone()), "{again}");

    for order in [call, later] {
        press(&mut there, order, "accept").await;
        becomes(&mut there, order, "CONFIRMED", Duration::from_secs(1)).await;
    }
    let books = site.closed_and_balanced([second], &goods).await;
    let confirmed = books.orders.values().filter(|entry| entry.status == "CONFIRMED").count();
    assert_eq!((books.orders.len(), confirmed), (6, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_server_is_killed_while_it_looks_is_looked_at_by_the_other() {
    let site = site(&[]).await;
    let goods = vec![("lamp".to_owned(), 3, 250)];
    let lamp = site.import(&goods).await["lamp"];
    // Its customer is told of the payment however long that takes.
    let slow = site
        .shop()
        .env("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "1500")
        .env("HOLDFAST_SALE__ANSWER_WITHIN_MS", "30000");
    let [first, second] = [slow.open().await, site.open().await];
    let mut here = customer(&site, &first, 1).await;
    let mut there = customer(&site, &second, 1).await;
    let order = waiting(&mut here, lamp, "key").await;
    // It goes round at the slow server: each time it is taken up, the answer takes its time.
    let path = format!("/api/v1/orders/{order}/payment/continue");
    let looking = tokio::spawn(async move { here.send("POST", &path, None, None).await });
    let mut admin = second.client(&site.token(9, Role::Admin)).await;
    wait_for("the slow server to look", PATIENCE, async || {
        admin.unfinished().await[0].get("waits_until").is_none()
    })
    .await;
    first.kill().await;
    drop(looking);
    press(&mut there, &order, "accept").await;
    let took = becomes(&mut there, &order, "CONFIRMED", Duration::from_secs(12)).await;
    eprintln!("confirmed {took:?} after the server that looked was killed");
    let books = site.closed_and_balanced([second], &goods).await;
    assert_eq!(books.orders.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_give_orders_up_whose_customers_do_not_come_each_once() {
    const ORDERS: i64 = 40;
    let site = site(&[("HOLDFAST_PAYMENTS__CUSTOMER_WITHIN_MS", "12000")]).await;
    let goods = vec![("lamp".to_owned(), ORDERS, 250)];
    let lamp = site.import(&goods).await["lamp"];
    let servers = site.open_two().await;
    let mut orders = Vec::new();
    for user in 1..=ORDERS {
        let server = &servers[usize::try_from(user % 2).expect("small")];
        let mut client = customer(&site, server, user).await;
        orders.push(waiting(&mut client, lamp, "key").await);
    }
    let mut late = customer(&site, &servers[0], 1_000).await;
    let body = body_of(&BTreeMap::from([(lamp, 1)]), None);
    let (status, answer) = late.order("early", &body).await.expect("an answer");
    assert_eq!(status, 409, "every lamp is held: {answer}");
    site.finished_within(Duration::from_secs(30)).await;
    for n in 0..ORDERS {
        let (status, answer) = late.order(&format!("late-{n}"), &body).await.expect("an answer");
        assert_eq!(status, 201, "the lamps are back: {answer}");
    }
    let books = site.closed_and_balanced(servers, &goods).await;
    let failed: Vec<_> = books.orders.iter().filter(|(_, entry)| entry.status == "FAILED").collect();
    assert_eq!(failed.len(), orders.len());
    for (id, _) in failed {
        assert_eq!(books.charges[id].0, "voided", "{id}");
    }
}
