//! Thousands of clients share a few connections to the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::load::{Answer, Kind, Pace, Plan, Request, RequestSource, Until, run};
use mysql_async::prelude::Queryable as _;

use super::buyers::body_of;
use crate::support::cluster_site::ClusterSite;
use crate::support::database::Database;

/// Clients of each of the two servers.
const CLIENTS: usize = 3_000;

/// The most connections to any one database: the default.
const CONNECTIONS_MAX: i64 = 300;

const PRODUCTS: usize = 50;

/// A customer who looks around, and now and then buys.
struct Customer {
    number: usize,
    sent: usize,
    token: String,
    products: Arc<Vec<i64>>,
}

impl RequestSource for Customer {
    fn next(&mut self, request: &mut Request) -> Option<Kind> {
        self.sent += 1;
        let product = self.products[(self.number + self.sent) % self.products.len()];
        if !(self.number + self.sent).is_multiple_of(10) {
            request.begin("GET", format_args!("/api/v1/products/{product}")).end();
            return Some(Kind::View);
        }
        request
            .begin("POST", "/api/v1/orders")
            .header("authorization", format_args!("Bearer {}", self.token))
            .header("idempotency-key", self.sent)
            .json(body_of(&BTreeMap::from([(product, 1)]), None).to_string().as_bytes());
        Some(Kind::Sale)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_clients_of_two_servers_never_need_more_than_300_connections_to_a_database() {
    let site = ClusterSite::with(&[("HOLDFAST_LEDGER__CONNECTIONS_MAX", &CONNECTIONS_MAX.to_string())]).await;
    let goods: Vec<_> = (0..PRODUCTS).map(|n| (format!("sku-{n}"), 1_000_000, 250)).collect();
    let ids = site.import(&goods).await;
    let products: Arc<Vec<i64>> = Arc::new(goods.iter().map(|(sku, ..)| ids[sku]).collect());
    let servers = site.open_two().await;

    // Looks at the members' own lists all the time.
    let over = Arc::new(AtomicBool::new(false));
    let mut looking = Vec::new();
    for mut connection in Database::connections_to_members().await {
        let (over, name) = (Arc::clone(&over), site.database.name().to_owned());
        looking.push(tokio::spawn(async move {
            let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'");
            let mut most: i64 = 0;
            while !over.load(Ordering::Relaxed) {
                let now = connection.query_first(&count).await.expect("it answers").expect("a count");
                most = most.max(now);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            connection.disconnect().await.expect("it says goodbye");
            most
        }));
    }

    let mut loads = Vec::new();
    for (server, first) in servers.iter().zip([0, CLIENTS]) {
        let customer = |n: usize| {
            let number = first + n;
            let token = site.customers()(i64::try_from(number + 1).expect("few"));
            Customer { number, sent: 0, token, products: Arc::clone(&products) }
        };
        let plan = Plan {
            target: server.target.clone(),
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            until: Until::Elapsed(Duration::from_secs(10)),
            timeout: Duration::from_secs(30),
            finished: Arc::default(),
        };
        loads.push(tokio::spawn(run(plan, (0..CLIENTS).map(customer).collect())));
    }
    let (mut views, mut sales) = (0, 0);
    for load in loads {
        let report = load.await.expect("no panic").expect("the load runs");
        assert_eq!(report.connections, CLIENTS);
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        let count = |answer| report.answers.get(&answer).map_or(0, |answers| answers.count);
        views += count(Answer::View);
        sales += count(Answer::Sale);
        eprintln!(
            "{:?}",
            report.answers.iter().map(|(answer, of)| (answer.name(), of.count)).collect::<Vec<_>>()
        );
    }
    over.store(true, Ordering::Relaxed);
    for member in looking {
        let most = member.await.expect("no panic");
        eprintln!("at most {most} connections at one member, with {views} views and {sales} sales");
        assert!(most <= CONNECTIONS_MAX, "{most} connections");
    }
    assert!(views > 0 && sales > 0, "nothing was asked for");
    let books = site.closed_and_balanced(servers, &goods).await;
    let confirmed = books.orders.values().filter(|order| order.status == "CONFIRMED").count() as u64;
    assert!(confirmed >= sales, "{sales} sales were told, {confirmed} are in the books");
}
