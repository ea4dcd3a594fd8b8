//! A shop made of the embedded adapters over files of its own, that can be killed and opened again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::gateway::{Faults, SimulatedGateway};
use holdfast::adapters::memory::{MemoryLock, MemoryStockGate};
use holdfast::adapters::sqlite::{OutboxLog, SqliteLedger};
use holdfast::domain::{Order, OrderId, Timestamp, Tries};
use holdfast::ports::clock::SystemClock;
use holdfast::ports::event_log::EventLog;
use holdfast::ports::ledger::Ledger as _;
use holdfast::ports::stock_gate::StockGate as _;
use holdfast::saga::{Answer, Engine, EngineConfig, GateKeeper, Ports, PurchaseAnswer, PurchaseLock, Step};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::goods::now;
use super::wait_for;

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
};

/// The files of one shop. They outlive every process that opens them.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for the shop's files") }
    }

    pub fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    pub fn gateway(&self) -> PathBuf {
        self.dir.path().join("gateway.db")
    }
}

/// Puts something around a step, or leaves it as it is.
pub type Wrap<'a> = &'a dyn Fn(Arc<dyn Step>) -> Arc<dyn Step>;

/// One process of the shop, as far as tests need one.
pub struct Shop {
    pub engine: Arc<Engine>,
    pub keeper: Arc<GateKeeper>,
    pub ledger: Arc<SqliteLedger>,
    pub gate: Arc<MemoryStockGate>,
    pub payments: Arc<SimulatedGateway>,
    pub log: Arc<dyn EventLog>,
}

impl Shop {
    /// Opens the shop as it stands in the files and takes up what an earlier process left.
    pub async fn open(home: &Home) -> Self {
        Self::open_with(home, CONFIG, NO_FAULTS, &|step| step).await
    }

    /// Opens the shop with steps wrapped by `wrap`.
    pub async fn open_with(home: &Home, config: EngineConfig, faults: Faults, wrap: Wrap<'_>) -> Self {
        let clock = Arc::new(SystemClock);
        let ledger = Arc::new(SqliteLedger::open(&home.ledger(), now()).expect("the ledger opens"));
        let gate = Arc::new(MemoryStockGate::default());
        let payments = SimulatedGateway::open(&home.gateway(), clock.clone(), faults);
        let payments = Arc::new(payments.expect("the gateway's file opens"));
        let log = OutboxLog::new(ledger.readers().clone());
        let lock = Arc::new(MemoryLock::default());
        let ports = Ports::new(ledger.clone(), gate.clone(), lock, payments.clone(), clock);
        let keeper = Arc::clone(&ports.keeper);
        let steps = Engine::steps(&ports).map(|(step, workers)| (wrap(step), workers));
        let engine = Engine::start_with(steps, ports, config);
        engine.recover().await.expect("the engine recovers");
        Self { engine, keeper, ledger, gate, payments, log }
    }

    /// Creates products of `units` each and loads them into the gate.
    pub async fn stock(&self, units: &[i64]) -> Vec<holdfast::domain::ProductId> {
        let products = super::goods::stock(&*self.ledger, units).await;
        self.keeper.load_all().await.expect("the gate loads");
        products
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

    /// Waits until every saga has ended or is stuck.
    pub async fn until_quiet(&self) {
        wait_for("every saga has ended or is stuck", PATIENCE, async || {
            let open = self.ledger.open_sagas(10_000).await.expect("open sagas");
            self.engine.in_flight() == 0 && open.iter().all(|saga| saga.stuck.is_some())
        })
        .await;
    }

    /// Gives holds back that have no order and will never get one, whatever their deadline.
    pub async fn sweep(&self) {
        let overdue = self.gate.overdue(Timestamp(i64::MAX)).await.expect("overdue holds");
        for hold in overdue {
            self.keeper.give_up(&hold).await.expect("ledger and gate answer");
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
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let shop = Arc::new(runtime.block_on(Shop::open_with(home, CONFIG, faults, wrap)));
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
        Arc::into_inner(ledger).expect("nobody writes to the ledger any more");
    }
}
