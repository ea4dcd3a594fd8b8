//! A shop that sells, watched: what it shows arrives, dashboards have something to draw, and a fault is told of until
//! it is over.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast::ports::ledger::Role;
use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::dashboards::{Query, queries};
use super::monitoring::{Monitoring, target};
use super::program;
use crate::support::free_address;
use crate::support::http_client::Client;
use crate::support::process::Site;

const CATALOGUE: &str = "sku,name,price,currency,stock\nA,Lantern,12.50,EUR,1000000\nB,Poster,3.00,EUR,5\n";

/// Figures of what a shop of one process does not have: exporters, Redis, and an event log beside its outbox.
const OF_A_CLUSTER: [&str; 9] = [
    "mysql_",
    "redis_",
    "nginx_",
    "probe_",
    "node_",
    "shop:votes",
    "shop:replica_lag",
    "holdfast_redis_",
    "holdfast_outbox_",
];

/// Somebody who buys, a few times a second, until told to stop.
pub struct Buyer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<u64>,
}

impl Buyer {
    /// Buys of the first product, of which there is enough; now and then with a card that is declined, and of the
    /// second, which is soon sold out.
    pub fn start(client: Client) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut sold = 0;
            for number in 0_u64.. {
                client.get("/api/v1/products/1").await;
                client.get("/products/1").await;
                let key = format!("order-{number}");
                let answer = match number % 10 {
                    1 => client.buy_with("tok_declined", 1, &key).await,
                    2 => client.buy(2, 1, &key).await,
                    _ => client.buy(1, 1, &key).await,
                };
                // What a busy machine answers with 202 is sold a little later, unless the card is declined.
                let is_sold = answer.status == 201 || (answer.status == 202 && number % 10 != 1);
                sold += u64::from(is_sold);
                tokio::select! {
                    _ = &mut stopped => break,
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
            }
            sold
        });
        Self { stop, task }
    }

    /// Returns how many times they were sold something.
    pub async fn stop(self) -> u64 {
        drop(self.stop);
        self.task.await.expect("the buyer ends without a panic")
    }
}

/// Waits until each of these has something to draw.
pub async fn have_data(monitoring: &Monitoring, queries: impl Iterator<Item = Query>) {
    for Query { panel, expression } in queries {
        monitoring
            .until(&format!("{panel}: {expression}"), &expression, |samples| {
                samples.iter().any(|(_, value)| value.is_finite())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_told_of_until_it_is_over() {
    let site = Site::new();
    site.import(CATALOGUE).await;
    let at_gateway = free_address().to_string();
    let gateway = site.gateway_process(&at_gateway).await;
    let shop = site
        .shop()
        .env("HOLDFAST_PAYMENTS__URL", gateway.url())
        .env("HOLDFAST_PAYMENTS__TIMEOUT_MS", "500")
        .env("HOLDFAST_SALE__ANSWER_WITHIN_MS", "500")
        .env("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "1000")
        .open()
        .await;
    let address = shop.address();
    let monitoring = Monitoring::start(&site, vec![target("holdfast", &[address.to_string()])]).await;
    monitoring.until_all_are_up(3).await;

    let client = |user| Client::new(address, Some(shop.token(user, Role::Customer)));
    let buyer = Buyer::start(client(7));
    let is_ours = |query: &Query| !OF_A_CLUSTER.iter().any(|name| query.expression.contains(name));
    have_data(&monitoring, queries("10s").into_iter().filter(is_ours)).await;
    let hits = monitoring.value("shop:cache_hits:ratio5m").await.expect("looks were counted");
    assert!(hits > 0.7 && hits <= 1.0, "{hits}");
    assert_eq!(monitoring.broken_rules().await, [""; 0]);
    let faults = ["DependencyDown", "PurchaseFailuresHigh", "ServerDown"];
    let alerts = monitoring.alerts().await;
    assert!(faults.iter().all(|fault| !alerts.contains(*fault)), "nothing is wrong yet: {alerts:?}");
    let sold = buyer.stop().await;
    monitoring
        .until("every unit to be counted", "sum(holdfast_sold_units_total)", |units| {
            units.first().is_some_and(|(_, units)| *units == sold as f64)
        })
        .await;

    gateway.kill().await;
    let buyer = Buyer::start(client(8));
    monitoring.until_alert("DependencyDown", true).await;
    monitoring.until_alert("PurchaseFailuresHigh", true).await;
    let gateway = site.gateway_process(&at_gateway).await;
    monitoring.until_alert("DependencyDown", false).await;
    monitoring.until_alert("PurchaseFailuresHigh", false).await;
    buyer.stop().await;

    shop.stop().await;
    monitoring.until_alert("ServerDown", true).await;
    monitoring.stop().await;
    gateway.stop(Signal::TERM).await;
    site.audited().await;
}

#[tokio::test]
async fn what_a_shop_shows_is_written_as_prometheus_wants_it() {
    let site = Site::new();
    site.import(CATALOGUE).await;
    let shop = site.shop().open().await;
    let customer = Client::new(shop.address(), Some(shop.token(1, Role::Customer)));
    customer.buy(1, 1, "a").await.expect(201);
    customer.buy(2, 9, "b").await.expect(409);
    let shown = customer.get("/metrics").await.expect(200).text().to_owned();
    let mut lint = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    lint.stdin.take().expect("a pipe").write_all(shown.as_bytes()).expect("it reads");
    let said = lint.wait_with_output().expect("it ends");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    shop.stop().await;
}
