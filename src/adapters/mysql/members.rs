//! The members of the database: who can be written and who can be read is found by asking each of them,
//! so that it does not matter which tool fails over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, SslOpts};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{DbError, Result};
use super::session::{ask, take};
use super::sql::Message;

/// Pause between two looks at the members; a failed write asks for one at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A member that does not say what it is within this time counts as gone.
const LOOK_PATIENCE: Duration = Duration::from_millis(1_500);

/// A replica that is further behind is not read.
const LAG_MAX_MS: i64 = 2_000;

/// Connections that are kept open when idle.
const IDLE: usize = 10;

/// When a connection is replaced by a new one.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What a session expects of the server, whatever its defaults are. A connection over which nothing is said
/// for some seconds is closed by the server, and its transaction rolled back: a server of ours that stands
/// still in the middle of one must not keep others from taking its orders over. The pool notices and opens
/// a new one.
const SESSION: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = 3, \
     wait_timeout = 8, \
     time_zone = '+00:00', autocommit = 1, \
     sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION'";

/// Where the database is, and how much of it this process may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port of each member.
    pub addresses: Vec<(String, u16)>,
    pub user: String,
    pub password: SecretString,
    pub database: String,
    /// Connections to any one member.
    pub connections_max: usize,
    /// Whether what may be seconds old is read from replicas. Whoever compares what they read with anything
    /// else must not.
    pub reads_replicas: bool,
    /// Whose signature the members' certificates bear. Without it connections are encrypted, and nobody is
    /// asked to prove who they are.
    pub ca_file: Option<PathBuf>,
}

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Url(&'static str),
    #[error("the database at {addresses}: {reason}")]
    Unreachable { addresses: String, reason: String },
    #[error(
        "the database was written by a newer version (schema {found}, this one knows {known}); nothing was changed"
    )]
    Newer { found: usize, known: usize },
    #[error("the database's tables could not be made: {0}")]
    Migration(DbError),
}

impl Settings {
    /// Reads `mysql://USER@HOST:PORT,HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// Something of it is missing, or it names a password.
    pub fn parse(
        url: &str,
        password: SecretString,
        connections_max: usize,
    ) -> std::result::Result<Self, OpenError> {
        const FORM: OpenError = OpenError::Url("it has the form mysql://USER@HOST:PORT,HOST:PORT/DATABASE");
        let rest = url.strip_prefix("mysql://").ok_or(FORM)?;
        let (user, rest) = rest.split_once('@').ok_or(FORM)?;
        if user.contains(':') {
            return Err(OpenError::Url("the password is a setting of its own, ledger.password"));
        }
        let (hosts, database) = rest.split_once('/').ok_or(FORM)?;
        let plain = |word: &str| {
            !word.is_empty()
                && word.chars().all(|c| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c))
        };
        if !plain(user) || !plain(database) {
            return Err(FORM);
        }
        let address = |host: &str| -> Option<(String, u16)> {
            let (name, port) = host.rsplit_once(':').unwrap_or((host, "3306"));
            plain(name).then_some((name.to_owned(), port.parse().ok()?))
        };
        let addresses = hosts.split(',').map(address).collect::<Option<Vec<_>>>().ok_or(FORM)?;
        let (user, database) = (user.to_owned(), database.to_owned());
        Ok(Self { addresses, user, password, database, connections_max, reads_replicas: true, ca_file: None })
    }

    /// The addresses, for messages.
    pub fn shown(&self) -> String {
        self.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ")
    }

    fn options(&self, (host, port): &(String, u16)) -> Opts {
        let ssl = match &self.ca_file {
            Some(file) => SslOpts::default()
                .with_root_certs(vec![file.clone().into()])
                .with_disable_built_in_roots(true)
                // Certificates that a server makes for itself name nobody.
                .with_danger_skip_domain_validation(true),
            None => SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        };
        // One connection is the look-out's.
        let max = self.connections_max.saturating_sub(1).max(1);
        let constraints = PoolConstraints::new(IDLE.min(max), max).expect("the lower bound is the lower one");
        let pool = PoolOpts::new()
            .with_constraints(constraints)
            .with_reset_connection(false)
            .with_abs_conn_ttl(Some(LIFETIME))
            .with_inactive_connection_ttl(Duration::from_secs(60));
        OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(*port)
            .user(Some(&self.user))
            .pass(Some(self.password.expose_secret()))
            .db_name(Some(&self.database))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .stmt_cache_size(0)
            .setup(vec![SESSION])
            .ssl_opts(Some(ssl))
            .pool_opts(pool)
            .into()
    }
}

struct Member {
    address: String,
    options: Opts,
    pool: Pool,
}

/// What the last look has found.
#[derive(Clone, Default, Debug)]
struct Roles {
    writer: Option<usize>,
    readers: Vec<usize>,
    /// Why there is no writer.
    why: String,
    looks: u64,
}

/// The members and what each of them is at the moment.
pub struct Members {
    members: Arc<Vec<Member>>,
    roles: watch::Receiver<Roles>,
    look: Arc<Notify>,
    lookout: JoinHandle<()>,
    next_reader: AtomicUsize,
    reads_replicas: bool,
}

impl Members {
    /// Begins to look at the members. Nothing is connected yet.
    pub fn new(settings: &Settings) -> Self {
        let member = |address: &(String, u16)| {
            let options = settings.options(address);
            let pool = Pool::new(options.clone());
            Member { address: format!("{}:{}", address.0, address.1), options, pool }
        };
        let members: Arc<Vec<Member>> = Arc::new(settings.addresses.iter().map(member).collect());
        let (found, roles) = watch::channel(Roles::default());
        let look = Arc::new(Notify::new());
        let lookout = tokio::spawn(look_out(Arc::clone(&members), found, Arc::clone(&look)));
        let (next_reader, reads_replicas) = (AtomicUsize::new(0), settings.reads_replicas);
        Self { members, roles, look, lookout, next_reader, reads_replicas }
    }

    /// A connection to the one writable member.
    ///
    /// # Errors
    /// There is none, there are several, or it has no connection free until then.
    pub async fn writer(&self, until: Instant) -> Result<Conn> {
        let writer = {
            let roles = self.roles.borrow();
            roles.writer.ok_or_else(|| DbError::NoMember(roles.why.clone()))?
        };
        self.connect(writer, until).await
    }

    /// A connection to a member that is at most seconds behind; the writable one where there is no other.
    ///
    /// # Errors
    /// There is none, or it has no connection free until then.
    pub async fn reader(&self, until: Instant) -> Result<Conn> {
        let reader = {
            let roles = self.roles.borrow();
            let n = self.next_reader.fetch_add(1, Ordering::Relaxed);
            match roles.readers.len() {
                0 => None,
                _ if !self.reads_replicas => None,
                readers => Some(roles.readers[n % readers]),
            }
        };
        match reader {
            Some(reader) => self.connect(reader, until).await,
            None => self.writer(until).await,
        }
    }

    async fn connect(&self, member: usize, until: Instant) -> Result<Conn> {
        let pool = &self.members[member].pool;
        timeout_at(until, pool.get_conn()).await.map_err(|_| DbError::TimedOut)?.map_err(DbError::from)
    }

    /// Looks again, because somebody was not what it was thought to be; returns when that is done.
    pub async fn look_again(&self, until: Instant) {
        let mut roles = self.roles.clone();
        let before = roles.borrow().looks;
        self.look.notify_one();
        // One look may have been under way.
        let _ = timeout_at(until, roles.wait_for(|roles| roles.looks > before + 1)).await;
    }

    /// Waits until there is a writable member.
    pub async fn wait_for_writer(&self, patience: Duration) -> std::result::Result<(), String> {
        let mut roles = self.roles.clone();
        let found = timeout(patience, roles.wait_for(|roles| roles.writer.is_some())).await;
        match found {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.roles.borrow().why.clone()),
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.lookout.abort();
    }
}

/// What one member says of itself.
#[derive(Clone, Debug)]
enum Word {
    Writable,
    /// Read-only; so many milliseconds behind, where that is known.
    ReadOnly(Option<i64>),
    Silent(String),
}

async fn look_out(members: Arc<Vec<Member>>, found: watch::Sender<Roles>, look: Arc<Notify>) {
    let mut connections: Vec<Option<Conn>> = members.iter().map(|_| None).collect();
    loop {
        let words =
            members.iter().zip(&mut connections).map(|(member, connection)| question(member, connection));
        let words = futures_util::future::join_all(words).await;
        let before = found.borrow().clone();
        let roles = judge(&members, &words, before.looks + 1);
        if roles.writer != before.writer || before.looks == 0 {
            match roles.writer {
                Some(writer) => {
                    tracing::info!(address = members[writer].address, "the database that can be written")
                }
                None => tracing::error!(why = roles.why, "no database can be written"),
            }
        }
        found.send_replace(roles);
        let _ = timeout(LOOK_EVERY, look.notified()).await;
    }
}

async fn question(member: &Member, connection: &mut Option<Conn>) -> Word {
    let ask_it = async {
        let open = match connection.take() {
            Some(open) => connection.insert(open),
            None => connection.insert(Conn::new(member.options.clone()).await?),
        };
        let mut answer = ask(open, Message::default().words("SELECT @@global.read_only")).await?;
        let row = answer.first_mut().ok_or_else(|| DbError::Unreadable("no answer".into()))?;
        if take::<i64>(row, 0)? == 0 {
            return Ok(Word::Writable);
        }
        // Servers tell the ledger that they live, so the newest such word says how old everything here is.
        let lag = Message::default()
            .words("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - MAX(heartbeat_at) FROM instances");
        let lag = match ask(open, lag).await {
            Ok(mut answer) => {
                answer.first_mut().map(|row| take::<Option<i64>>(row, 0)).transpose()?.flatten()
            }
            Err(error) if error.spares_connection() => None,
            Err(error) => return Err(error),
        };
        Ok(Word::ReadOnly(lag))
    };
    match timeout(LOOK_PATIENCE, ask_it).await {
        Ok(Ok(word)) => word,
        Ok(Err(error)) => {
            *connection = None;
            Word::Silent(error.to_string())
        }
        Err(_) => {
            *connection = None;
            Word::Silent("no answer in time".into())
        }
    }
}

fn judge(members: &[Member], words: &[Word], looks: u64) -> Roles {
    let of = |wanted: fn(&Word) -> bool| -> Vec<usize> {
        (0..).zip(words).filter(|(_, word)| wanted(word)).map(|(n, _)| n).collect()
    };
    let writers = of(|word| matches!(word, Word::Writable));
    let readers = of(
        |word| matches!(word, Word::ReadOnly(lag) if lag.is_none_or(|milliseconds| milliseconds <= LAG_MAX_MS)),
    );
    let addresses = |of: &[usize]| of.iter().map(|n| &*members[*n].address).collect::<Vec<_>>().join(" and ");
    let (writer, why) = match writers[..] {
        [writer] => (Some(writer), String::new()),
        [] => {
            let say = |(member, word): (&Member, &Word)| match word {
                Word::Silent(why) => format!("{}: {why}", member.address),
                _ => format!("{} is read-only", member.address),
            };
            let words: Vec<_> = members.iter().zip(words).map(say).collect();
            (None, format!("no database can be written ({})", words.join("; ")))
        }
        // One of them is wrong, and nobody here can say which.
        _ => (None, format!("{} both say that they can be written: neither is", addresses(&writers))),
    };
    Roles { writer, readers, why, looks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> std::result::Result<Settings, OpenError> {
        Settings::parse(url, String::new().into(), 10)
    }

    #[test]
    fn a_url_names_every_member() {
        let settings = parse("mysql://shop@db-1:13306,10.0.0.2/holdfast").expect("a URL");
        assert_eq!((&*settings.user, &*settings.database), ("shop", "holdfast"));
        assert_eq!(settings.shown(), "db-1:13306, 10.0.0.2:3306");
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for url in [
            "mysql://db/holdfast",
            "mysql://shop@db",
            "mysql://shop@/holdfast",
            "mysql://shop@db:x/holdfast",
            "mysql://shop@db,/holdfast",
            "mysql://shop@db/",
            "mysql://shop:secret@db/holdfast",
            "postgres://shop@db/holdfast",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_that_can_be_written_is_found_and_two_are_none() {
        let settings = parse("mysql://shop@a,b,c/holdfast").expect("a URL");
        let member = |address| Member {
            address: String::new(),
            options: settings.options(address),
            pool: Pool::new(settings.options(address)),
        };
        let members: Vec<_> = settings.addresses.iter().map(member).collect();
        let silent = || Word::Silent("gone".into());
        let judged = |words: [Word; 3]| {
            let roles = judge(&members, &words, 1);
            (roles.writer, roles.readers)
        };
        assert_eq!(
            judged([Word::Writable, Word::ReadOnly(Some(5)), Word::ReadOnly(None)]),
            (Some(0), vec![1, 2])
        );
        assert_eq!(judged([silent(), Word::Writable, Word::ReadOnly(Some(60_000))]), (Some(1), vec![]));
        assert_eq!(judged([Word::Writable, Word::Writable, Word::ReadOnly(Some(5))]), (None, vec![2]));
        assert_eq!(judged([silent(), Word::ReadOnly(None), silent()]), (None, vec![1]));
    }
}
