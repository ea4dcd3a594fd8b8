//! A shop made of real adapters over stores of its own, that can be killed and opened again.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::gateway::{Faults, SimulatedGateway};
use holdfast::adapters::memory::{MemoryLock, MemoryStockGate};
use holdfast::adapters::mysql::MysqlOutbox;
use holdfast::adapters::redis::{RedisLock, RedisStockGate};
use holdfast::adapters::sqlite::{SqliteLedger, SqliteOutbox};
use holdfast::domain::{Order, OrderId, Tries};
use holdfast::ports::clock::SystemClock;
use holdfast::ports::ledger::Ledger;
use holdfast::ports::lock::Lock;
use holdfast::ports::outbox::Outbox;
use holdfast::ports::stock_gate::StockGate;
use holdfast::saga::{Answer, Engine, EngineConfig, GateKeeper, Ports, PurchaseAnswer, PurchaseLock, Step};
use tokio::runtime::Runtime;

use super::goods::now;
use super::profile::Stores;
use super::{redis_cluster, wait_for};

/// Long enough for anything that a test waits for; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The engine of the tests: patient with buyers, quick to try again.
pub const CONFIG: EngineConfig = EngineConfig {
    in_flight_max: 2_000,
    answer_within: PATIENCE,
    tries: Tries { act_max: 5, wait_max: 2_000, undo_max: 5 },
    pause: Duration::from_millis(1),
    pause_max: Duration::from_millis(4),
    purchase_lock: PurchaseLock::None,
    customer_within: Duration::from_secs(600),
};

/// A gateway that works.
pub const NO_FAULTS: Faults = Faults {
    seed: 1,
    latency_ms: 0,
    timeout_ms: 2,
    late_ms: 5,
    decline_rate: 0.0,
    timeout_before_rate: 0.0,
    timeout_after_rate: 0.0,
    late_rate: 0.0,
    duplicate_rate: 0.0,
    needs_customer_rate: 0.0,
    customer_after_ms: 0,
};

/// The stores of one shop. They outlive every process that opens them.
pub struct Home {
    stores: Stores,
}

impl Home {
    pub fn new() -> Self {
        // Tests without a runtime need one, and those with one must not wait in it.
        let fresh = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(Stores::fresh())
        });
        Self::over(fresh.join().expect("the stores are there"))
    }

    pub fn over(stores: Stores) -> Self {
        Self { stores }
    }

    /// The adapters over these stores: ledger, log, gate and lock.
    pub async fn open(&self) -> (Arc<dyn Ledger>, Arc<dyn Outbox>, Arc<dyn StockGate>, Arc<dyn Lock>) {
        match self.stores.in_cluster() {
            Some(cluster) => {
                let ledger = Arc::new(cluster.database.ledger().await);
                let log = Arc::new(MysqlOutbox::new(Arc::clone(&ledger)));
                let redis = redis_cluster::cluster().await;
                let gate = Arc::new(RedisStockGate::new(Arc::clone(&redis), &cluster.prefix));
                let lock = Arc::new(RedisLock::new(redis, Arc::new(SystemClock), &cluster.prefix));
                (ledger, log, gate, lock)
            }
            None => {
                let path = self.stores.path().join("ledger.db");
                let ledger = SqliteLedger::open(&path, now()).expect("the ledger opens");
                let log = SqliteOutbox::new(ledger.readers().clone());
                let gate = Arc::new(MemoryStockGate::default());
                (Arc::new(ledger), log, gate, Arc::new(MemoryLock::default()))
            }
        }
    }
}

/// Puts something around a step, or leaves it as it is.
pub type Wrap<'a> = &'a dyn Fn(Arc<dyn Step>) -> Arc<dyn Step>;

/// One process of the shop, as far as tests need one.
pub struct Shop {
    pub engine: Arc<Engine>,
    pub keeper: Arc<GateKeeper>,
    pub ledger: Arc<dyn Ledger>,
    pub gate: Arc<dyn StockGate>,
    pub payments: Arc<SimulatedGateway>,
    pub log: Arc<dyn Outbox>,
}

impl Shop {
    /// Opens the shop as it stands in the files and takes up what an earlier process left.
    pub async fn open(home: &Home) -> Self {
        Self::open_with(home, CONFIG, NO_FAULTS, &|step| step).await
    }

    /// Opens the shop with steps wrapped by `wrap`.
    pub async fn open_with(home: &Home, config: EngineConfig, faults: Faults, wrap: Wrap<'_>) -> Self {
        let clock = Arc::new(SystemClock);
        let (ledger, log, gate, lock) = home.open().await;
        let gateway = home.stores.path().join("gateway.db");
        let payments = SimulatedGateway::open(&gateway, clock.clone(), faults);
        let payments = Arc::new(payments.expect("the gateway's file opens"));
        let ports = Ports::new(ledger.clone(), gate.clone(), lock, payments.clone(), clock);
        let keeper = Arc::clone(&ports.keeper);
        let steps = Engine::steps(&ports, &config).map(|(step, workers)| (wrap(step), workers));
        let engine = Engine::start_with(steps, ports, config);
        match home.stores.in_cluster() {
            // Whoever had it before gives no sign of life.
            Some(_) => engine.take_over(Duration::ZERO).await,
            None => engine.recover().await,
        }
        .expect("the engine recovers");
        Self { engine, keeper, ledger, gate, payments, log }
    }

    /// Creates products of `units` each and loads them into the gate.
    pub async fn stock(&self, units: &[i64]) -> Vec<holdfast::domain::ProductId> {
        let products = super::goods::stock(&*self.ledger, units).await;
        self.keeper.load_all().await.expect("the gate loads");
        products
    }

    /// Creates one more product and loads it.
    pub async fn stock_more(&self, units: i64) -> holdfast::domain::ProductId {
        let more = super::goods::new_product("more", units, super::goods::PRICE);
        let created = self.ledger.create_products(vec![more], now()).await.expect("created");
        self.keeper.load_all().await.expect("the gate loads");
        created[0].id
    }

    /// Buys and waits for the end.
    pub async fn buy(&self, purchase: holdfast::domain::Purchase) -> Answer {
        match self.engine.purchase(purchase).await.expect("the ledger answers") {
            PurchaseAnswer::Ended(answer) => answer,
            other => panic!("a purchase should have ended: {other:?}"),
        }
    }

    /// The only order there is, if any.
    pub async fn only_order(&self) -> Option<Arc<Order>> {
        let orders = self.ledger.orders_after(None, 10).await.expect("orders");
        assert!(orders.len() < 2, "there is more than one order: {orders:?}");
        orders.into_iter().next()
    }

    /// Ids of stuck sagas.
    pub async fn stuck(&self) -> Vec<OrderId> {
        let open = self.ledger.open_sagas(10_000).await.expect("open sagas");
        open.iter().filter(|saga| saga.stuck.is_some()).map(|saga| saga.order.id).collect()
    }

    /// Ids of sagas that wait for their customers.
    pub async fn waiting(&self) -> Vec<OrderId> {
        let open = self.ledger.open_sagas(10_000).await.expect("open sagas");
        open.iter().filter(|saga| saga.waits_until.is_some()).map(|saga| saga.order.id).collect()
    }

    /// Waits until every saga has ended or is stuck.
    pub async fn until_quiet(&self) {
        wait_for("every saga has ended or is stuck", PATIENCE, async || {
            let open = self.ledger.open_sagas(10_000).await.expect("open sagas");
            self.engine.in_flight() == 0 && open.iter().all(|saga| saga.stuck.is_some())
        })
        .await;
    }

    /// Gives holds back that have no order and will never get one, whatever their deadline and whoever had
    /// them, and makes gate and ledger equal.
    pub async fn sweep(&self) {
        for level in self.ledger.stock_levels().await.expect("levels") {
            let found = self.gate.inspect(level.product).await.expect("the gate answers");
            for (hold, _) in found.into_iter().flat_map(|found| found.holds).filter(|(_, ordered)| !ordered) {
                self.keeper.give_up(&hold).await.expect("ledger and gate answer");
            }
        }
        self.keeper.check_all(Duration::ZERO).await.expect("ledger and gate answer");
    }
}

/// A shop in a runtime of its own, so that it can die in the middle of anything.
pub struct Process {
    pub runtime: Runtime,
    pub shop: Arc<Shop>,
}

impl Process {
    pub fn start(home: &Home, wrap: Wrap<'_>) -> Self {
        Self::start_with(home, NO_FAULTS, wrap)
    }

    pub fn start_with(home: &Home, faults: Faults, wrap: Wrap<'_>) -> Self {
        Self::start_as(home, CONFIG, faults, wrap)
    }

    pub fn start_as(home: &Home, config: EngineConfig, faults: Faults, wrap: Wrap<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let shop = Arc::new(runtime.block_on(Shop::open_with(home, config, faults, wrap)));
        Self { runtime, shop }
    }

    /// Runs something in this process.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Drops every task wherever it stands and closes the files. Nothing is finished or undone.
    pub fn kill(self) {
        self.runtime.shutdown_timeout(PATIENCE);
        let shop = Arc::into_inner(self.shop).expect("no task of a dead process is left");
        let ledger = shop.ledger.clone();
        drop(shop);
        assert_eq!(Arc::strong_count(&ledger), 1, "nobody writes to the ledger any more");
    }
}
