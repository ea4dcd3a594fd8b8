//! A database of a test's own on the real MySQL, dropped with it.

use std::collections::BTreeMap;

use holdfast::adapters::mysql::{Feed, MysqlLedger, Settings};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row, SslOpts};
use secrecy::ExposeSecret as _;

use super::goods::new_order_id;

/// Where `cargo xtask services` starts it; the first is the primary.
const URL: &str = "mysql://holdfast@127.0.0.1:13306,127.0.0.1:13307";
const PASSWORD: &str = "holdfast-dev";

/// Connections that one shop of a test may open.
const CONNECTIONS_MAX: usize = 24;

/// A database that nobody else uses.
pub struct Database {
    name: String,
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

impl Database {
    /// One that is on the primary alone: `cargo xtask services` has the replica leave out those of this name.
    pub async fn fresh() -> Self {
        Self::create("test_alone_").await
    }

    /// One that the replica has, too, soon.
    pub async fn replicated() -> Self {
        Self::create("test_").await
    }

    async fn create(prefix: &str) -> Self {
        let name = format!("{prefix}{}", new_order_id().0.simple());
        administer(&format!("CREATE DATABASE {name}")).await;
        Self { name }
    }

    /// Its URL on the primary alone: a replica may be some milliseconds behind, or not have it.
    pub fn url(&self) -> String {
        let all = self.url_of_all();
        let (first, rest) = all.split_once(',').unwrap_or((&all, ""));
        if rest.is_empty() { all.clone() } else { format!("{first}/{}", self.name) }
    }

    /// Its URL with every member.
    pub fn url_of_all(&self) -> String {
        format!("{}/{}", variable("HOLDFAST_TEST_MYSQL", URL), self.name)
    }

    pub fn password() -> String {
        variable("HOLDFAST_TEST_MYSQL_PASSWORD", PASSWORD)
    }

    pub fn settings(&self) -> Settings {
        Settings::parse(&self.url(), Self::password().into(), CONNECTIONS_MAX).expect("a URL of the tests")
    }

    /// A connection to it on the primary.
    pub async fn connection(&self) -> Conn {
        let mut connection = connect().await;
        connection.query_drop(format!("USE {}", self.name)).await.expect("it is there");
        connection
    }

    /// A connection to each member, without choosing a database.
    pub async fn connections_to_members() -> Vec<Conn> {
        let mut connections = Vec::new();
        for member in 0..members().addresses.len() {
            connections.push(connect_to(member).await);
        }
        connections
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every row of every table, but for what servers say about themselves.
    pub async fn contents(&self) -> BTreeMap<String, Vec<String>> {
        let mut connection = self.connection().await;
        let tables: Vec<String> = connection.query("SHOW TABLES").await.expect("it answers");
        let mut contents = BTreeMap::new();
        // Servers say that they live, and watch over sagas for a while.
        let moving = ["instances", "watched_sagas"];
        for table in tables.into_iter().filter(|table| !moving.contains(&&**table)) {
            let rows: Vec<Row> =
                connection.query(format!("SELECT * FROM {table}")).await.expect("it answers");
            let mut rows: Vec<String> = rows.into_iter().map(shown).collect();
            rows.sort();
            contents.insert(table, rows);
        }
        connection.disconnect().await.expect("it says goodbye");
        contents
    }

    /// Connections to this database on the replica.
    pub async fn connections_to_replica(&self) -> u64 {
        let mut connection = connect_to(1).await;
        let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{}'", self.name);
        let count = connection.query_first(count).await.expect("it answers").expect("a number");
        connection.disconnect().await.expect("it says goodbye");
        count
    }

    /// Opens the ledger in it.
    pub async fn ledger(&self) -> MysqlLedger {
        self.ledger_with(Feed::default()).await
    }

    /// Opens the ledger in it with a relay.
    pub async fn ledger_with(&self, feed: Feed) -> MysqlLedger {
        MysqlLedger::open(&self.settings(), feed).await.expect("the ledger opens")
    }
}

/// Every value of a row, in full.
fn shown(row: Row) -> String {
    row.unwrap().iter().map(|value| value.as_sql(true)).collect::<Vec<_>>().join(", ")
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop_it = format!("DROP DATABASE IF EXISTS {}", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(administer(&drop_it));
        });
        if dropping.join().is_err() && !std::thread::panicking() {
            panic!("the database of a test could not be dropped");
        }
    }
}

/// Does something on the primary.
async fn administer(statement: &str) {
    let mut connection = connect().await;
    // Without this a test that failed in the middle of a transaction would never end. A sound one may still be
    // waiting for its last commit: the members of the group share the discs of a machine that runs all tests.
    connection.query_drop("SET SESSION lock_wait_timeout = 30").await.expect("a setting");
    if let Err(error) = connection.query_drop(statement).await {
        let at_work =
            "SELECT * FROM information_schema.processlist WHERE db IS NOT NULL AND command <> 'Sleep'";
        let at_work: Vec<Row> = connection.query(at_work).await.expect("it answers");
        let at_work: Vec<String> = at_work.into_iter().map(shown).collect();
        panic!("{statement}: {error}; at work: {at_work:#?}");
    }
    connection.disconnect().await.expect("it says goodbye");
}

/// Where the members are, the primary first.
fn members() -> Settings {
    let url = format!("{}/none", variable("HOLDFAST_TEST_MYSQL", URL));
    Settings::parse(&url, Database::password().into(), 2).expect("HOLDFAST_TEST_MYSQL is a URL")
}

/// A connection to the primary.
async fn connect() -> Conn {
    connect_to(0).await
}

/// A connection to one of the members.
async fn connect_to(member: usize) -> Conn {
    let settings = members();
    let (host, port) = settings.addresses[member].clone();
    let ssl =
        SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    let options = OptsBuilder::default()
        .ip_or_hostname(&host)
        .tcp_port(port)
        .user(Some(&settings.user))
        .pass(Some(settings.password.expose_secret()))
        .prefer_socket(false)
        .ssl_opts(Some(ssl));
    Conn::new(options).await.unwrap_or_else(|error| {
        panic!(
            "MySQL does not answer at {host}:{port} ({error}): start it with `cargo xtask services up`, or name yours \
             in HOLDFAST_TEST_MYSQL and HOLDFAST_TEST_MYSQL_PASSWORD"
        )
    })
}
