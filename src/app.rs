//! Wires ports to adapters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::gateway::SimulatedGateway;
use crate::adapters::memory::{MemoryLock, MemoryStockGate};
use crate::adapters::mysql::{self, MysqlLedger, MysqlOutboxLog};
use crate::adapters::redis::{RedisCluster, RedisLock, RedisStockGate, RedisViewCache};
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
use crate::ports::view_cache::ViewCache;
use crate::saga::{Engine, GateKeeper, Ports};
use crate::stock_room::StockRoom;
use crate::worker;

/// Connections that a command which runs beside the servers may open to a database.
pub const CONNECTIONS_OF_ONE_COMMAND: usize = 5;

/// How long a server that ends tries to tell the others.
const RETIRE_PATIENCE: Duration = Duration::from_secs(2);

const UNKNOWN: &str = "this kind of back end is not known";

/// The stores of a shop, and what is opened beside them. Embedded ones are opened by the only process that
/// may change them.
pub struct Stores {
    pub ledger: Arc<dyn Ledger>,
    pub payments: Arc<dyn Payments>,
    pub events: Arc<dyn EventLog>,
    pub clock: Arc<dyn Clock>,
    /// The simulated gateway, where it is of this process: the shop shows its pages.
    pub simulated: Option<Arc<SimulatedGateway>>,
    shared: Option<Shared>,
    /// Dropped last, after the stores have been closed.
    _lock: Option<DataDirLock>,
}

/// What several servers have in common beside the ledger.
#[derive(Clone)]
pub struct Shared {
    pub gate: Arc<dyn StockGate>,
    lock: Arc<dyn Lock>,
    views: Arc<dyn ViewCache>,
}

/// A running shop without its web server.
pub struct App {
    pub config: Config,
    pub engine: Arc<Engine>,
    pub catalog: Catalog,
    pub stock_room: StockRoom,
    pub gate: Arc<dyn StockGate>,
    pub keeper: Arc<GateKeeper>,
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
    Url { setting: &'static str, url: String, why: String },
    #[error("configuration: {0}")]
    Setting(&'static str),
    #[error(transparent)]
    Database(#[from] mysql::OpenError),
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
        Ok(match BackEnds::of(config)? {
            BackEnds::Embedded(files) => files.ledger.exists(),
            BackEnds::Cluster { .. } => true,
        })
    }

    /// Opens the stores that the configuration names, creating them where needed. `connections` is how many
    /// this process may open to any one database.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn open(config: &Config, connections: usize) -> Result<Self, BuildError> {
        Self::open_reading(config, connections, true).await
    }

    /// The same, and whether replicas are read, which may be seconds behind.
    async fn open_reading(
        config: &Config,
        connections: usize,
        reads_replicas: bool,
    ) -> Result<Self, BuildError> {
        let back_ends = BackEnds::of(config)?;
        let directory = DataDir::new(&config.data_dir);
        match back_ends {
            BackEnds::Embedded(files) => {
                let lock = directory.lock()?;
                Self::open_embedded(config, &files, lock)
            }
            BackEnds::Cluster(cluster) => {
                directory.create()?;
                Self::open_cluster(config, *cluster, connections, reads_replicas).await
            }
        }
    }

    /// Opens stores that have to exist, for a command.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn open_existing(config: &Config) -> Result<Self, BuildError> {
        let directory = DataDir::new(&config.data_dir);
        let (gateway, files) = match BackEnds::of(config)? {
            BackEnds::Embedded(files) if !files.ledger.exists() => {
                return Err(DataDirError::Empty { path: config.data_dir.clone() }.into());
            }
            BackEnds::Embedded(files) => (files.gateway.clone(), Some(files)),
            BackEnds::Cluster(cluster) => (cluster.gateway, None),
        };
        if !gateway.exists() {
            return Err(BuildError::Missing { path: gateway });
        }
        match files {
            Some(files) => {
                let lock = directory.lock_existing()?;
                Self::open_embedded(config, &files, lock)
            }
            // A command that looks at a shop compares the stores with each other.
            None => Self::open_reading(config, CONNECTIONS_OF_ONE_COMMAND, false).await,
        }
    }

    fn open_embedded(config: &Config, files: &Files, lock: DataDirLock) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Before the ledger is migrated: otherwise a gateway file from a newer version would leave a
        // shop that neither version can open.
        SimulatedGateway::inspect(&files.gateway)?;
        let ledger = SqliteLedger::open(&files.ledger, clock.now())?;
        let events = OutboxLog::new(ledger.readers().clone());
        let payments = open_gateway(config, &files.gateway, &clock)?;
        let (ledger, simulated) = (Arc::new(ledger), Some(Arc::clone(&payments)));
        Ok(Self { ledger, payments, events, clock, simulated, shared: None, _lock: Some(lock) })
    }

    async fn open_cluster(
        config: &Config,
        cluster: ClusterBackEnds,
        connections: usize,
        reads_replicas: bool,
    ) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        SimulatedGateway::inspect(&cluster.gateway)?;
        let settings = mysql::Settings { connections_max: connections, reads_replicas, ..cluster.database };
        let ledger = Arc::new(MysqlLedger::open(&settings).await?);
        let events = Arc::new(MysqlOutboxLog::new(Arc::clone(&ledger)));
        let payments = open_gateway(config, &cluster.gateway, &clock)?;
        let (redis, prefix) = (Arc::new(cluster.redis), &config.gate.prefix);
        let shared = Shared {
            gate: Arc::new(RedisStockGate::new(Arc::clone(&redis), prefix)),
            lock: Arc::new(RedisLock::new(Arc::clone(&redis), Arc::clone(&clock), prefix)),
            views: Arc::new(RedisViewCache::new(redis, prefix)),
        };
        let simulated = Some(Arc::clone(&payments));
        Ok(Self { ledger, payments, events, clock, simulated, shared: Some(shared), _lock: None })
    }

    /// What several servers have in common, where there may be several.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }
}

/// The gateway's file may be shared by servers on one machine.
fn open_gateway(
    config: &Config,
    file: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<SimulatedGateway>, BuildError> {
    let faults = config.payments.faults.clone();
    let gateway = SimulatedGateway::open(file, Arc::clone(clock), faults)?;
    Ok(Arc::new(gateway.with_challenges_at(&config.payments.challenge_base)))
}

impl App {
    /// Opens the shop and takes up what an earlier run left unfinished.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let stores = Stores::open(&config, config.connections_of_one_server()).await?;
        let Stores { ledger, payments, clock, .. } = &stores;
        let shared = stores.shared.clone();
        let several_servers = shared.is_some();
        let (gate, lock, views): (Arc<dyn StockGate>, Arc<dyn Lock>, _) = match shared {
            Some(Shared { gate, lock, views }) => (gate, lock, Some(views)),
            None => (Arc::new(MemoryStockGate::default()), Arc::new(MemoryLock::default()), None),
        };
        let secret = match &config.auth.secret {
            Some(secret) => secret.clone(),
            None => DataDir::new(&config.data_dir).token_secret(&**clock)?,
        };
        let ports =
            Ports::new(Arc::clone(ledger), Arc::clone(&gate), lock, Arc::clone(payments), Arc::clone(clock));
        // From here on nothing that customers do is missed.
        let news = stores.simulated.as_ref().map(|gateway| gateway.news());
        let engine = Engine::start(ports.clone(), config.engine());
        // Before the first order: whoever has given no sign of life counts as dead.
        ledger.heartbeat(engine.instance()).await?;
        if !several_servers {
            let recovered = engine.recover().await?;
            if recovered > 0 {
                tracing::info!(recovered, "unfinished orders of an earlier run are taken up");
            }
        }
        let catalog = Catalog::new(Arc::clone(ledger), Arc::clone(&gate), Arc::clone(clock), views);
        let stock_room = StockRoom::new(ports.clone(), catalog.clone());
        let tokens = Tokens::new(&secret, Duration::from_secs(config.auth.token_ttl_s), Arc::clone(clock));
        let mut background = worker::start(&engine, &ports, config.schedule(several_servers));
        if let Some(news) = news {
            background.listen(&engine, news);
        }
        Ok(Self {
            config,
            engine,
            catalog,
            stock_room,
            gate,
            keeper: ports.keeper,
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
                "some orders are still on their way; another server or the next start takes them up"
            );
        }
        self.background.stop();
        // From here on others need not wait to see that this one is gone.
        let retired = self.stores.ledger.retire(self.engine.instance());
        match tokio::time::timeout(RETIRE_PATIENCE, retired).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the others were not told that this server ends"),
            Err(_) => tracing::warn!("the others were not told in time that this server ends"),
        }
    }
}

/// What the configuration names, checked before anything is made.
enum BackEnds {
    Embedded(Files),
    Cluster(Box<ClusterBackEnds>),
}

struct ClusterBackEnds {
    database: mysql::Settings,
    redis: RedisCluster,
    gateway: PathBuf,
}

impl BackEnds {
    fn of(config: &Config) -> Result<Self, BuildError> {
        let directory = DataDir::new(&config.data_dir);
        let (ledger, gate) = (&*config.ledger.url, &*config.gate.url);
        match (ledger.starts_with("mysql:"), gate.starts_with("redis:")) {
            (false, false) if gate != "memory:" => {
                let why = UNKNOWN.to_owned();
                Err(BuildError::Url { setting: "gate.url", url: gate.to_owned(), why })
            }
            (false, false) if config.cluster.servers > 1 => Err(BuildError::Setting(
                "cluster.servers: several servers need a ledger and a gate of a cluster",
            )),
            (false, false) => Ok(Self::Embedded(Files::of(config, &directory)?)),
            (true, true) => Ok(Self::Cluster(Box::new(ClusterBackEnds::of(config, &directory)?))),
            _ => Err(BuildError::Setting(
                "ledger.url and gate.url: either both are of this process, or both of a cluster",
            )),
        }
    }
}

impl ClusterBackEnds {
    fn of(config: &Config, directory: &DataDir) -> Result<Self, BuildError> {
        let (ledger, gate) = (&config.ledger, &config.gate);
        if config.auth.secret.is_none() {
            return Err(BuildError::Setting(
                "auth.secret: several servers need the same one, so it has to be given",
            ));
        }
        let password = ledger.password.clone().unwrap_or_else(|| String::new().into());
        let database = mysql::Settings::parse(&ledger.url, password, 1).map_err(|error| BuildError::Url {
            setting: "ledger.url",
            // It may hold a password by mistake.
            url: "mysql://…".to_owned(),
            why: error.to_string(),
        })?;
        let addresses = gate.url.trim_start_matches("redis:").trim_start_matches("//");
        let redis = RedisCluster::new(addresses, gate.password.clone()).map_err(|error| BuildError::Url {
            setting: "gate.url",
            url: "redis://…".to_owned(),
            why: error.to_string(),
        })?;
        let gateway = file_of("payments.url", &config.payments.url, "simulated:", directory)?;
        let database = mysql::Settings { ca_file: ledger.ca_file.clone(), ..database };
        Ok(Self { database, redis, gateway })
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
            let why = "the ledger has a file of its own".to_owned();
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
    let wrong = |why: &str| BuildError::Url { setting, url: url.to_owned(), why: why.to_owned() };
    let name = url.strip_prefix(scheme).ok_or_else(|| wrong(UNKNOWN))?;
    if ["", ".", ".."].contains(&name) || name.contains(['/', '\\']) {
        return Err(wrong("a plain file name has to follow the colon"));
    }
    Ok(directory.file(name))
}
