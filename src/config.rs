//! Settings: `config.default.toml` < a file < the environment < flags.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::adapters::gateway::{Faults, Patience};
use crate::domain::{Sampling, Tries};
use crate::saga::{EngineConfig, PurchaseLock};
use crate::telemetry::traces;
use crate::worker::Schedule;

/// Connections to a database that are left to `audit`, `import` and the like.
pub const CONNECTIONS_OF_COMMANDS: usize = 20;

/// With fewer a server would wait for itself.
const CONNECTIONS_MIN: usize = 12;

/// The commented defaults, compiled in.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// All settings. Each is explained in `config.default.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub roles: BTreeSet<Role>,
    pub server: Server,
    pub sale: Sale,
    pub limits: Limits,
    pub auth: Auth,
    pub ledger: Ledger,
    pub gate: Gate,
    pub cluster: Cluster,
    pub payments: Payments,
    pub events: Events,
    pub mail: Mail,
    pub log: Log,
    pub metrics: Metrics,
    pub traces: Traces,
}

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Http,
    Saga,
    Relay,
    Inventory,
    Notification,
    Analytics,
    Coordination,
    Webhooks,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub url: String,
    pub prefix: String,
    pub replication: u16,
    pub stopped_after_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub password: Option<SecretString>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub connections_max: usize,
    pub streams_max: usize,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub head_max_bytes: usize,
    pub body_max_bytes: usize,
    pub stop_within_ms: u64,
}

impl Server {
    /// Live pages that may be open at once: a fifth of the connections is always left to those who buy.
    pub fn streams(&self) -> usize {
        self.streams_max.min(self.connections_max - self.connections_max.div_ceil(5))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sale {
    pub answer_within_ms: u64,
    pub in_flight_max: usize,
    pub lines_max: usize,
    pub quantity_max: u32,
    pub act_tries_max: u32,
    pub wait_tries_max: u32,
    pub undo_tries_max: u32,
    pub pause_ms: u64,
    pub pause_max_ms: u64,
    pub purchase_lock: PurchaseLock,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub account_purchases_per_s: u32,
    pub account_purchases_at_once: u32,
    pub address_requests_per_s: u32,
    pub address_requests_at_once: u32,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub token_ttl_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub secret: Option<SecretString>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub password: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    pub spares: Vec<String>,
    pub connections_max: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub password: Option<SecretString>,
    pub prefix: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub servers: usize,
    pub dead_after_ms: u64,
    pub compare_every_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub secret: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub webhook_secret: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    pub timeout_ms: u64,
    pub calls_max: usize,
    pub failures_max: u32,
    pub down_ms: u64,
    pub customer_within_ms: u64,
    pub challenge_base: String,
    pub faults: Faults,
}

impl Payments {
    /// How patiently a gateway is called.
    pub fn patience(&self) -> Patience {
        Patience {
            timeout: Duration::from_millis(self.timeout_ms),
            calls_max: self.calls_max,
            failures_max: self.failures_max,
            down_for: Duration::from_millis(self.down_ms),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub enabled: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
    pub per_second_max: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text at a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub ratio: f64,
}

impl Traces {
    /// Which orders are traced, where any are.
    pub fn sampling(&self) -> Option<Sampling> {
        self.url.as_ref().map(|_| Sampling::new(self.ratio))
    }
}

/// What flags say; it wins over everything else.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<Role>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFlags>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServerFlags {
    pub listen: SocketAddr,
}

/// A setting that is wrong, in one line.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads all layers and checks every setting.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub fn load(file: Option<&std::path::Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let mut layers = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| ConfigError(format!("{} cannot be read: {error}", file.display())))?;
            layers = layers.merge(Toml::string(&text));
        }
        // The first administrator, and what the tests, their services and the lab are told.
        let others = ["admin_email", "admin_password", "shared", "services_dir"];
        let environment = Env::prefixed("HOLDFAST_")
            .ignore(&others)
            .filter(|name| !name.starts_with("test_") && !name.starts_with("lab_"))
            .split("__");
        let config: Self = layers
            .merge(environment)
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError(error.to_string()))?;
        config.check().map_err(ConfigError)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let at_least_one = [
            ("server.connections_max", self.server.connections_max as u64),
            ("server.streams_max", self.server.streams_max as u64),
            ("server.header_timeout_ms", self.server.header_timeout_ms),
            ("server.body_timeout_ms", self.server.body_timeout_ms),
            ("server.body_max_bytes", self.server.body_max_bytes as u64),
            ("sale.answer_within_ms", self.sale.answer_within_ms),
            ("sale.in_flight_max", self.sale.in_flight_max as u64),
            ("sale.lines_max", self.sale.lines_max as u64),
            ("sale.quantity_max", self.sale.quantity_max.into()),
            ("sale.act_tries_max", self.sale.act_tries_max.into()),
            ("sale.wait_tries_max", self.sale.wait_tries_max.into()),
            ("sale.undo_tries_max", self.sale.undo_tries_max.into()),
            ("sale.pause_ms", self.sale.pause_ms),
            ("sale.pause_max_ms", self.sale.pause_max_ms),
            ("payments.customer_within_ms", self.payments.customer_within_ms),
            ("auth.token_ttl_s", self.auth.token_ttl_s),
            ("cluster.servers", self.cluster.servers as u64),
            ("cluster.compare_every_ms", self.cluster.compare_every_ms),
            ("events.replication", self.events.replication.into()),
            ("events.stopped_after_ms", self.events.stopped_after_ms),
            ("payments.timeout_ms", self.payments.timeout_ms),
            ("payments.calls_max", self.payments.calls_max as u64),
            ("payments.failures_max", self.payments.failures_max.into()),
            ("payments.down_ms", self.payments.down_ms),
            ("log.per_second_max", self.log.per_second_max.into()),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} has to be at least 1"));
        }
        // The web server's buffer has this lower bound.
        if self.server.head_max_bytes < 8_192 {
            return Err("server.head_max_bytes has to be at least 8192".into());
        }
        // Signs of life come every second.
        if self.cluster.dead_after_ms < 3_000 {
            return Err("cluster.dead_after_ms has to be at least 3000".into());
        }
        if self.connections_of_one_server() < CONNECTIONS_MIN {
            return Err(format!(
                "ledger.connections_max has to be at least {}, for {} servers and the commands beside them",
                CONNECTIONS_OF_COMMANDS + self.cluster.servers * CONNECTIONS_MIN,
                self.cluster.servers
            ));
        }
        if self.roles.is_empty() {
            return Err("roles: a server without any would do nothing".into());
        }
        if self.roles.contains(&Role::Http) && !self.roles.contains(&Role::Saga) {
            return Err("roles: http takes purchases, so it needs saga beside it".into());
        }
        if let Some(secret) = &self.auth.secret
            && secret.expose_secret().len() < 32
        {
            return Err("auth.secret has to be at least 32 characters long".into());
        }
        if let Some(url) = &self.traces.url {
            traces::check(url).map_err(|why| format!("traces.url: {why}"))?;
        }
        if !(0.0..=1.0).contains(&self.traces.ratio) {
            return Err("traces.ratio has to be between 0 and 1".into());
        }
        self.payments.faults.check().map_err(|why| format!("payments.faults: {why}"))
    }

    /// Connections that one server may open to any one database: all servers together, and the commands
    /// that run beside them, stay within what the database is for them.
    pub fn connections_of_one_server(&self) -> usize {
        self.ledger.connections_max.saturating_sub(CONNECTIONS_OF_COMMANDS) / self.cluster.servers
    }

    /// When the background tasks do what they do.
    pub fn schedule(&self, several_servers: bool) -> Schedule {
        Schedule {
            several_servers,
            dead_after: Duration::from_millis(self.cluster.dead_after_ms),
            compare_every: Duration::from_millis(self.cluster.compare_every_ms),
        }
    }

    /// Bounds and patience of the saga engine.
    pub fn engine(&self) -> EngineConfig {
        EngineConfig {
            in_flight_max: self.sale.in_flight_max,
            answer_within: Duration::from_millis(self.sale.answer_within_ms),
            tries: Tries {
                act_max: self.sale.act_tries_max,
                wait_max: self.sale.wait_tries_max,
                undo_max: self.sale.undo_tries_max,
            },
            pause: Duration::from_millis(self.sale.pause_ms),
            pause_max: Duration::from_millis(self.sale.pause_max_ms),
            purchase_lock: self.sale.purchase_lock,
            customer_within: Duration::from_millis(self.payments.customer_within_ms),
        }
    }

    /// The settings as they are used, secrets left out, as JSON.
    pub fn shown(&self) -> String {
        serde_json::to_string_pretty(self).expect("settings are plain data")
    }
}

fn redacted<S: Serializer>(_: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(secret)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_complete_and_in_bounds() {
        let config = Config::load(None, &Flags::default()).expect("the defaults are good");
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn live_pages_leave_connections_to_those_who_buy() {
        let mut server = Config::load(None, &Flags::default()).expect("the defaults are good").server;
        assert_eq!(server.streams(), server.streams_max);
        for (connections_max, streams) in [(1, 0), (4, 3), (5, 4), (100, 80)] {
            server.connections_max = connections_max;
            assert_eq!(server.streams(), streams);
        }
    }

    #[test]
    fn flags_win_and_mistakes_are_named() {
        let listen = "127.0.0.1:1".parse().expect("an address");
        let flags = Flags { server: Some(ServerFlags { listen }), ..Flags::default() };
        assert_eq!(Config::load(None, &flags).expect("good").server.listen, listen);

        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("shop.toml");
        for (text, mistake) in [
            ("sale.lines_maximum = 3", "lines_maximum"),
            ("sale.lines_max = 0", "sale.lines_max"),
            ("auth.secret = 'short'", "auth.secret"),
            ("payments.faults.late_rate = 1.5", "rates"),
            ("payments.faults.needs_customer_rate = -0.1", "rates"),
            ("payments.customer_within_ms = 0", "payments.customer_within_ms"),
            ("traces.url = 'localhost:4318'", "traces.url"),
            ("traces.ratio = 1.5", "traces.ratio"),
        ] {
            std::fs::write(&file, text).expect("written");
            let error = Config::load(Some(&file), &Flags::default()).expect_err("a mistake");
            assert!(error.to_string().contains(mistake), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = Config::load(None, &Flags::default()).expect("the defaults are good");
        config.auth.secret = Some("a-secret-of-more-than-32-characters".to_owned().into());
        config.payments.secret = Some("a-secret-of-the-gateway".to_owned().into());
        config.payments.webhook_secret = Some("a-secret-of-its-messages".to_owned().into());
        assert!(!config.shown().contains("a-secret"), "{}", config.shown());
        assert!(!format!("{config:?}").contains("a-secret"));
    }
}
