//! A shop for one test: the real server on a port of its own, over real files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::gateway::SimulatedGateway;
use holdfast::app::App;
use holdfast::audit::{Audit, Report};
use holdfast::auth::Principal;
use holdfast::config::{Config, Flags};
use holdfast::domain::{Money, NewProduct, StockLevel, UserId};
use holdfast::http::{router, server};
use holdfast::ports::clock::SystemClock;
use holdfast::ports::ledger::Role;
use holdfast::ports::payments::ChargeRecord;
use rusqlite::OpenFlags;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http_client::{Answer, Client, Connection};
use super::live_stream::LiveStream;
use super::profile::Stores;
use super::shop::NO_FAULTS;
use super::wait_for;

/// Signs the tokens of every test shop.
pub const SECRET: &str = "a secret that only the tests know of";

/// Longer than anything takes that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A shop that is open.
pub struct TestApp {
    /// The first server.
    pub shop: Arc<App>,
    pub address: SocketAddr,
    servers: Vec<Running>,
    stores: Stores,
}

struct Running {
    shop: Arc<App>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

/// What a shop begins with.
pub struct Builder {
    changes: Vec<Change>,
    products: Vec<NewProduct>,
}

type Change = Box<dyn FnOnce(&mut Config) + Send>;

/// Everything the stores hold, table by table, and the levels of the gate.
#[derive(PartialEq, Debug)]
pub struct Contents {
    tables: BTreeMap<String, Vec<String>>,
    gate: Vec<StockLevel>,
}

impl TestApp {
    pub fn builder() -> Builder {
        Builder { changes: Vec::new(), products: Vec::new() }
    }

    /// Somebody who is not signed in.
    pub fn anybody(&self) -> Client {
        Client::alternating(self.addresses(), None)
    }

    pub fn customer(&self, id: i64) -> Client {
        self.signed_in(id, Role::Customer)
    }

    pub fn admin(&self) -> Client {
        self.signed_in(1_000_000, Role::Admin)
    }

    /// The token of [`admin`](Self::admin), for those who send requests of their own.
    pub fn admin_token(&self) -> String {
        self.shop.tokens.issue(Principal { user: UserId(1_000_000), role: Role::Admin })
    }

    fn signed_in(&self, id: i64, role: Role) -> Client {
        let token = self.shop.tokens.issue(Principal { user: UserId(id), role });
        Client::alternating(self.addresses(), Some(token))
    }

    /// Where each of its servers is.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Orders on their way on any server.
    fn in_flight(&self) -> usize {
        self.servers.iter().map(|server| server.shop.engine.in_flight()).sum()
    }

    /// A connection for what no client would send.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Stock and reserved units of each product, by id.
    pub async fn levels(&self) -> Vec<(i64, i64)> {
        let levels = self.shop.stores.ledger.stock_levels().await.expect("the ledger answers");
        levels.iter().map(|level| (level.stock, level.reserved)).collect()
    }

    /// What the gateway has on record.
    pub async fn charges(&self) -> Vec<ChargeRecord> {
        self.shop.stores.payments.list(None, usize::MAX).await.expect("the gateway answers")
    }

    /// The gateway as another process opens it: the shop does not hear of what happens there.
    pub fn another_gateway(&self) -> SimulatedGateway {
        let (file, faults) = (self.stores.path().join("gateway.sqlite3"), NO_FAULTS);
        SimulatedGateway::open(&file, Arc::new(SystemClock), faults).expect("the gateway's file opens")
    }

    /// What an audit says now.
    pub async fn audit(&self) -> Report {
        Audit::of(&self.shop.stores).run(|_| {}).await.expect("the stores answer")
    }

    /// A live page, open at one of the servers.
    pub async fn live(&self, server: usize, client: &Client, path: &str) -> LiveStream {
        self.try_live(server, client, path, None).await.expect("a stream")
    }

    /// The same for a client that has seen an event before.
    pub async fn live_again(&self, server: usize, client: &Client, path: &str, seen: &str) -> LiveStream {
        self.try_live(server, client, path, Some(seen)).await.expect("a stream")
    }

    /// The same, and the answer of a server that opens none.
    pub async fn try_live(
        &self,
        server: usize,
        client: &Client,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Result<LiveStream, Answer> {
        let request = client.get(path);
        let request = match last_event_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        LiveStream::open(self.servers[server].address, &request.bytes()).await
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Looks at a product until it is shown with so many units: at once, or as soon as caches that servers share
    /// have forgotten what was before.
    pub async fn shows(&self, product: i64, available: i64) {
        let (anybody, path) = (self.anybody(), format!("/api/v1/products/{product}"));
        wait_for("the view shows what is left", PATIENCE, async || {
            let shown = anybody.get(&path).await.expect(200).json();
            assert!(self.stores_are_shared() || shown["available"] == available, "{shown}");
            shown["available"] == available
        })
        .await;
    }

    /// Waits until no order is on its way.
    pub async fn quiet(&self) {
        wait_for("no order is on its way", PATIENCE, async || self.in_flight() == 0).await;
    }

    /// Everything there is.
    pub async fn contents(&self) -> Contents {
        self.quiet().await;
        let mut tables = match self.stores.in_cluster() {
            Some(cluster) => cluster.database.contents().await,
            None => BTreeMap::new(),
        };
        for file in ["ledger.sqlite3", "gateway.sqlite3"] {
            let file = self.stores.path().join(file);
            if file.exists() {
                read_tables(&file, &mut tables).expect("the file can be read");
            }
        }
        Contents { tables, gate: self.gate_levels().await }
    }

    pub async fn gate_levels(&self) -> Vec<StockLevel> {
        let levels = self.shop.stores.ledger.stock_levels().await.expect("the ledger answers");
        let products: Vec<_> = levels.iter().map(|level| level.product).collect();
        let levels = self.shop.gate.levels(&products).await.expect("the gate answers");
        levels.into_iter().flatten().collect()
    }

    /// Sends a request that has to be refused, and checks that nothing is another than before.
    pub async fn refuses(&self, request: impl IntoFuture<Output = Answer>) -> String {
        let before = self.contents().await;
        let answer = request.await;
        assert!(answer.status >= 400, "{}", answer.shown());
        assert_eq!(self.contents().await, before, "nothing changes");
        answer.brief()
    }

    /// Closes the shop and proves that everything in it is as it has to be.
    pub async fn finish(self) -> Report {
        let stores = &self.shop.stores;
        let open = async || stores.ledger.open_sagas(usize::MAX).await.expect("the ledger answers");
        self.quiet().await;
        wait_for("no saga is open", PATIENCE, async || open().await.is_empty()).await;
        let audit = async || Audit::of(stores).run(|_| {}).await.expect("the stores answer");
        let mut report = audit().await;
        // What was committed last may still be on its way to Kafka.
        wait_for("every event is in the log", PATIENCE, async || {
            report = audit().await;
            report.broken.as_ref().is_none_or(|broken| broken.invariant != "log-complete")
        })
        .await;
        assert_eq!(report.broken, None, "the audit is clean");
        let mut levels = stores.ledger.stock_levels().await.expect("the ledger answers");
        let gate = self.gate_levels().await;
        // A gate that servers share is loaded when somebody asks for a product.
        levels.retain(|level| !self.stores_are_shared() || gate.iter().any(|g| g.product == level.product));
        assert_eq!(gate, levels, "the gate agrees with the ledger");

        let Self { shop, servers, stores, .. } = self;
        drop(shop);
        for Running { shop, stop, server, .. } in servers {
            stop.send(()).expect("the server runs");
            server.await.expect("the server ends without a panic");
            wait_for("nobody uses the shop", PATIENCE, async || Arc::strong_count(&shop) == 1).await;
            shop.close(PATIENCE).await;
        }
        drop(stores);
        report
    }

    fn stores_are_shared(&self) -> bool {
        self.stores.in_cluster().is_some()
    }
}

fn read_tables(file: &Path, tables: &mut BTreeMap<String, Vec<String>>) -> rusqlite::Result<()> {
    let store = rusqlite::Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut names = store.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    // The counter of account ids may have gaps.
    for name in names.into_iter().filter(|name| name != "sqlite_sequence") {
        let mut rows = store.prepare(&format!("SELECT * FROM {name}"))?;
        let columns = rows.column_count();
        let shown = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
            Ok(format!("{:?}", values.collect::<rusqlite::Result<Vec<_>>>()?))
        };
        let rows = rows.query_map([], shown)?.collect::<rusqlite::Result<_>>()?;
        tables.insert(name, rows);
    }
    Ok(())
}

impl Builder {
    /// Adds a product of 2.50 EUR with `stock` units. The first has the id 1, the next 2.
    pub fn product(self, stock: i64) -> Self {
        self.priced(stock, 250, "EUR")
    }

    /// Adds a product with a price.
    pub fn priced(mut self, stock: i64, minor: i64, currency: &str) -> Self {
        let n = self.products.len() + 1;
        self.products.push(NewProduct {
            sku: format!("SKU-{n}"),
            name: format!("Product {n}"),
            description: format!("What product {n} is."),
            category: if n.is_multiple_of(2) { "even" } else { "odd" }.into(),
            price: Money::new(minor, currency.parse().expect("a currency")),
            stock,
        });
        self
    }

    /// Adds so many products.
    pub fn products(self, count: usize, stock: i64) -> Self {
        (0..count).fold(self, |builder, _| builder.product(stock))
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    pub async fn start(self) -> TestApp {
        self.start_over(Stores::fresh().await).await
    }

    /// Opens the shop over stores that are not those of the run's profile.
    pub async fn start_over(self, stores: Stores) -> TestApp {
        let Self { changes, products } = self;
        let mut config = Config::load(None, &Flags::default()).expect("the defaults are good");
        stores.configure(&mut config);
        config.auth.secret = Some(SECRET.to_owned().into());
        // A slow machine is no reason to be told that an order is on its way.
        config.sale.answer_within_ms = 30_000;
        // Tests buy more in a second than anybody could.
        config.limits.account_purchases_per_s = 0;
        changes.into_iter().for_each(|change| change(&mut config));
        let mut servers = Vec::new();
        for _ in 0..stores.servers() {
            servers.push(run(config.clone()).await);
        }
        let (shop, address) = (Arc::clone(&servers[0].shop), servers[0].address);
        shop.stock_room.create_products(products).await.expect("products are created");
        TestApp { shop, address, servers, stores }
    }
}

/// Opens a server at an address of its own.
async fn run(config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let limits = config.server.clone();
    let shop = Arc::new(App::build(config).await.expect("the shop opens"));
    let routes = router::router(Arc::clone(&shop));
    let (stop, stopped) = oneshot::channel();
    let stopping = Arc::clone(&shop);
    let server = tokio::spawn(async move {
        let stopped = async move {
            // A test that panics drops the sender.
            let _ = stopped.await;
            stopping.announce_stop();
        };
        server::serve(listener, routes, &limits, stopped).await;
    });
    Running { shop, address, stop, server }
}
