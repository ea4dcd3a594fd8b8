//! A shop of several servers on this machine: processes that share MySQL, Redis Cluster and the file of
//! the gateway.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast::auth::{Principal, Tokens};
use holdfast::domain::UserId;
use holdfast::ports::clock::{Clock as _, SystemClock};
use holdfast::ports::ledger::Role;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::database::Database;
use super::process::{Invocation, Server, Site, signed_with};
use super::{kafka, redis_cluster, wait_for};
use crate::chaos::books::{Books, Entry, look_into, rows};

/// Connections of a shop of a test, which shares the database with others.
const CONNECTIONS_MAX: usize = holdfast::config::CONNECTIONS_OF_COMMANDS + 2 * 16;

const SECRET: &str = "a secret that every server of a test knows";

/// How long gate and ledger may differ after trouble.
const DRIFT_PATIENCE: Duration = Duration::from_secs(60);

/// The stores of a shop, and its servers' common settings.
pub struct ClusterSite {
    pub site: Site,
    pub database: Database,
    settings: Vec<(&'static str, String)>,
    tokens: Arc<Tokens>,
    /// Whether events go to Kafka.
    tells: bool,
}

impl ClusterSite {
    /// Empty stores, for two servers with these settings beside their defaults.
    pub async fn with(settings: &[(&'static str, &str)]) -> Self {
        let database = Database::replicated().await;
        let mut all = vec![
            ("HOLDFAST_LEDGER__URL", database.url_of_all()),
            ("HOLDFAST_LEDGER__PASSWORD", Database::password()),
            ("HOLDFAST_GATE__URL", redis_cluster::addresses()),
            ("HOLDFAST_GATE__PREFIX", redis_cluster::fresh_prefix()),
            ("HOLDFAST_CLUSTER__SERVERS", "2".to_owned()),
            ("HOLDFAST_LEDGER__CONNECTIONS_MAX", CONNECTIONS_MAX.to_string()),
        ];
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Self {
            site: Site::new(),
            database,
            settings: all,
            tokens: Arc::new(signed_with(SECRET)),
            tells: false,
        }
    }

    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same, and events go to Kafka.
    pub async fn telling(settings: &[(&'static str, &str)]) -> Self {
        let mut site = Self::with(settings).await;
        let topics = kafka::fresh_prefix();
        kafka::log_with(&topics).await;
        site.settings.extend([
            ("HOLDFAST_EVENTS__URL", kafka::url()),
            ("HOLDFAST_EVENTS__PREFIX", topics),
            ("HOLDFAST_EVENTS__REPLICATION", kafka::REPLICATION.to_string()),
        ]);
        site.tells = true;
        site
    }

    /// The same stores with the ledger at another URL.
    pub fn with_ledger_at(mut self, url: &str) -> Self {
        self.settings.push(("HOLDFAST_LEDGER__URL", url.to_owned()));
        self
    }

    /// Makes a command one of this shop.
    pub fn of_cluster(&self, invocation: Invocation) -> Invocation {
        invocation.envs(&self.settings).signing_with(SECRET)
    }

    /// `holdfast` with these arguments over the stores.
    pub fn holdfast(&self, arguments: &[&str]) -> Invocation {
        self.of_cluster(self.site.holdfast(arguments))
    }

    /// A server that is not open yet.
    pub fn shop(&self) -> Invocation {
        self.of_cluster(self.site.shop())
    }

    pub async fn open(&self) -> Server {
        self.shop().open().await
    }

    /// Two servers.
    pub async fn open_two(&self) -> [Server; 2] {
        [self.open().await, self.open().await]
    }

    /// Fills the shop: units and price in cents of each sku. Returns the ids by sku.
    pub async fn import(&self, goods: &[(String, i64, i64)]) -> HashMap<String, i64> {
        let mut catalogue = "sku,name,price,currency,stock\n".to_owned();
        for (sku, units, cents) in goods {
            catalogue += &format!("{sku},{sku},{}.{:02},EUR,{units}\n", cents / 100, cents % 100);
        }
        let file = self.site.write("catalogue.csv", catalogue);
        self.holdfast(&["import", "--json"]).arg(&file).run().await.json();
        let mut connection = self.database.connection().await;
        let ids: Vec<(String, i64)> = connection.query("SELECT sku, id FROM products").await.expect("rows");
        connection.disconnect().await.expect("it says goodbye");
        ids.into_iter().collect()
    }

    /// A token that every server accepts.
    pub fn token(&self, user: i64, role: Role) -> String {
        self.tokens.issue(Principal { user: UserId(user), role })
    }

    /// Makes tokens for tasks of their own.
    pub fn customers(&self) -> impl Fn(i64) -> String + Clone + Send + Sync + 'static {
        let tokens = Arc::clone(&self.tokens);
        move |user| tokens.issue(Principal { user: UserId(user), role: Role::Customer })
    }

    /// How many sagas are on their way that were begun before `moment`.
    pub async fn unfinished_from_before(&self, connection: &mut Conn, moment: i64) -> i64 {
        // Ids begin with the time at which they were made.
        let earliest = format!("{moment:012x}{:020}", 0);
        let sql =
            format!("SELECT COUNT(*) FROM saga_states WHERE tombstone = 0 AND saga_id < UNHEX('{earliest}')");
        connection.query_first(sql).await.expect("it answers").expect("a count")
    }

    /// Whether nobody is in the middle of writing the gateway's file for longer than a commit takes.
    pub fn gateway_is_free(&self) -> bool {
        let store = rusqlite::Connection::open(self.site.gateway()).expect("the gateway's file");
        store.busy_timeout(Duration::from_millis(500)).expect("a setting");
        store.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    }

    /// Waits until no saga is on its way that was begun before now. Returns how long that took.
    pub async fn finished_within(&self, patience: Duration) -> Duration {
        let (moment, since) = (SystemClock.now().0, Instant::now());
        let mut connection = self.database.connection().await;
        wait_for("the end of every saga", patience, async || {
            self.unfinished_from_before(&mut connection, moment).await == 0
        })
        .await;
        let took = since.elapsed();
        connection.disconnect().await.expect("it says goodbye");
        took
    }

    /// Runs the audit until it finds nothing. Nobody may buy meanwhile. Only the gate may be wrong for a
    /// while, and only after trouble. Returns the report and how long the gate took.
    pub async fn audited(&self) -> (Value, Duration) {
        self.finished_within(DRIFT_PATIENCE).await;
        let since = Instant::now();
        loop {
            let audit = self.holdfast(&["audit", "--json"]).run().await;
            // Consumers may have something to read yet; what they have not is not compared.
            if audit.code == Some(0) && self.tells && audit.json()["lag"] != serde_json::json!({}) {
                assert!(since.elapsed() < DRIFT_PATIENCE, "consumers do not catch up: {audit:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            if audit.code == Some(0) {
                let report = audit.json();
                assert_eq!(
                    (&report["broken"], report["stuck"].as_array().map(Vec::len)),
                    (&Value::Null, Some(0))
                );
                return (report, since.elapsed());
            }
            let not_told_yet = self.tells && audit.stdout.contains("log-complete");
            assert!(not_told_yet || audit.stdout.contains("gate-is-ledger"), "the audit: {audit:?}");
            assert!(since.elapsed() < DRIFT_PATIENCE, "it stays wrong: {audit:?}");
        }
    }

    /// Two audits, with servers and without, and a look of the test's own. `stocked` says how many units of
    /// each sku there ever were. Ends the servers.
    pub async fn closed_and_balanced(
        &self,
        servers: impl IntoIterator<Item = Server>,
        stocked: &[(String, i64, i64)],
    ) -> Books {
        let (_, drift) = self.audited().await;
        eprintln!("the gate equals the ledger after {drift:?}");
        for server in servers {
            server.stop().await;
        }
        self.audited().await;
        let books = self.books().await;
        books.assert_balanced(&stocked.iter().map(|(sku, units, _)| (sku.clone(), *units)).collect());
        books
    }

    /// The books, read without any of the code that wrote them.
    pub async fn books(&self) -> Books {
        let mut connection = self.database.connection().await;
        let id = |bytes: Vec<u8>| Uuid::from_slice(&bytes).expect("an id");
        let orders: Vec<(Vec<u8>, i64, String, i64)> =
            connection.query("SELECT id, user_id, status, total_minor FROM orders").await.expect("rows");
        let entry = |(order, user, status, total)| {
            (id(order), Entry { user, status, total, lines: std::collections::BTreeMap::new() })
        };
        let mut orders: HashMap<Uuid, Entry> = orders.into_iter().map(entry).collect();
        let lines: Vec<(Vec<u8>, i64, i64)> =
            connection.query("SELECT order_id, product_id, quantity FROM order_lines").await.expect("rows");
        for (order, product, quantity) in lines {
            orders.get_mut(&id(order)).expect("a line belongs to an order").lines.insert(product, quantity);
        }
        let products: Vec<(i64, String, i64, i64)> =
            connection.query("SELECT id, sku, stock, reserved FROM products").await.expect("rows");
        let count = "SELECT COUNT(*) FROM saga_states WHERE tombstone = 0";
        let unfinished_sagas = connection.query_first(count).await.expect("it answers").expect("a count");
        let twice = "SELECT COUNT(*) FROM (SELECT 1 FROM orders GROUP BY user_id, key_digest \
                     HAVING COUNT(*) > 1) AS twice";
        let keys_used_twice = connection.query_first(twice).await.expect("it answers").expect("a count");
        connection.disconnect().await.expect("it says goodbye");
        let gateway = look_into(&self.site.gateway());
        let charges = rows(&gateway, "SELECT order_id, state, amount FROM charges", |row| {
            Ok((Uuid::from_bytes(row.get(0)?), (row.get(1)?, row.get(2)?)))
        });
        Books {
            orders,
            charges: charges.into_iter().collect(),
            products: products.into_iter().map(|(id, sku, stock, held)| (id, (sku, stock, held))).collect(),
            unfinished_sagas,
            keys_used_twice,
        }
    }
}
