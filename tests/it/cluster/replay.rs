//! Real days, sold by two servers behind one address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::chaos::books::{look_into, rows};
use crate::cli::replay::{Made, assert_accounted_for, assert_made};
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{Finished, PATIENCE, Server};
use crate::support::retail::{DAYS, Kind, file_of, lines_of};
use crate::support::wait_for;

/// Connects every second client with the other server.
struct Switch {
    url: String,
    connected: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Switch {
    async fn before(servers: &[Server; 2]) -> Self {
        let addresses = [&servers[0], &servers[1]].map(|server| server.target.host().to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let connected = Arc::new(AtomicUsize::new(0));
        let number = Arc::clone(&connected);
        let accepting = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a connection");
                let address = addresses[number.fetch_add(1, Ordering::Relaxed) % 2].clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(address).await.expect("a server");
                    // Either side may end it.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { url, connected, accepting }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a real day has sold: orders, units and pence.
type Day = (u64, i64, i64);

async fn replay_a_day(day: &str, expected: Day) {
    let (file, lines) = (file_of(day), lines_of(day));
    let site = ClusterSite::telling(&[]).await;
    let import = site.holdfast(&["import", "--format", "online-retail", "--json"]).arg(&file);
    assert_accounted_for(&import.run().await.json()["summary"], &lines);
    let servers = site.open_two().await;
    let switch = Switch::before(&servers).await;
    let replay = || site.holdfast(&["replay", "--json", "--target", &switch.url]).arg(&file);
    let told = |finished: Finished| {
        let mut told = finished.json();
        told["outcome"].as_object_mut().expect("an object").remove("repeated").expect("it is counted");
        told
    };
    let replayed = told(replay().run().await);
    assert!(switch.connected.load(Ordering::Relaxed) >= 2, "both servers were used");
    assert_accounted_for(&replayed["summary"], &lines);
    let (orders, units, pence) = expected;
    let sold = lines.iter().filter(|line| line.kind() == Kind::Sale);
    let sums =
        sold.fold((0, 0), |(units, pence), line| (units + line.quantity, pence + line.quantity * line.pence));
    assert_eq!(sums, (units, pence), "the file is that of the day");
    let stock_changes =
        lines.iter().filter(|line| matches!(line.kind(), Kind::Return | Kind::WriteOff)).count();
    let outcome = json!({
        "orders_confirmed": orders, "orders_refused": 0, "orders_declined": 0, "orders_failed": 0,
        "stock_changes": stock_changes, "revenue_minor": pence, "units_sold": units, "errors": [],
    });
    assert_eq!(replayed["outcome"], outcome);

    let charges = || {
        rows(&look_into(&site.site.gateway()), "SELECT order_id, amount, state FROM charges", |row| {
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })
    };
    site.audited().await;
    let before = (site.database.contents().await, charges());
    assert_eq!(told(replay().run().await), replayed, "the same day again is told the same");
    let after = (site.database.contents().await, charges());
    assert!(before == after, "the same day again has changed something");

    let (report, _) = site.audited().await;
    assert_made(&made(&site).await, &lines);
    assert_shown(&site, &servers).await;
    for server in servers {
        server.stop().await;
    }
    assert_eq!(report["revenue_minor"], json!({ "GBP": pence }));
    assert_eq!(report["units_sold"], units);
    assert_eq!(report["orders"], json!({ "CONFIRMED": orders }));
    let books = site.books().await;
    assert_eq!((books.orders.len() as u64, books.unfinished_sagas, books.keys_used_twice), (orders, 0, 0));
    let taken = |(state, amount): &(String, i64)| if state == "captured" { *amount } else { 0 };
    assert_eq!(books.charges.values().map(taken).sum::<i64>(), pence, "what the gateway has taken");
    assert!(books.products.values().all(|(_, _, reserved)| *reserved == 0));
    assert_eq!(report["broken"], Value::Null);
}

/// What consumers have made of everything.
async fn made(site: &ClusterSite) -> Made {
    let mut connection = site.database.connection().await;
    let mails = "SELECT kind, COUNT(*) FROM mails GROUP BY kind ORDER BY kind";
    let mails = connection.query(mails).await.expect("rows");
    let by_product = "SELECT p.sku, s.units, s.revenue_minor FROM sales_by_product s JOIN products p \
                      ON p.id = s.product_id";
    let by_product = connection.query(by_product).await.expect("rows");
    let totals = "SELECT CAST(SUM(sales) AS SIGNED), CAST(SUM(units) AS SIGNED), \
                  CAST(SUM(revenue_minor) AS SIGNED) FROM sales_by_minute";
    let totals = connection.query_first(totals).await.expect("it answers").expect("sums");
    connection.disconnect().await.expect("it says goodbye");
    Made { mails, by_product, totals }
}

/// Both servers show every product with the units that are left, out of whatever cache.
async fn assert_shown(site: &ClusterSite, servers: &[Server]) {
    let mut connection = site.database.connection().await;
    let left: Vec<(i64, i64)> =
        connection.query("SELECT id, stock - reserved FROM products").await.expect("rows");
    connection.disconnect().await.expect("it says goodbye");
    for server in servers {
        let mut client = server.client("").await;
        for (id, left) in &left {
            let path = format!("/api/v1/products/{id}");
            wait_for("the view shows what is left", PATIENCE, async || {
                client.get(&path).await["available"] == *left
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_29th_of_november_is_sold_by_two_servers_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[0], (138, 30_940, 7_259_593)).await;
}

#[tokio::test]
async fn the_5th_of_december_is_sold_by_two_servers_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[1], (132, 44_664, 8_874_196)).await;
}

#[tokio::test]
async fn the_8th_of_december_is_sold_by_two_servers_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[2], (123, 35_672, 8_249_500)).await;
}
