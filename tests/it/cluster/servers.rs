//! Servers that die, stand still, or are told to stop.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use tokio::time::Instant;

use holdfast::ports::clock::{Clock as _, SystemClock};
use holdfast::ports::ledger::Role;

use super::buyers::{Buyers, body_of, goods, seed};
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{PATIENCE, Server};
use crate::support::wait_for;

/// Within which time the sagas of a server that died have ended.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);

/// What goes wrong with payments now and then.
const TOKENS: &[&str] = &["tok_declined", "tok_timeout_after", "tok_late", "tok_duplicate", "tok_3ds"];

/// A gateway that is waited for only shortly, for which sagas are on their way all the time.
const GATEWAY: [(&str, &str); 5] = [
    ("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "20"),
    ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_MS", "50"),
    ("HOLDFAST_PAYMENTS__FAULTS__LATE_MS", "120"),
    ("HOLDFAST_PAYMENTS__FAULTS__CUSTOMER_AFTER_MS", "150"),
    ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "5000"),
];

/// One shop of two servers of which one after the other is killed.
async fn killed(seed: u64, kills: usize) -> usize {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let site = ClusterSite::with(&GATEWAY).await;
    let goods = goods();
    let ids = site.import(&goods).await;
    let mut servers = Vec::from(site.open_two().await);
    let mut buyers = Buyers::begin(&site, &ids, seed, 12, TOKENS, &[&servers[0], &servers[1]]).await;
    let mut connection = site.database.connection().await;
    let mut left_behind = 0;
    for number in 0..kills {
        buyers.sell(30).await;
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..50_000))).await;
        servers.remove(0).kill().await;
        let (moment, since) = (SystemClock.now().0, Instant::now());
        let open = usize::try_from(site.unfinished_from_before(&mut connection, moment).await).expect("few");
        left_behind += open;
        wait_for("the sagas of a server that died to end", TAKEN_OVER_WITHIN, async || {
            site.unfinished_from_before(&mut connection, moment).await == 0
        })
        .await;
        eprintln!("kill {number}: {open} orders were on their way and ended within {:?}", since.elapsed());
        assert!(buyers.longest_pause_since(since) < Duration::from_secs(5), "the other server goes on");
        servers.push(site.open().await);
        buyers.go_to(&[&servers[0], &servers[1]]);
    }
    buyers.come_to_an_end(&site).await;
    drop(connection);
    let books = site.closed_and_balanced(servers, &goods).await;
    buyers.assert_in(&books);
    left_behind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_servers_killed_under_load_leave_nothing_unfinished_and_lose_nothing() {
    let seed = seed();
    let shops = (0..4).map(|n| killed(seed.wrapping_add(n), 5));
    let left_behind = futures_util::future::join_all(shops).await.into_iter().sum::<usize>();
    assert!(left_behind > 0, "no server was killed in the middle of anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_a_minute_under_load_does_no_harm() {
    let seed = seed();
    let site = ClusterSite::with(&GATEWAY).await;
    let goods = goods();
    let ids = site.import(&goods).await;
    let servers = site.open_two().await;
    let mut buyers = Buyers::begin(&site, &ids, seed, 6, TOKENS, &[&servers[0], &servers[1]]).await;
    buyers.sell(100).await;
    // The simulated gateway is a file. Whoever stands still in the middle of writing it stops the gateway for
    // everybody, which no server can do to a real one.
    wait_for("it to stand still outside of the gateway", PATIENCE, async || {
        servers[0].signal(Signal::STOP);
        let free = site.gateway_is_free();
        if !free {
            servers[0].signal(Signal::CONT);
        }
        free
    })
    .await;
    let (moment, since) = (SystemClock.now().0, Instant::now());
    buyers.go_to(&[&servers[1]]);
    let mut connection = site.database.connection().await;
    wait_for("the sagas of a server that stands still to end", TAKEN_OVER_WITHIN, async || {
        site.unfinished_from_before(&mut connection, moment).await == 0
    })
    .await;
    eprintln!("the other one has finished its orders after {:?}", since.elapsed());
    wait_for("a minute to pass", PATIENCE * 2, async || since.elapsed() >= Duration::from_secs(60)).await;
    servers[0].signal(Signal::CONT);
    buyers.go_to(&[&servers[0], &servers[1]]);
    buyers.sell(200).await;
    buyers.come_to_an_end(&site).await;
    drop(connection);
    let books = site.closed_and_balanced(servers, &goods).await;
    buyers.assert_in(&books);
}

/// Orders of as many customers, of one unit each.
async fn order_slowly(server: &Server, site: &ClusterSite, product: i64, tokens: &[Option<&'static str>]) {
    for (user, token) in (1..).zip(tokens) {
        let mut client = server.client(&site.token(user, Role::Customer)).await;
        let body = body_of(&[(product, 1)].into(), *token);
        tokio::spawn(async move { client.order("slow", &body).await });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_with_requests_under_way_tells_the_others_that_it_is_gone() {
    let slow = ("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "20000");
    let site = ClusterSite::with(&[slow, ("HOLDFAST_SERVER__STOP_WITHIN_MS", "300")]).await;
    let goods = vec![("lamp".to_owned(), 100, 250)];
    let lamp = site.import(&goods).await["lamp"];
    let server = site.open().await;
    order_slowly(&server, &site, lamp, &[None]).await;
    let mut connection = site.database.connection().await;
    let mut count = async |what: &str| -> i64 {
        let found = connection.query_first(format!("SELECT COUNT(*) FROM {what}")).await.expect("answers");
        found.expect("a number")
    };
    wait_for("the order to be under way", PATIENCE, async || count("saga_states").await == 1).await;
    assert_eq!(count("instances").await, 1);
    server.signal(Signal::TERM);
    let (status, _) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    // Whoever looks next takes the order over, without waiting for a sign of life.
    assert_eq!((count("instances").await, count("saga_states").await), (0, 1));
    drop(connection);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wakes_up_before_its_charge_takes_no_money_for_orders_that_were_undone() {
    const ORDERS: usize = 20;
    let site = ClusterSite::with(&[
        ("HOLDFAST_CLUSTER__DEAD_AFTER_MS", "3000"),
        ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "2000"),
        ("HOLDFAST_SALE__ACT_TRIES_MAX", "2"),
        ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_MS", "50"),
    ])
    .await;
    let goods = vec![("lamp".to_owned(), 100, 250)];
    let lamp = site.import(&goods).await["lamp"];
    let slow = ("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "3000");
    let sleeper = site.shop().env(slow.0, slow.1).open().await;
    let other = site.open().await;

    // Half of them are cancelled, the payments of the others get no answer at the other server.
    let tokens: Vec<_> = (0..ORDERS).map(|n| (n % 2 == 1).then_some("tok_late")).collect();
    order_slowly(&sleeper, &site, lamp, &tokens).await;
    let mut admin = other.client(&site.token(1, Role::Admin)).await;
    wait_for("every order to be PENDING", PATIENCE, async || admin.unfinished().await.len() == ORDERS).await;
    sleeper.signal(Signal::STOP);
    let pending = admin.unfinished().await;
    assert_eq!(pending.len(), ORDERS, "the server was stopped before it charged anybody");
    let orders: HashMap<i64, String> = ledger_orders(&site).await;
    for user in (1..=ORDERS as i64).step_by(2) {
        let mut client = other.client(&site.token(user, Role::Customer)).await;
        let path = format!("/api/v1/orders/{}/cancel", orders[&user]);
        let (status, body) = client.send("POST", &path, None, None).await.expect("an answer");
        assert_eq!(status, 202, "{body}");
    }
    site.finished_within(TAKEN_OVER_WITHIN).await;
    sleeper.signal(Signal::CONT);
    // The charges that it sends now are refused, and its sagas end without an effect: it is there again.
    let mut awake = sleeper.client(&site.token(1, Role::Admin)).await;
    wait_for("the sleeper to be done", PATIENCE, async || {
        awake.get("/readyz").await["orders_on_their_way"] == 0
    })
    .await;
    let books = site.closed_and_balanced([sleeper, other], &goods).await;
    for user in 1..=ORDERS as i64 {
        let (id, entry) = books.orders.iter().find(|(_, entry)| entry.user == user).expect("an order");
        let expected = if user % 2 == 1 { "CANCELLED" } else { "FAILED" };
        assert_eq!(entry.status, expected, "{id}");
    }
    assert_eq!(books.orders.len(), ORDERS);
    let kept = books.charges.values().filter(|(state, _)| state == "captured").count();
    assert_eq!(kept, 0, "{:?}", books.charges);
}

/// Order ids by customer.
async fn ledger_orders(site: &ClusterSite) -> HashMap<i64, String> {
    let books = site.books().await;
    books.orders.iter().map(|(id, entry)| (entry.user, id.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_stop_under_load_leaves_nothing_unfinished_and_the_other_goes_on() {
    let seed = seed();
    let site = ClusterSite::with(&GATEWAY).await;
    let goods = goods();
    let ids = site.import(&goods).await;
    let [first, second] = site.open_two().await;
    let mut buyers = Buyers::begin(&site, &ids, seed, 8, TOKENS, &[&first, &second]).await;
    buyers.sell(100).await;
    let since = Instant::now();
    let moment = SystemClock.now().0;
    first.signal(Signal::TERM);
    buyers.go_to(&[&second]);
    let (status, _) = first.ended().await;
    assert!(status.success(), "{status}");
    let ended = since.elapsed();
    // Without waiting for anybody to be thought dead.
    let mut connection = site.database.connection().await;
    wait_for("its orders to be finished", Duration::from_secs(3), async || {
        site.unfinished_from_before(&mut connection, moment).await == 0
    })
    .await;
    eprintln!("the server has ended after {ended:?}, its orders after {:?}", since.elapsed());
    buyers.sell(100).await;
    eprintln!("the longest pause of the sale was {:?}", buyers.longest_pause_since(since));
    buyers.come_to_an_end(&site).await;
    drop(connection);
    let books = site.closed_and_balanced([second], &goods).await;
    buyers.assert_in(&books);
}
