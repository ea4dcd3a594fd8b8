//! The members of the database: who can be written and who can be read is found by asking each of them,
//! so that it does not matter which tool fails over.
//!
//! Each member is asked by a task of its own, so that one that says nothing holds up nobody, and what they say is
//! judged anew with every answer. Calls that are under way on a member which turns out to be silent, or not what it
//! was, are given up at once: whoever made them does the same again elsewhere, with the same ids.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, SslOpts};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{DbError, Result};
use super::session::{ask, take};
use super::sql::Message;

/// Pause between two questions to a member; a call that failed asks at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The same while nobody can be written.
const LOOK_SOON: Duration = Duration::from_millis(100);

/// A member that does not say what it is within this time counts as gone.
const LOOK_PATIENCE: Duration = Duration::from_millis(1_500);

/// A replica that is further behind is not read.
const LAG_MAX_MS: i64 = 2_000;

/// The same while nobody can be written. How old a replica is can be told by what servers write, and they cannot:
/// it has all that there is, as a rule.
const LAG_WITHOUT_WRITER_MAX_MS: i64 = 60_000;

/// Without a member that can be written for so long, buyers are not kept waiting for one. A primary that hands over in
/// an orderly way is replaced before that.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// How long a connection that is given up may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

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
    /// Those among the addresses that are members for their vote: they are not read while another one can be.
    pub spares: Vec<(String, u16)>,
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
        if !plain(user) || !plain(database) {
            return Err(FORM);
        }
        let addresses = hosts.split(',').map(address).collect::<Option<Vec<_>>>().ok_or(FORM)?;
        let (user, database) = (user.to_owned(), database.to_owned());
        let (reads_replicas, ca_file, spares) = (true, None, Vec::new());
        Ok(Self { addresses, user, password, database, connections_max, reads_replicas, ca_file, spares })
    }

    /// Says which members are there for their vote, as `HOST:PORT`.
    ///
    /// # Errors
    /// One of them is no member.
    pub fn with_spares(mut self, spares: &[String]) -> std::result::Result<Self, String> {
        for spare in spares {
            let known = address(spare).filter(|spare| self.addresses.contains(spare));
            self.spares.push(known.ok_or("it is none of the members that ledger.url names")?);
        }
        Ok(self)
    }

    /// The addresses, for messages.
    pub fn shown(&self) -> String {
        self.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ")
    }

    /// How one of the members is connected to.
    pub(super) fn options(&self, (host, port): &(String, u16)) -> Opts {
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

fn plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c))
}

/// Reads `HOST:PORT` or `HOST`.
fn address(host: &str) -> Option<(String, u16)> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "3306"));
    plain(name).then_some((name.to_owned(), port.parse().ok()?))
}

struct Member {
    address: String,
    spare: bool,
    options: Opts,
    pool: Mutex<Pool>,
}

impl Member {
    fn new(settings: &Settings, address: &(String, u16)) -> Self {
        let options = settings.options(address);
        let pool = Mutex::new(Pool::new(options.clone()));
        let spare = settings.spares.contains(address);
        Self { address: format!("{}:{}", address.0, address.1), spare, options, pool }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how many of its connections are used.
    fn show_connections(&self) {
        let pool = self.pool().metrics();
        // One more is the look-out's own.
        let busy = pool.connections_in_use.load(Ordering::Relaxed) + 1;
        let idle = pool.connections_in_pool.load(Ordering::Relaxed);
        let max = self.options.pool_opts().constraints().max() + 1;
        for (state, connections) in [("busy", busy), ("idle", idle)] {
            let labels = [("database", self.address.clone()), ("state", state.to_owned())];
            metrics::gauge!("holdfast_db_connections", &labels).set(connections as f64);
        }
        metrics::gauge!("holdfast_db_connections_max", "database" => self.address.clone()).set(max as f64);
    }

    /// Begins with new connections: those that lie there idle lead to what is not there any more.
    fn renew(&self) {
        let old = std::mem::replace(&mut *self.pool(), Pool::new(self.options.clone()));
        tokio::spawn(timeout(GOODBYE, old.disconnect()));
    }
}

/// Lets go of a connection in the middle of something, which must not go back to the others.
pub fn give_up(connection: Conn) {
    tokio::spawn(timeout(GOODBYE, connection.disconnect()));
}

/// What the members have said, as far as it was heard.
#[derive(Clone, Default, Debug)]
struct Roles {
    writer: Option<usize>,
    readers: Vec<usize>,
    /// Why there is no writer.
    why: String,
    /// Since when there is none.
    lost_since: Option<Instant>,
    /// For each member, which of the wishes to look again its last word has answered.
    answered: Vec<u64>,
}

impl Roles {
    fn may_be_asked(&self, member: usize, writes: bool) -> bool {
        self.writer == Some(member) || (!writes && self.readers.contains(&member))
    }
}

/// The members and what each of them is at the moment.
pub struct Members {
    members: Arc<Vec<Member>>,
    roles: watch::Receiver<Roles>,
    /// Counts the wishes to look again.
    wishes: watch::Sender<u64>,
    lookouts: Vec<JoinHandle<()>>,
    next_reader: AtomicUsize,
    reads_replicas: bool,
}

impl Members {
    /// Begins to look at the members. Nothing is connected yet.
    pub fn new(settings: &Settings) -> Self {
        let members = settings.addresses.iter().map(|address| Member::new(settings, address));
        let members: Arc<Vec<Member>> = Arc::new(members.collect());
        let nothing_heard = Roles {
            why: "its members have not been heard yet".into(),
            lost_since: Some(Instant::now()),
            answered: vec![0; members.len()],
            ..Roles::default()
        };
        let (found, roles) = watch::channel(nothing_heard);
        let (wishes, _) = watch::channel(0);
        let judge = Arc::new(Judge {
            members: Arc::clone(&members),
            words: Mutex::new(vec![Word::Unheard; members.len()]),
            wishes: wishes.clone(),
            found,
        });
        let look_out = |member| tokio::spawn(look_out(member, Arc::clone(&judge)));
        let lookouts = (0..members.len()).map(look_out).collect();
        let (next_reader, reads_replicas) = (AtomicUsize::new(0), settings.reads_replicas);
        Self { members, roles, wishes, lookouts, next_reader, reads_replicas }
    }

    /// A connection to the one writable member, and which one that is.
    ///
    /// # Errors
    /// There is none, there are several, or it has no connection free until then.
    pub async fn writer(&self, until: Instant) -> Result<(usize, Conn)> {
        let writer = {
            let roles = self.roles.borrow();
            roles.writer.ok_or_else(|| DbError::NoMember(roles.why.clone()))?
        };
        self.connect(writer, until, true).await
    }

    /// A connection to a member that is at most seconds behind; the writable one where there is no other.
    ///
    /// # Errors
    /// There is none, or it has no connection free until then.
    pub async fn reader(&self, until: Instant) -> Result<(usize, Conn)> {
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
            Some(reader) => self.connect(reader, until, false).await,
            None => self.writer(until).await,
        }
    }

    async fn connect(&self, member: usize, until: Instant, writes: bool) -> Result<(usize, Conn)> {
        let pool = self.members[member].pool().clone();
        let begun = Instant::now();
        let connected = async {
            timeout_at(until, pool.get_conn()).await.map_err(|_| DbError::TimedOut)?.map_err(DbError::from)
        };
        let connected = self.while_it_lasts(member, writes, connected).await;
        metrics::histogram!("holdfast_db_connection_wait_seconds").record(begun.elapsed());
        if matches!(connected, Err(DbError::TimedOut)) {
            metrics::counter!("holdfast_db_connection_timeouts_total").increment(1);
        }
        connected.map(|connection| (member, connection))
    }

    /// Waits for what a member does, as long as it is what it was.
    pub async fn while_it_lasts<T>(
        &self,
        member: usize,
        writes: bool,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut roles = self.roles.clone();
        tokio::select! {
            biased;
            done = work => done,
            _ = roles.wait_for(|roles| !roles.may_be_asked(member, writes)) => {
                Err(DbError::Left(self.members[member].address.clone()))
            }
        }
    }

    /// Looks again, because somebody was not what it was thought to be. Returns when there is a writable member
    /// that has said so since, or everybody has said something.
    pub async fn look_again(&self, until: Instant) {
        let mut wish = 0;
        self.wishes.send_modify(|wishes| {
            *wishes += 1;
            wish = *wishes;
        });
        let mut roles = self.roles.clone();
        let heard = roles.wait_for(|roles| {
            roles.writer.is_some_and(|writer| roles.answered[writer] >= wish)
                || roles.answered.iter().all(|answered| *answered >= wish)
        });
        let _ = timeout_at(until, heard).await;
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

    /// Whether there has been no writable member for longer than a moment.
    pub fn is_down(&self) -> bool {
        self.roles.borrow().lost_since.is_some_and(|since| since.elapsed() >= DOWN_AFTER)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.lookouts.iter().for_each(JoinHandle::abort);
    }
}

/// What one member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Word {
    /// It has not been heard yet.
    Unheard,
    Writable,
    /// Read-only; so many milliseconds behind, where that is known. It is not known of one that is without our
    /// tables or where no server has ever said that it lives.
    ReadOnly(Option<i64>),
    /// It answers, and is neither: it says why.
    Unfit(String),
    Silent(String),
}

/// One member of a group, as another one sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    /// It is the one that was asked.
    itself: bool,
    state: String,
    role: String,
}

/// What a member can be used for by what it says of itself and of its group; nobody is seen where there is none.
fn standing(read_only: bool, lag: Option<i64>, group: &[Seen]) -> Word {
    let Some(own) = group.iter().find(|seen| seen.itself) else {
        return if read_only { Word::ReadOnly(lag) } else { Word::Writable };
    };
    if own.state != "ONLINE" {
        // It is catching up, was left out of its group, or has not joined it: whatever it may be written or read for
        // is not what the group has.
        return Word::Unfit(format!("is {} in its group", own.state));
    }
    if read_only || own.role != "PRIMARY" {
        return Word::ReadOnly(lag);
    }
    let unreachable = group.iter().filter(|seen| seen.state == "UNREACHABLE").count();
    if 2 * unreachable >= group.len() {
        // Commits would hang there, and fail at last.
        return Word::Unfit(format!(
            "does not reach {unreachable} of the {} members of its group",
            group.len()
        ));
    }
    Word::Writable
}

/// Hears the members and decides.
struct Judge {
    members: Arc<Vec<Member>>,
    words: Mutex<Vec<Word>>,
    wishes: watch::Sender<u64>,
    found: watch::Sender<Roles>,
}

impl Judge {
    /// Takes in what a member has said in answer to the wishes up to `wish`.
    fn hear(&self, member: usize, word: Word, wish: u64) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let fell_silent = matches!(word, Word::Silent(_)) && !matches!(words[member], Word::Silent(_));
        words[member] = word;
        let before = self.found.borrow().clone();
        let mut roles = judge(&self.members, &words);
        roles.answered.clone_from(&before.answered);
        roles.answered[member] = wish;
        roles.lost_since = match roles.writer {
            Some(_) => None,
            None => Some(before.lost_since.unwrap_or_else(Instant::now)),
        };
        let several = words.iter().filter(|word| **word == Word::Writable).count() > 1;
        let (writer, has_changed) = (roles.writer, roles.writer != before.writer || roles.why != before.why);
        let why = roles.why.clone();
        self.found.send_replace(roles);
        drop(words);
        if several && has_changed {
            // One of them may have been it until a moment ago.
            self.wishes.send_modify(|wishes| *wishes += 1);
        }
        if fell_silent || (before.writer == Some(member) && writer != Some(member)) {
            self.members[member].renew();
        }
        if writer == before.writer {
            if writer.is_none() && has_changed {
                tracing::debug!(why, "no database can be written");
            }
            return;
        }
        match writer {
            Some(writer) => {
                tracing::info!(address = self.members[writer].address, "the database that can be written")
            }
            None => tracing::error!(why, "no database can be written"),
        }
    }
}

/// Asks one member what it is, again and again.
async fn look_out(member: usize, judge: Arc<Judge>) {
    let mut connection = None;
    let mut wishes = judge.wishes.subscribe();
    loop {
        let wish = *wishes.borrow_and_update();
        let word = question(&judge.members[member], &mut connection).await;
        judge.members[member].show_connections();
        judge.hear(member, word, wish);
        let pause = if judge.found.borrow().writer.is_some() { LOOK_EVERY } else { LOOK_SOON };
        let _ = timeout(pause, wishes.changed()).await;
    }
}

/// What a member says within the patience.
async fn question(member: &Member, connection: &mut Option<Conn>) -> Word {
    let ask_it = async {
        let open = match connection.take() {
            Some(open) => connection.insert(open),
            None => connection.insert(Conn::new(member.options.clone()).await?),
        };
        let mut answer = ask(open, Message::default().words("SELECT @@global.read_only")).await?;
        let row = answer.first_mut().ok_or_else(|| DbError::Unreadable("no answer".into()))?;
        let read_only = take::<i64>(row, 0)? != 0;
        let group = group_of(open).await?;
        let lag = if read_only { lag_of(open).await? } else { None };
        Ok::<_, DbError>(standing(read_only, lag, &group))
    };
    let why = match timeout(LOOK_PATIENCE, ask_it).await {
        Ok(Ok(word)) => return word,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".into(),
    };
    if let Some(connection) = connection.take() {
        give_up(connection);
    }
    Word::Silent(why)
}

/// The group that a member is in, as it sees it. Without a group, or without the right to see it, there is nobody in
/// it.
async fn group_of(open: &mut Conn) -> Result<Vec<Seen>> {
    // Before it has joined, a member stands there without an id.
    let message = Message::default().words(
        "SELECT MEMBER_ID IN ('', @@server_uuid), MEMBER_STATE, MEMBER_ROLE \
         FROM performance_schema.replication_group_members",
    );
    let rows = match ask(open, message).await {
        Ok(rows) => rows,
        Err(error) if error.spares_connection() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let seen = |mut row| {
        Ok(Seen {
            itself: take::<i64>(&mut row, 0)? != 0,
            state: take(&mut row, 1)?,
            role: take(&mut row, 2)?,
        })
    };
    rows.into_iter().map(seen).collect()
}

/// Servers tell the ledger that they live, so the newest such word says how old everything here is.
async fn lag_of(open: &mut Conn) -> Result<Option<i64>> {
    let lag = Message::default()
        .words("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - MAX(heartbeat_at) FROM instances");
    match ask(open, lag).await {
        Ok(mut answer) => {
            Ok(answer.first_mut().map(|row| take::<Option<i64>>(row, 0)).transpose()?.flatten())
        }
        Err(error) if error.spares_connection() => Ok(None),
        Err(error) => Err(error),
    }
}

fn judge(members: &[Member], words: &[Word]) -> Roles {
    let of = |wanted: &dyn Fn(&Word) -> bool| -> Vec<usize> {
        (0..).zip(words).filter(|(_, word)| wanted(word)).map(|(n, _)| n).collect()
    };
    let writers = of(&|word| *word == Word::Writable);
    let addresses = |of: &[usize]| of.iter().map(|n| &*members[*n].address).collect::<Vec<_>>().join(" and ");
    let (writer, why) = match writers[..] {
        // Somebody else may say the same.
        _ if words.contains(&Word::Unheard) => (None, "its members have not been heard yet".into()),
        [writer] => (Some(writer), String::new()),
        [] => {
            let say = |(member, word): (&Member, &Word)| match word {
                Word::Silent(why) => format!("{}: {why}", member.address),
                Word::Unfit(why) => format!("{} {why}", member.address),
                _ => format!("{} is read-only", member.address),
            };
            let words: Vec<_> = members.iter().zip(words).map(say).collect();
            (None, format!("no database can be written ({})", words.join("; ")))
        }
        // One of them is wrong, and nobody here can say which.
        _ => (None, format!("{} both say that they can be written: neither is", addresses(&writers))),
    };
    let lag_max = if writer.is_some() { LAG_MAX_MS } else { LAG_WITHOUT_WRITER_MAX_MS };
    let current = of(&|word| matches!(word, Word::ReadOnly(Some(lag)) if *lag <= lag_max));
    let (spares, readers): (Vec<usize>, Vec<usize>) = current.into_iter().partition(|n| members[*n].spare);
    let readers = if readers.is_empty() && writer.is_none() { spares } else { readers };
    Roles { writer, readers, why, ..Roles::default() }
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

    #[test]
    fn a_spare_is_one_of_the_members() {
        let settings = || parse("mysql://shop@db-1,db-2,db-3:3307/holdfast").expect("a URL");
        let spares =
            |list: &[&str]| settings().with_spares(&list.iter().map(|s| (*s).into()).collect::<Vec<_>>());
        assert_eq!(spares(&["db-3:3307", "db-1"]).expect("members").spares.len(), 2);
        for unknown in ["db-3", "db-4", "db-1:x", ""] {
            let error = spares(&[unknown]).expect_err(unknown);
            assert!(error.contains("none of the members"), "{error}");
        }
    }

    /// The writer and the readers among a, b, and c, which is a spare.
    fn judged(words: [Word; 3]) -> (Option<usize>, Vec<usize>) {
        let settings = parse("mysql://shop@a,b,c/holdfast").expect("a URL");
        let settings = settings.with_spares(&["c".into()]).expect("a member");
        let members: Vec<_> =
            settings.addresses.iter().map(|address| Member::new(&settings, address)).collect();
        let roles = judge(&members, &words);
        assert_eq!(roles.writer.is_none(), !roles.why.is_empty());
        (roles.writer, roles.readers)
    }

    fn behind(milliseconds: i64) -> Word {
        Word::ReadOnly(Some(milliseconds))
    }

    fn silent() -> Word {
        Word::Silent("gone".into())
    }

    fn unfit() -> Word {
        Word::Unfit("is RECOVERING".into())
    }

    #[tokio::test]
    async fn one_that_can_be_written_is_found_and_two_are_none() {
        let writable = || Word::Writable;
        assert_eq!(judged([writable(), behind(5), behind(5)]), (Some(0), vec![1]));
        assert_eq!(judged([silent(), writable(), behind(5)]), (Some(1), vec![]));
        assert_eq!(judged([behind(5), unfit(), writable()]), (Some(2), vec![0]));
        assert_eq!(judged([writable(), writable(), behind(5)]), (None, vec![2]));
        assert_eq!(judged([silent(), behind(5), silent()]), (None, vec![1]));
        // Another one may say the same.
        assert_eq!(judged([writable(), behind(5), Word::Unheard]), (None, vec![1]));
    }

    #[tokio::test]
    async fn only_who_is_current_is_read() {
        assert_eq!(judged([Word::Writable, behind(2_001), behind(5)]), (Some(0), vec![]));
        assert_eq!(judged([Word::Writable, Word::ReadOnly(None), behind(5)]), (Some(0), vec![]));
        assert_eq!(judged([Word::Writable, unfit(), silent()]), (Some(0), vec![]));
        // Nobody can fall behind one that does not write; and a spare is better than nobody.
        assert_eq!(judged([silent(), behind(30_000), behind(5)]), (None, vec![1]));
        assert_eq!(judged([silent(), silent(), behind(5)]), (None, vec![2]));
        assert_eq!(judged([silent(), behind(60_001), Word::ReadOnly(None)]), (None, vec![]));
    }

    /// A group of three as its first member sees it.
    fn group(states: [&str; 3], role: &str) -> Vec<Seen> {
        let seen = |(n, state): (usize, &str)| {
            let role = if n == 0 { role } else { "SECONDARY" };
            Seen { itself: n == 0, state: state.into(), role: role.into() }
        };
        states.into_iter().enumerate().map(seen).collect()
    }

    #[test]
    fn a_member_of_a_group_is_what_the_group_lets_it_be() {
        const UP: &str = "ONLINE";
        const GONE: &str = "UNREACHABLE";
        let said = |read_only, states, role| standing(read_only, Some(7), &group(states, role));
        assert_eq!(said(false, [UP; 3], "PRIMARY"), Word::Writable);
        assert_eq!(said(true, [UP; 3], "SECONDARY"), Word::ReadOnly(Some(7)));
        // Elected, and not done with what the one before has left.
        assert_eq!(said(true, [UP; 3], "PRIMARY"), Word::ReadOnly(Some(7)));
        // One of three away leaves a majority, two do not.
        assert_eq!(said(false, [UP, UP, GONE], "PRIMARY"), Word::Writable);
        assert!(matches!(said(false, [UP, GONE, GONE], "PRIMARY"), Word::Unfit(_)));
        // Where it is not in the group, its being writable means nothing.
        for state in ["RECOVERING", "ERROR", "OFFLINE"] {
            for read_only in [false, true] {
                assert!(matches!(said(read_only, [state, UP, UP], ""), Word::Unfit(_)), "{state}");
            }
        }
        let alone = [Seen { itself: true, state: "OFFLINE".into(), role: String::new() }];
        assert!(matches!(standing(false, None, &alone), Word::Unfit(_)));
        // Two of which one is away are no majority.
        assert!(matches!(standing(false, None, &group([UP, GONE, UP], "PRIMARY")[..2]), Word::Unfit(_)));
        // Without a group it is what it says.
        assert_eq!(standing(false, None, &[]), Word::Writable);
        assert_eq!(standing(true, None, &[]), Word::ReadOnly(None));
    }

    /// A member that takes connections and never says a word.
    async fn mute() -> (tokio::net::TcpListener, u16) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_call_on_a_member_that_changes_is_given_up_at_once() {
        let settings = parse("mysql://shop@a/holdfast").expect("a URL");
        let said = |writer, readers| Roles { writer, readers, answered: vec![0], ..Roles::default() };
        let (found, roles) = watch::channel(said(Some(0), vec![]));
        // Nobody looks at them.
        let members = Members {
            members: Arc::new(vec![Member::new(&settings, &settings.addresses[0])]),
            roles,
            wishes: watch::channel(0).0,
            lookouts: Vec::new(),
            next_reader: AtomicUsize::new(0),
            reads_replicas: true,
        };
        let call = members.while_it_lasts(0, true, std::future::pending::<Result<()>>());
        let demote = async {
            tokio::task::yield_now().await;
            found.send_replace(said(None, vec![0]));
        };
        let (ended, ()) = tokio::join!(timeout(Duration::from_secs(5), call), demote);
        assert!(matches!(ended, Ok(Err(DbError::Left(_)))), "{ended:?}");
        // What is read there goes on.
        let read = members.while_it_lasts(0, false, async { Ok(1) }).await;
        assert!(matches!(read, Ok(1)));
    }

    #[tokio::test]
    async fn one_that_says_nothing_does_not_hold_up_what_the_others_say() {
        let (_listener, port) = mute().await;
        let refused = mute().await.1;
        let url = format!("mysql://shop@127.0.0.1:{port},127.0.0.1:{refused}/holdfast");
        let members = Members::new(&parse(&url).expect("a URL"));
        let mut roles = members.roles.clone();
        members.wishes.send_modify(|wishes| *wishes += 1);
        let heard = timeout(LOOK_PATIENCE / 2, roles.wait_for(|roles| roles.answered == [0, 1])).await;
        assert!(heard.is_ok(), "the one that refuses is heard while the other one is waited for");
    }
}
