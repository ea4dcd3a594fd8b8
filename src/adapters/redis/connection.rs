//! A connection to a Redis Cluster that is opened on first use and comes back by itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared, join_all};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    ServerErrorKind,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::ports::Unavailable;

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a node may take to answer one command. One that is gone without a word is found out by this.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(700);

/// How long the system tries to send what a node does not acknowledge.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a command may take with its repetitions and redirections.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long a call may take, opening the connection included.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a new connection may take to be opened while nodes are silent.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// Repetitions of a command whose node went away or has moved, and the pause before one.
const RETRIES: u32 = 3;
const RETRY_PAUSE_MS_MIN: u64 = 20;
const RETRY_PAUSE_MS_MAX: u64 = 200;

/// A connection on which no call at all has been answered for so long is given up for a new one, which
/// begins with the addresses of the configuration again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);

/// Without an answer to any call for so long, buyers are not kept waiting for one.
const DOWN_AFTER: Duration = Duration::from_secs(1);

/// A connection is replaced by a new one after this time: it has asked which nodes there are.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(30);

/// Why text does not name a Redis Cluster. It does not repeat the text, in which there may be a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    #[error("no address of a Redis node is given")]
    Empty,
    #[error(
        "address {0} of the Redis nodes is not host:port (TLS, user names and passwords do not belong there)"
    )]
    NotHostAndPort(usize),
    #[error("Redis does not take these settings: {0}")]
    Refused(String),
}

/// A Redis Cluster, reached through one multiplexed connection a node.
pub struct RedisCluster {
    client: ClusterClient,
    nodes: Vec<(String, u16)>,
    addresses: String,
    password: Option<SecretString>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    link: Link,
    /// Connections opened so far: the number of the present one.
    opened: u64,
    /// Since when no call has been answered.
    failing_since: Option<Instant>,
    /// When the present connection was opened, or was to be replaced last.
    opened_at: Option<Instant>,
}

#[derive(Default)]
enum Link {
    #[default]
    Closed,
    /// Everybody who needs the connection waits for the same attempt.
    Opening(Shared<BoxFuture<'static, Result<ClusterConnection, RedisError>>>),
    Open(ClusterConnection),
}

/// A Lua script: called by its digest, and by its text where a node does not know it yet.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }
}

impl RedisCluster {
    /// A cluster of which some nodes are named: `redis://host:port,host:port`, the scheme may be left
    /// out. Nothing is connected yet.
    ///
    /// # Errors
    /// The text names no node, or not by host and port.
    pub fn new(addresses: &str, password: Option<SecretString>) -> Result<Self, AddressError> {
        let list = addresses.trim().strip_prefix("redis://").unwrap_or(addresses.trim());
        let list: Vec<&str> = list.trim_end_matches('/').split(',').map(str::trim).collect();
        if list == [""] {
            return Err(AddressError::Empty);
        }
        let nodes = (1..)
            .zip(&list)
            .map(|(number, address)| host_and_port(address).ok_or(AddressError::NotHostAndPort(number)));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClientBuilder::new(nodes.clone())
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .overall_response_timeout(Some(COMMAND_TIMEOUT))
            .retries(RETRIES)
            .min_retry_wait(RETRY_PAUSE_MS_MIN)
            .max_retry_wait(RETRY_PAUSE_MS_MAX)
            .tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(SEND_TIMEOUT));
        if let Some(password) = &password {
            builder = builder.password(password.expose_secret());
        }
        let client =
            builder.build().map_err(|error| AddressError::Refused(hidden(&error, password.as_ref())))?;
        Ok(Self { client, nodes, addresses: list.join(", "), password, state: Arc::default() })
    }

    /// Opens the connection if it is not open, and asks a node for a sign of life.
    ///
    /// # Errors
    /// No node answers.
    pub async fn check(&self) -> Result<(), Unavailable> {
        self.query::<String>(&redis::cmd("PING")).await.map(drop)
    }

    /// Whether no call has been answered for longer than a moment. Somebody has to make one to find out that it is
    /// over.
    pub fn is_down(&self) -> bool {
        self.state().failing_since.is_some_and(|since| since.elapsed() >= DOWN_AFTER)
    }

    /// Asks for keys over a new connection, which knows the nodes as they are now, and says which were answered. It
    /// takes the place of the present one when some were. The present one is not used: while it finds out about a
    /// node that is silent, it answers nobody.
    pub(super) async fn ask_anew(&self, keys: &[String]) -> Vec<bool> {
        let opened = tokio::time::timeout(OPEN_TIMEOUT, open(self.client.clone())).await;
        let Ok(Ok(connection)) = opened else { return vec![false; keys.len()] };
        let asked = keys.iter().map(|key| {
            let mut connection = connection.clone();
            async move {
                let mut exists = redis::cmd("EXISTS");
                let answer = exists.arg(key).query_async::<i64>(&mut connection);
                tokio::time::timeout(RESPONSE_TIMEOUT, answer).await.is_ok_and(|answer| answer.is_ok())
            }
        });
        let answered = join_all(asked).await;
        if answered.contains(&true) {
            self.state().take_over(connection);
        }
        answered
    }

    /// Sends a command; its first key says to which node.
    ///
    /// # Errors
    /// It was not answered within two seconds, or with an error; it may have had its effect.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.within_time(self.send(command)).await
    }

    /// Runs a script on the node of its keys.
    ///
    /// # Errors
    /// It was not answered within two seconds, or with an error; it may have had its effect.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, Unavailable> {
        let command = |verb, script| {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        self.within_time(async {
            match self.send(&command("EVALSHA", script.digest.as_str())).await {
                // Its text goes to this node only: loading it everywhere would need all nodes.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    self.send(&command("EVAL", script.text)).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Listens to a channel on the `turn`th of the named nodes, until that node goes away.
    ///
    /// # Errors
    /// The node does not answer.
    pub(super) async fn subscribe(
        &self,
        turn: usize,
        channel: &str,
    ) -> Result<impl Stream<Item = String> + use<>, Unavailable> {
        let (host, port) = &self.nodes[turn % self.nodes.len()];
        let listening = async {
            let mut listener = self.client_of(host, *port)?.get_async_pubsub().await?;
            listener.subscribe(channel).await?;
            Ok(listener.into_on_message().filter_map(async |message| message.get_payload().ok()))
        };
        self.within_time(listening).await
    }

    /// Host and port of the nodes that the configuration names.
    pub(super) fn nodes(&self) -> &[(String, u16)] {
        &self.nodes
    }

    /// A connection to one node, for questions about itself.
    ///
    /// # Errors
    /// The node does not answer.
    pub(super) async fn connection_to(
        &self,
        host: &str,
        port: u16,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.client_of(host, port)?.get_multiplexed_async_connection().await
    }

    /// What an error says, without the password.
    pub(super) fn said(&self, error: &RedisError) -> String {
        hidden(error, self.password.as_ref())
    }

    fn client_of(&self, host: &str, port: u16) -> Result<redis::Client, RedisError> {
        let settings = match &self.password {
            Some(password) => RedisConnectionInfo::default().set_password(password.expose_secret()),
            None => RedisConnectionInfo::default(),
        };
        let address = ConnectionAddr::Tcp(host.to_owned(), port);
        redis::Client::open(address.into_connection_info()?.set_redis_settings(settings))
    }

    async fn within_time<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Unavailable> {
        let said = match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let what = if is_answer(&error) { "refuses" } else { "does not answer" };
                format!("{what} at {}: {}", self.addresses, hidden(&error, self.password.as_ref()))
            }
            Err(_) => format!("does not answer at {} within {} s", self.addresses, CALL_TIMEOUT.as_secs()),
        };
        Err(Unavailable(format!("Redis Cluster {said}")))
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let (number, mut connection) = self.connection().await?;
        let mut sent = Sent { cluster: self, number, since: Instant::now(), answered: None };
        let answer = command.query_async(&mut connection).await;
        sent.answered = Some(answer.as_ref().err().is_none_or(is_answer));
        answer
    }

    /// The open connection and its number.
    async fn connection(&self) -> Result<(u64, ClusterConnection), RedisError> {
        let opening = {
            let mut state = self.state();
            match &state.link {
                Link::Open(connection) => {
                    let open = (state.opened, connection.clone());
                    if state.opened_at.is_none_or(|at| at.elapsed() >= LOOK_AROUND_EVERY) {
                        state.opened_at = Some(Instant::now());
                        tokio::spawn(replace(self.client.clone(), Arc::clone(&self.state)));
                    }
                    return Ok(open);
                }
                Link::Opening(opening) => opening.clone(),
                Link::Closed => {
                    let opening = open(self.client.clone()).boxed().shared();
                    state.link = Link::Opening(opening.clone());
                    opening
                }
            }
        };
        let opened = opening.clone().await;
        let mut state = self.state();
        if matches!(&state.link, Link::Opening(present) if present.ptr_eq(&opening)) {
            match &opened {
                Ok(connection) => state.take_over(connection.clone()),
                Err(_) => {
                    state.link = Link::Closed;
                    state.failing_since.get_or_insert_with(Instant::now);
                }
            }
        }
        opened.map(|connection| (state.opened, connection))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_over(&mut self, connection: ClusterConnection) {
        let now = Instant::now();
        self.link = Link::Open(connection);
        self.opened += 1;
        (self.failing_since, self.opened_at) = (None, Some(now));
    }
}

impl fmt::Debug for RedisCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCluster").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// A command on its way by a connection. It tells the connection how it went, also when whoever waits
/// for it has gone away.
struct Sent<'a> {
    cluster: &'a RedisCluster,
    number: u64,
    since: Instant,
    /// `None` when whoever waited went away.
    answered: Option<bool>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        metrics::histogram!("holdfast_redis_call_duration_seconds").record(self.since.elapsed());
        let mut state = self.cluster.state();
        if state.opened != self.number || !matches!(state.link, Link::Open(_)) {
            return;
        }
        let now = Instant::now();
        match self.answered {
            Some(true) => {
                state.failing_since = None;
                return;
            }
            // Somebody who had no time to wait says nothing about the node.
            None if now - self.since < RESPONSE_TIMEOUT => return,
            Some(false) | None => {}
        }
        let since = *state.failing_since.get_or_insert(now);
        if now - since > GIVE_UP_AFTER {
            state.link = Link::Closed;
        }
    }
}

/// Puts a new connection in the place of the open one, which goes on until then.
async fn replace(client: ClusterClient, state: Arc<Mutex<State>>) {
    match client.get_async_connection().await {
        Ok(connection) => {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(state.link, Link::Open(_)) {
                state.take_over(connection);
            }
        }
        Err(error) => tracing::debug!(kind = ?error.kind(), "the nodes of Redis could not be looked at anew"),
    }
}

/// Opens a connection in a task of its own, so that it comes to an end whoever stops waiting for it.
async fn open(client: ClusterClient) -> Result<ClusterConnection, RedisError> {
    let opening = tokio::spawn(async move { client.get_async_connection().await });
    opening.await.unwrap_or_else(|error| {
        Err(RedisError::from((ErrorKind::Client, "the connection was not opened", error.to_string())))
    })
}

/// Whether a node said this: then the connection works.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType)
}

/// What the error says, without the password whatever it says.
fn hidden(error: &RedisError, password: Option<&SecretString>) -> String {
    let text = error.to_string();
    match password.map(|password| password.expose_secret()) {
        Some(password) if !password.is_empty() => text.replace(password, "[password]"),
        _ => text,
    }
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // An IPv6 address stands in brackets, and nothing else has a colon.
    let host = match bare {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().ok().map(|_| inside)?,
        None => host,
    };
    let is_host = !host.is_empty() && !host.contains(['@', '/']) && (bare.is_some() || !host.contains(':'));
    is_host.then_some(())?;
    Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(addresses: &str) -> AddressError {
        RedisCluster::new(addresses, None).expect_err("refused")
    }

    #[test]
    fn nodes_are_named_by_host_and_port() {
        for good in ["redis://a:1,b:2", "a:1", " a:1 , b:2 ", "redis://127.0.0.1:7000/", "[::1]:7000,a:1"] {
            assert!(RedisCluster::new(good, None).is_ok(), "{good}");
        }
        assert_eq!(refused(""), AddressError::Empty);
        assert_eq!(refused("redis://"), AddressError::Empty);
        for bad in ["a:1,", "a:1,b", "a:1,b:x", "a:1,:2", "a:1,b:0", "a:1,b:70000", "a:1,::1:7"] {
            assert_eq!(refused(bad), AddressError::NotHostAndPort(2), "{bad}");
        }
        for bad in ["rediss://a:1", "redis://:secret@a:1", "redis://user:secret@a:1"] {
            let error = refused(bad);
            assert_eq!(error, AddressError::NotHostAndPort(1), "{bad}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_password_is_never_part_of_an_error() {
        let error = RedisError::from((ErrorKind::Io, "no", "HELLO 3 AUTH default hunter2".to_owned()));
        assert!(hidden(&error, None).contains("hunter2"));
        let password = SecretString::from("hunter2");
        assert!(!hidden(&error, Some(&password)).contains("hunter2"));
        let cluster = RedisCluster::new("a:1", Some(password)).expect("an address");
        assert!(!format!("{cluster:?}").contains("hunter2"));
    }
}
