//! Wires ports to adapters.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::gateway::SimulatedGateway;
use crate::adapters::memory::{MemoryLock, MemoryStockGate};
use crate::adapters::sqlite::{OpenError, OutboxLog, SqliteLedger};
use crate::auth::{Passwords, Tokens};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError, DataDirLock};
use crate::ports::Unavailable;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::event_log::EventLog;
use crate::ports::ledger::Ledger;
use crate::ports::lock::Lock;
use crate::ports::payments::Payments;
use crate::ports::stock_gate::StockGate;
use crate::saga::{Engine, Ports};
use crate::stock_room::StockRoom;
use crate::worker;

/// The stores of a shop, opened by the only process that may change them.
pub struct Stores {
    pub ledger: Arc<dyn Ledger>,
    pub payments: Arc<dyn Payments>,
    pub events: Arc<dyn EventLog>,
    pub clock: Arc<dyn Clock>,
    /// Dropped last, after the stores have been closed.
    _lock: DataDirLock,
}

/// A running shop without its web server.
pub struct App {
    pub config: Config,
    pub engine: Arc<Engine>,
    pub catalog: Catalog,
    pub stock_room: StockRoom,
    pub gate: Arc<dyn StockGate>,
    pub tokens: Tokens,
    pub passwords: Passwords,
    background: worker::Workers,
    pub stores: Stores,
}

/// Why a shop cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("configuration: {setting} = {url:?}: {why}")]
    Url { setting: &'static str, url: String, why: &'static str },
    #[error("{} is missing, which belongs to the shop", path.display())]
    Missing { path: PathBuf },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Stores {
    /// Whether there is a shop already.
    ///
    /// # Errors
    /// The configuration names no files.
    pub fn exist(config: &Config) -> Result<bool, BuildError> {
        Ok(Files::of(config, &DataDir::new(&config.data_dir))?.ledger.exists())
    }

    /// Opens the stores that the configuration names, creating them where needed.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn open(config: &Config) -> Result<Self, BuildError> {
        let directory = DataDir::new(&config.data_dir);
        let files = Files::of(config, &directory)?;
        let lock = directory.lock()?;
        Self::open_locked(config, &files, lock)
    }

    /// Opens stores that have to exist.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn open_existing(config: &Config) -> Result<Self, BuildError> {
        let directory = DataDir::new(&config.data_dir);
        let files = Files::of(config, &directory)?;
        if !files.ledger.exists() {
            return Err(DataDirError::Empty { path: config.data_dir.clone() }.into());
        }
        if !files.gateway.exists() {
            return Err(BuildError::Missing { path: files.gateway });
        }
        let lock = directory.lock_existing()?;
        Self::open_locked(config, &files, lock)
    }

    fn open_locked(config: &Config, files: &Files, lock: DataDirLock) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Before the ledger is migrated: otherwise a gateway file from a newer version would leave a
        // shop that neither version can open.
        SimulatedGateway::inspect(&files.gateway)?;
        let ledger = SqliteLedger::open(&files.ledger, clock.now())?;
        let events = OutboxLog::new(ledger.readers().clone());
        let faults = config.payments.faults.clone();
        let payments = SimulatedGateway::open(&files.gateway, Arc::clone(&clock), faults)?;
        Ok(Self { ledger: Arc::new(ledger), payments: Arc::new(payments), events, clock, _lock: lock })
    }
}

impl App {
    /// Opens the shop and takes up what an earlier run left unfinished.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let stores = Stores::open(&config)?;
        let Stores { ledger, payments, clock, .. } = &stores;
        let gate: Arc<dyn StockGate> = Arc::new(MemoryStockGate::default());
        let lock: Arc<dyn Lock> = Arc::new(MemoryLock::default());
        let secret = match &config.auth.secret {
            Some(secret) => secret.clone(),
            None => DataDir::new(&config.data_dir).token_secret(&**clock)?,
        };
        let ports =
            Ports::new(Arc::clone(ledger), Arc::clone(&gate), lock, Arc::clone(payments), Arc::clone(clock));
        let engine = Engine::start(ports.clone(), config.engine());
        let recovered = engine.recover().await?;
        if recovered > 0 {
            tracing::info!(recovered, "unfinished orders of an earlier run are taken up");
        }
        let catalog = Catalog::new(Arc::clone(ledger), Arc::clone(&gate), Arc::clone(clock));
        let stock_room = StockRoom::new(ports.clone(), catalog.clone());
        let tokens = Tokens::new(&secret, Duration::from_secs(config.auth.token_ttl_s), Arc::clone(clock));
        let background = worker::start(&engine, &ports);
        Ok(Self {
            config,
            engine,
            catalog,
            stock_room,
            gate,
            tokens,
            passwords: Passwords::default(),
            background,
            stores,
        })
    }

    /// Lets the orders on their way finish, at most for the configured time, and closes the stores.
    pub async fn close(self) {
        let patience = Duration::from_millis(self.config.server.stop_within_ms);
        if !self.engine.drain(patience).await {
            tracing::warn!(
                unfinished = self.engine.in_flight(),
                "some orders are still on their way; the next start takes them up"
            );
        }
        self.background.stop();
    }
}

/// The files that the configuration names.
struct Files {
    ledger: PathBuf,
    gateway: PathBuf,
}

impl Files {
    /// Finds out what is wrong with the names before anything is made.
    fn of(config: &Config, directory: &DataDir) -> Result<Self, BuildError> {
        let ledger = file_of("ledger.url", &config.ledger.url, "sqlite:", directory)?;
        let gateway = file_of("payments.url", &config.payments.url, "simulated:", directory)?;
        if ledger == gateway {
            let why = "the ledger has a file of its own";
            return Err(BuildError::Url { setting: "payments.url", url: config.payments.url.clone(), why });
        }
        Ok(Self { ledger, gateway })
    }
}

/// The file that a URL such as `sqlite:NAME` names in the data directory.
fn file_of(
    setting: &'static str,
    url: &str,
    scheme: &'static str,
    directory: &DataDir,
) -> Result<PathBuf, BuildError> {
    let wrong = |why| BuildError::Url { setting, url: url.to_owned(), why };
    let name = url.strip_prefix(scheme).ok_or_else(|| wrong("this kind of back end is not known"))?;
    if ["", ".", ".."].contains(&name) || name.contains(['/', '\\']) {
        return Err(wrong("a plain file name has to follow the colon"));
    }
    Ok(directory.file(name))
}
