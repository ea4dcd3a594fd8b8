//! Wires ports to adapters.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::adapters::gateway::{self, HttpGateway, SimulatedGateway, StripeGateway, stripe};
use crate::adapters::kafka::{self, KafkaLog};
use crate::adapters::memory::{MemoryLock, MemoryStockGate};
use crate::adapters::mysql::{self, MysqlConsumerStore, MysqlLedger, MysqlOutbox};
use crate::adapters::redis::{
    self, RedisCluster, RedisLiveUpdates, RedisLock, RedisStockGate, RedisViewCache,
};
use crate::adapters::smtp::SmtpMailer;
use crate::adapters::sqlite::{self, LocalLog, OpenError, SqliteConsumerStore, SqliteLedger, SqliteOutbox};
use crate::adapters::webhook_sender::HttpWebhookSender;
use crate::auth::{Forms, Passwords, Tokens};
use crate::catalog::{Catalog, SharedViews};
use crate::config::{Config, Role};
use crate::consumers::inventory::Inventory;
use crate::consumers::{self, Consumer, Courtesy, Stored, analytics, coordination, notification, webhooks};
use crate::dashboard::{Dashboard, Sources};
use crate::data_dir::{DataDir, DataDirError, DataDirLock};
use crate::domain::Event;
use crate::live::Live;
use crate::ports::Unavailable;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::consumer_store::{ConsumerStore, Meaning};
use crate::ports::event_log::{EventLog, Group};
use crate::ports::examination::Finding;
use crate::ports::ledger::Ledger;
use crate::ports::lock::Lock;
use crate::ports::outbox::{Backlog, Outbox};
use crate::ports::payments::Payments;
use crate::ports::stock_gate::StockGate;
use crate::ports::webhooks::WebhookStore;
use crate::rate_limit::RateLimits;
use crate::saga::{Engine, GateKeeper, Ports};
use crate::stock_room::StockRoom;
use crate::telemetry::Traces;
use crate::worker::{self, check_books, relay_outbox, send_mails, send_webhooks, watch_backlog, watch_sagas};

/// Connections that a command which runs beside the servers may open to a database.
pub const CONNECTIONS_OF_ONE_COMMAND: usize = 5;

/// So many purchases on their way at once are a rush: consumers of the same process step back.
const MANY_BUYERS: usize = 32;

/// How long a server that ends tries to tell the others.
const RETIRE_PATIENCE: Duration = Duration::from_secs(2);

/// Where the simulated gateway keeps its records unless told otherwise.
const GATEWAY_FILE: &str = "gateway.sqlite3";
const UNKNOWN_HERE: &str = "a shop of one process reads its events from outbox:";

/// Names the event log that is the outbox itself.
const OUTBOX: &str = "outbox:";

/// The file of what consumers have made of the events, in the data directory.
const CONSUMERS_FILE: &str = "consumers.sqlite3";

const UNKNOWN: &str = "this kind of back end is not known";

/// The stores of a shop, and what is opened beside them. Embedded ones are opened by the only process that
/// may change them.
pub struct Stores {
    /// Where consumers learn what happened; `None` where nobody reads it.
    pub log: Option<Arc<dyn EventLog>>,
    pub outbox: Arc<dyn Outbox>,
    // Closed after those that only read it.
    pub ledger: Arc<dyn Ledger>,
    pub payments: Arc<dyn Payments>,
    pub consumers: Arc<dyn ConsumerStore>,
    pub webhooks: Arc<dyn WebhookStore>,
    pub clock: Arc<dyn Clock>,
    /// The simulated gateway, where it is of this process: the shop shows its pages.
    pub simulated: Option<Arc<SimulatedGateway>>,
    shared: Option<Shared>,
    /// What the event log does not have yet, where it is another system.
    backlog: Option<Arc<dyn Backlog>>,
    /// This server's commits, for the relay.
    committed: Mutex<Option<mpsc::Receiver<Vec<Event>>>>,
    /// Dropped last, after the stores have been closed.
    _lock: Option<DataDirLock>,
}

/// What several servers have in common beside the ledger.
#[derive(Clone)]
pub struct Shared {
    pub gate: Arc<dyn StockGate>,
    lock: Arc<dyn Lock>,
    views: SharedViews,
}

/// How groups of this server read the event log.
#[derive(Clone)]
struct Reading {
    courtesy: Courtesy,
    traces: Traces,
}

/// A running shop without its web server.
pub struct App {
    pub config: Config,
    pub engine: Arc<Engine>,
    pub catalog: Catalog,
    pub stock_room: StockRoom,
    pub live: Live,
    pub dashboard: Arc<Dashboard>,
    pub gate: Arc<dyn StockGate>,
    pub keeper: Arc<GateKeeper>,
    pub tokens: Tokens,
    pub forms: Forms,
    pub limits: Arc<RateLimits>,
    pub passwords: Passwords,
    pub traces: Traces,
    background: Mutex<worker::Workers>,
    stopping: AtomicBool,
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
    #[error("configuration: {0}")]
    Mail(String),
    #[error("configuration: traces cannot be sent: {0}")]
    Traces(String),
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
        if let Gateway::File(path) = gateway
            && !path.exists()
        {
            return Err(BuildError::Missing { path });
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
        files.gateway.inspect()?;
        SqliteConsumerStore::inspect(&files.consumers)?;
        let ledger = SqliteLedger::open(&files.ledger, clock.now())?;
        let outbox = SqliteOutbox::new(ledger.readers().clone());
        let (payments, simulated) = files.gateway.open(config, &clock)?;
        let consumers = Arc::new(SqliteConsumerStore::open(&files.consumers)?);
        let log = Arc::new(LocalLog::new(Arc::clone(&outbox), Arc::clone(&consumers)));
        let webhooks = Arc::clone(&consumers) as Arc<dyn WebhookStore>;
        Ok(Self {
            ledger: Arc::new(ledger),
            payments,
            outbox,
            log: Some(log),
            consumers,
            webhooks,
            clock,
            simulated,
            shared: None,
            backlog: None,
            committed: Mutex::default(),
            _lock: Some(lock),
        })
    }

    async fn open_cluster(
        config: &Config,
        cluster: ClusterBackEnds,
        connections: usize,
        reads_replicas: bool,
    ) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        cluster.gateway.inspect()?;
        let settings = mysql::Settings { connections_max: connections, reads_replicas, ..cluster.database };
        let log = cluster.kafka.map(KafkaLog::new).transpose()?;
        let log = log.map(|log| Arc::new(log) as Arc<dyn EventLog>);
        let (feed, committed) = match &log {
            Some(_) => {
                let (feed, committed) = mysql::Feed::to_relay(worker::RELAY_ROOM);
                (feed, Some(committed))
            }
            None => (mysql::Feed::default(), None),
        };
        let ledger = Arc::new(MysqlLedger::open(&settings, feed).await?);
        let outbox = Arc::new(MysqlOutbox::new(Arc::clone(&ledger)));
        let backlog = log.is_some().then(|| Arc::clone(&outbox) as Arc<dyn Backlog>);
        let consumers = Arc::new(MysqlConsumerStore::new(Arc::clone(&ledger)));
        let webhooks = Arc::clone(&consumers) as Arc<dyn WebhookStore>;
        let (payments, simulated) = cluster.gateway.open(config, &clock)?;
        let (redis, views) = (Arc::new(cluster.redis), Arc::new(cluster.views));
        let prefix = &config.gate.prefix;
        let shared = Shared {
            gate: Arc::new(RedisStockGate::new(Arc::clone(&redis), prefix)),
            lock: Arc::new(RedisLock::new(redis, Arc::clone(&clock), prefix)),
            views: SharedViews {
                cache: Arc::new(RedisViewCache::new(Arc::clone(&views), prefix)),
                live: Arc::new(RedisLiveUpdates::new(views, prefix)),
            },
        };
        let shared = Some(shared);
        Ok(Self {
            ledger,
            payments,
            outbox,
            log,
            consumers,
            webhooks,
            clock,
            simulated,
            shared,
            backlog,
            committed: Mutex::new(committed),
            _lock: None,
        })
    }

    /// Starts what this server does with events.
    fn start_event_roles(
        &self,
        config: &Config,
        catalog: &Catalog,
        live: &Live,
        engine: &Arc<Engine>,
        traces: &Traces,
    ) -> Result<Vec<JoinHandle<()>>, BuildError> {
        let stock = Arc::clone(&live.stock);
        let mut tasks = vec![tokio::spawn(catalog.clone().listen(move |id| stock.look_at(id)))];
        let Some(log) = &self.log else {
            tracing::warn!(
                "events are kept in the ledger only: nobody is mailed, no sales are counted and no webhooks are sent \
                 (events.url)"
            );
            return Ok(tasks);
        };
        let clock = &self.clock;
        let courtesy = if self.shared.is_some() {
            // Where buyers should not feel it, other servers have these roles.
            Courtesy::none()
        } else {
            let engine = Arc::clone(engine);
            Courtesy::to_buyers(move || engine.in_flight() >= MANY_BUYERS)
        };
        let reading = Reading { courtesy, traces: traces.clone() };
        for role in &config.roles {
            match role {
                Role::Http | Role::Saga => {}
                Role::Relay => {
                    let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner).take();
                    tasks.extend(self.backlog.clone().zip(committed).map(|(backlog, committed)| {
                        let (log, clock, traces) = (Arc::clone(log), Arc::clone(clock), traces.clone());
                        tokio::spawn(relay_outbox::run(relay_outbox::Relay {
                            backlog,
                            log,
                            clock,
                            traces,
                            committed,
                        }))
                    }));
                }
                Role::Inventory => {
                    let inventory = Inventory { catalog: catalog.clone() };
                    tasks.push(self.start_group(log, Group::Inventory, Arc::new(inventory), &reading));
                }
                Role::Notification => {
                    tasks.push(self.start_stored(log, Group::Notification, notification::meaning, &reading));
                    tasks.extend(self.start_post(config)?);
                }
                Role::Analytics => {
                    tasks.push(self.start_stored(log, Group::Analytics, analytics::meaning, &reading));
                }
                Role::Coordination => {
                    tasks.push(self.start_stored(log, Group::Coordination, coordination::meaning, &reading));
                    let (store, ledger) = (Arc::clone(&self.consumers), Arc::clone(&self.ledger));
                    let patience = coordination::Patience {
                        stopped_after: Duration::from_millis(config.events.stopped_after_ms),
                        customer_within: Duration::from_millis(config.payments.customer_within_ms),
                    };
                    let watch = watch_sagas::run(store, ledger, Arc::clone(clock), patience);
                    tasks.push(tokio::spawn(watch));
                    tasks.push(tokio::spawn(watch_backlog::run(watch_backlog::Shop {
                        ledger: Arc::clone(&self.ledger),
                        consumers: Arc::clone(&self.consumers),
                        log: Arc::clone(log),
                        backlog: self.backlog.clone(),
                        clock: Arc::clone(clock),
                    })));
                    let books = check_books::Books {
                        ledger: Arc::clone(&self.ledger),
                        payments: Arc::clone(&self.payments),
                        clock: Arc::clone(clock),
                    };
                    let every = Duration::from_millis(config.cluster.compare_every_ms);
                    tasks.push(tokio::spawn(check_books::run(books, every)));
                }
                Role::Webhooks => {
                    tasks.push(self.start_stored(log, Group::Webhooks, webhooks::meaning, &reading));
                    tasks.push(tokio::spawn(send_webhooks::run(Arc::new(send_webhooks::Webhooks {
                        store: Arc::clone(&self.webhooks),
                        ledger: Arc::clone(&self.ledger),
                        sender: Arc::new(HttpWebhookSender::default()),
                        clock: Arc::clone(clock),
                    }))));
                }
            }
        }
        Ok(tasks)
    }

    fn start_group(
        &self,
        log: &Arc<dyn EventLog>,
        group: Group,
        consumer: Arc<dyn Consumer>,
        reading: &Reading,
    ) -> JoinHandle<()> {
        let (log, clock) = (Arc::clone(log), Arc::clone(&self.clock));
        let Reading { courtesy, traces } = reading.clone();
        tokio::spawn(consumers::run(group, consumer, log, clock, courtesy, traces))
    }

    fn start_stored(
        &self,
        log: &Arc<dyn EventLog>,
        group: Group,
        meaning: Meaning,
        reading: &Reading,
    ) -> JoinHandle<()> {
        let (store, clock) = (Arc::clone(&self.consumers), Arc::clone(&self.clock));
        self.start_group(log, group, Arc::new(Stored { group, meaning, store, clock }), reading)
    }

    /// Mails are sent where there is a mail server.
    fn start_post(&self, config: &Config) -> Result<Option<JoinHandle<()>>, BuildError> {
        let mail = &config.mail;
        let Some(url) = &mail.url else { return Ok(None) };
        let mailer = SmtpMailer::new(url, mail.user.as_deref(), mail.password.as_ref(), &mail.from);
        let mailer = mailer.map_err(BuildError::Mail)?;
        let post = send_mails::Post {
            store: Arc::clone(&self.consumers),
            ledger: Arc::clone(&self.ledger),
            clock: Arc::clone(&self.clock),
            domain: mailer.domain().to_owned(),
            mailer: Arc::new(mailer),
        };
        Ok(Some(tokio::spawn(send_mails::run(post))))
    }

    /// What several servers have in common, where there may be several.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }
}

/// A gateway, and the simulated one apart, where it is of this process.
type OpenGateway = (Arc<dyn Payments>, Option<Arc<SimulatedGateway>>);

/// The payment gateway that the configuration names.
#[derive(Clone)]
enum Gateway {
    /// A file, which may be shared by servers on one machine.
    File(PathBuf),
    /// A service at this base.
    Http(String),
    /// Stripe's API at this base.
    Stripe(String),
}

impl Gateway {
    /// Finds out what is wrong with its name before anything is made.
    fn of(config: &Config, directory: &DataDir) -> Result<Self, BuildError> {
        let (setting, url) = ("payments.url", &*config.payments.url);
        if url.starts_with("http:") || url.starts_with("https:") {
            // It may hold a password by mistake.
            let shown = if url.contains('@') { "http://…" } else { url }.to_owned();
            let base = gateway::base(url).map_err(|why| BuildError::Url { setting, url: shown, why })?;
            return Ok(Self::Http(base));
        }
        if let Some(base) = url.strip_prefix("stripe:") {
            let shown = "stripe:…".to_owned();
            let base = if base.is_empty() { stripe::API } else { base };
            let base = gateway::base(base).map_err(|why| BuildError::Url { setting, url: shown, why })?;
            if config.payments.secret.is_none() {
                return Err(BuildError::Setting("payments.secret: Stripe needs a secret API key"));
            }
            return Ok(Self::Stripe(base));
        }
        file_of(setting, url, "simulated:", directory).map(Self::File)
    }

    fn inspect(&self) -> Result<(), OpenError> {
        match self {
            Self::File(file) => SimulatedGateway::inspect(file),
            Self::Http(_) | Self::Stripe(_) => Ok(()),
        }
    }

    /// Opens it; and gives the simulated one apart, whose pages the shop shows.
    fn open(&self, config: &Config, clock: &Arc<dyn Clock>) -> Result<OpenGateway, BuildError> {
        let payments = &config.payments;
        let wrong = |why| BuildError::Url { setting: "payments.url", url: payments.url.clone(), why };
        let payments: Arc<dyn Payments> = match self {
            Self::File(file) => {
                let gateway = SimulatedGateway::open(file, Arc::clone(clock), payments.faults.clone())?;
                let gateway = Arc::new(gateway.with_challenges_at(&payments.challenge_base));
                return Ok((gateway.clone(), Some(gateway)));
            }
            Self::Http(base) => {
                let (base, secret) = (base.clone(), payments.secret.clone());
                Arc::new(HttpGateway::new(base, secret, payments.patience()).map_err(wrong)?)
            }
            Self::Stripe(base) => {
                let key = payments.secret.clone().unwrap_or_default();
                let (return_url, clock) = (payments.return_url.clone(), Arc::clone(clock));
                let opened = StripeGateway::new(base.clone(), key, return_url, payments.patience(), clock);
                Arc::new(opened.map_err(wrong)?)
            }
        };
        Ok((payments, None))
    }
}

/// The file of `holdfast gateway`: the one that the configuration names, or the usual one where its URL names
/// the gateway as shops see it.
///
/// # Errors
/// The name is none of a file.
pub fn gateway_file(config: &Config) -> Result<PathBuf, BuildError> {
    let directory = DataDir::new(&config.data_dir);
    match Gateway::of(config, &directory)? {
        Gateway::File(file) => Ok(file),
        Gateway::Http(_) | Gateway::Stripe(_) => Ok(directory.file(GATEWAY_FILE)),
    }
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
        let traces = Traces::start(&config.traces, clock.new_instance_id()).map_err(BuildError::Traces)?;
        let ports =
            Ports::new(Arc::clone(ledger), Arc::clone(&gate), lock, Arc::clone(payments), Arc::clone(clock))
                .watched_by(Arc::new(traces.clone()));
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
        greet_gateway(Arc::clone(payments));
        let told = views.as_ref().map(|views| Arc::clone(&views.live));
        let sources =
            Sources { ledger: Arc::clone(ledger), gate: Arc::clone(&gate), log: stores.log.clone() };
        let limits = Arc::new(RateLimits::new(&config.limits, engine.instance(), told.clone()));
        let dashboard = Dashboard::new(Arc::clone(&engine), Arc::clone(clock), told, sources);
        let dashboard = Arc::new(dashboard);
        let catalog = Catalog::new(Arc::clone(ledger), Arc::clone(&gate), Arc::clone(clock), views);
        let stock_room = StockRoom::new(ports.clone(), catalog.clone());
        let live = Live::new(catalog.clone(), Arc::clone(ledger), Arc::clone(clock), config.server.streams());
        let tokens = Tokens::new(&secret, Duration::from_secs(config.auth.token_ttl_s), Arc::clone(clock));
        let forms = Forms::new(&secret, Arc::clone(clock));
        let mut background = Vec::new();
        if config.roles.contains(&Role::Saga) {
            background.extend(worker::start(&engine, &ports, config.schedule(several_servers)));
        }
        if let Some(news) = news {
            background.push(tokio::spawn(worker::listen_for_customers(Arc::clone(&engine), news)));
        }
        if config.roles.contains(&Role::Http) {
            background.extend(live.start());
            background.extend(limits.start());
        }
        if config.roles.contains(&Role::Http) || config.roles.contains(&Role::Saga) {
            background.extend(dashboard.start());
        }
        background.extend(stores.start_event_roles(&config, &catalog, &live, &engine, &traces)?);
        background.push(tokio::spawn(worker::watch_parts::run(ports.clone())));
        background.push(tokio::spawn(worker::watch_process::run(Arc::clone(&engine))));
        background.push(tokio::spawn(worker::watch_process::runtime("shop")));
        let background = Mutex::new(worker::Workers::new(background));
        Ok(Self {
            config,
            engine,
            catalog,
            stock_room,
            live,
            dashboard,
            gate,
            keeper: ports.keeper,
            tokens,
            forms,
            limits,
            passwords: Passwords::default(),
            traces,
            background,
            stopping: AtomicBool::new(false),
            stores,
        })
    }

    /// Says that the server is about to stop, so that buyers are sent to other ones. Live pages end, which would
    /// otherwise be open for as long as somebody looks at them.
    pub fn announce_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.live.close();
    }

    /// Whether it is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets the orders on their way finish, at most for `patience`, stops what runs in the background, and tells the
    /// other servers that this one is gone: they take up at once what it leaves.
    pub async fn close(&self, patience: Duration) {
        self.announce_stop();
        if !self.engine.drain(patience).await {
            tracing::warn!(
                unfinished = self.engine.in_flight(),
                "some orders are still on their way; another server or the next start takes them up"
            );
        }
        let background = std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        background.stop().await;
        // From here on others need not wait to see that this one is gone.
        let retired = self.stores.ledger.retire(self.engine.instance());
        match tokio::time::timeout(RETIRE_PATIENCE, retired).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the others were not told that this server ends"),
            Err(_) => tracing::warn!("the others were not told in time that this server ends"),
        }
        self.traces.close().await;
    }
}

/// Says so when the gateway does not answer. The shop opens all the same, and sells as soon as it does.
fn greet_gateway(payments: Arc<dyn Payments>) {
    tokio::spawn(async move {
        if let Err(error) = payments.ping().await {
            tracing::error!(%error, "the payment gateway does not answer, so nothing can be sold for now");
        }
    });
}

/// Asks the stores of a cluster, all at once, how they are set, each within `patience`. Those of one process are as this
/// program sets them.
///
/// # Errors
/// The configuration names no stores.
pub async fn examine(
    config: &Config,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Vec<Finding>, BuildError> {
    let BackEnds::Cluster(cluster) = BackEnds::of(config)? else { return Ok(Vec::new()) };
    let of_log = async {
        match &cluster.kafka {
            Some(settings) => kafka::examine(settings, patience).await,
            None => vec![Finding::warn(
                "event log",
                "events are kept in the ledger only: nobody is mailed, and no sales are counted",
                "name Kafka in events.url",
            )],
        }
    };
    let (of_ledger, of_gate, of_log) = tokio::join!(
        mysql::examine(&cluster.database, config.ledger.connections_max, clock, patience),
        redis::examine(&cluster.redis, clock, patience),
        of_log
    );
    Ok([of_ledger, of_gate, of_log].concat())
}

/// Whether the files of a shop of one process keep what was committed. They have been opened before: what is in them is
/// ours.
pub fn examine_files(config: &Config) -> Vec<Finding> {
    let Ok(BackEnds::Embedded(files)) = BackEnds::of(config) else { return Vec::new() };
    let gateway = match &files.gateway {
        Gateway::File(file) => Some(&**file),
        Gateway::Http(_) | Gateway::Stripe(_) => None,
    };
    let files: Vec<_> = [&*files.ledger, &*files.consumers].into_iter().chain(gateway).collect();
    sqlite::examine(&files)
}

/// What the configuration names, checked before anything is made.
enum BackEnds {
    Embedded(Files),
    Cluster(Box<ClusterBackEnds>),
}

struct ClusterBackEnds {
    database: mysql::Settings,
    /// Where events go, if anywhere.
    kafka: Option<kafka::Settings>,
    redis: RedisCluster,
    /// The same nodes over connections of their own: a view that waits for a node keeps no sale waiting.
    views: RedisCluster,
    gateway: Gateway,
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
        let database = database.with_spares(&ledger.spares).map_err(|why| BuildError::Url {
            setting: "ledger.spares",
            url: ledger.spares.join(", "),
            why,
        })?;
        let addresses = gate.url.trim_start_matches("redis:").trim_start_matches("//");
        let connect = || {
            RedisCluster::new(addresses, gate.password.clone()).map_err(|error| BuildError::Url {
                setting: "gate.url",
                url: "redis://…".to_owned(),
                why: error.to_string(),
            })
        };
        let (redis, views) = (connect()?, connect()?);
        let gateway = Gateway::of(config, directory)?;
        let database = mysql::Settings { ca_file: ledger.ca_file.clone(), ..database };
        let events = &config.events;
        let kafka = match &*events.url {
            OUTBOX => None,
            url => {
                let settings = kafka::Settings::parse(url, &events.prefix, events.replication.into());
                let settings = settings.map_err(|why| BuildError::Url {
                    setting: "events.url",
                    url: "kafka://…".to_owned(),
                    why: why.to_owned(),
                })?;
                Some(kafka::Settings { sampling: config.traces.sampling(), ..settings })
            }
        };
        Ok(Self { database, redis, views, gateway, kafka })
    }
}

/// The files that the configuration names.
struct Files {
    ledger: PathBuf,
    gateway: Gateway,
    consumers: PathBuf,
}

impl Files {
    /// Finds out what is wrong with the names before anything is made.
    fn of(config: &Config, directory: &DataDir) -> Result<Self, BuildError> {
        let ledger = file_of("ledger.url", &config.ledger.url, "sqlite:", directory)?;
        let gateway = Gateway::of(config, directory)?;
        if matches!(&gateway, Gateway::File(gateway) if *gateway == ledger) {
            let why = "the ledger has a file of its own".to_owned();
            return Err(BuildError::Url { setting: "payments.url", url: config.payments.url.clone(), why });
        }
        let consumers = directory.file(CONSUMERS_FILE);
        if consumers == ledger || matches!(&gateway, Gateway::File(gateway) if *gateway == consumers) {
            return Err(BuildError::Setting("ledger.url and payments.url: consumers.sqlite3 is taken"));
        }
        if config.events.url != OUTBOX {
            let (url, why) = (config.events.url.clone(), UNKNOWN_HERE.to_owned());
            return Err(BuildError::Url { setting: "events.url", url, why });
        }
        Ok(Self { ledger, gateway, consumers })
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
