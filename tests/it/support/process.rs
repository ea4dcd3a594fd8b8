//! The program as its users run it: `holdfast serve` and the other commands, in processes of their
//! own, over a data directory that outlives them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::auth::{Principal, Tokens};
use holdfast::domain::UserId;
use holdfast::load::{Connection, Request, Target};
use holdfast::ports::clock::SystemClock;
use holdfast::ports::ledger::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything takes, so that a test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A place on the disk for a shop's data and for the files that a test makes, removed at the end.
pub struct Site {
    dir: TempDir,
    logs: AtomicUsize,
}

impl Site {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), logs: AtomicUsize::new(0) }
    }

    /// A file beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The data directory; nothing creates it before a command does.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn ledger(&self) -> PathBuf {
        self.data().join("ledger.sqlite3")
    }

    pub fn gateway(&self) -> PathBuf {
        self.data().join("gateway.sqlite3")
    }

    /// Writes a file beside the data directory.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).expect("the file is written");
        path
    }

    /// `holdfast` with these arguments, started here and without settings from the environment.
    pub fn bare(&self, arguments: &[&str]) -> Invocation {
        self.program(env!("CARGO_BIN_EXE_holdfast"), arguments)
    }

    /// Another program, in the same way.
    pub fn program(&self, program: &str, arguments: &[&str]) -> Invocation {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(name);
            }
        }
        let log = self.path(&format!("log-{}", self.logs.fetch_add(1, Ordering::Relaxed)));
        Invocation { command, log, data: self.data(), secret: None }
    }

    /// `holdfast` with these arguments over the data directory.
    pub fn holdfast(&self, arguments: &[&str]) -> Invocation {
        self.bare(arguments).data_dir(&self.data())
    }

    /// The shop, at an address of its own choice.
    pub fn shop(&self) -> Invocation {
        self.holdfast(&["serve", "--json", "--no-sample", "--listen", "127.0.0.1:0"])
    }

    /// `holdfast gateway` at this address, over the file that a shop of this site would use.
    pub async fn gateway_process(&self, address: &str) -> GatewayProcess {
        self.gateway_process_with(address, &[]).await
    }

    /// The same with settings beside its defaults.
    pub async fn gateway_process_with(&self, address: &str, settings: &[(&str, &str)]) -> GatewayProcess {
        let invocation = self.holdfast(&["gateway", "--json", "--listen", address]);
        let mut process = settings.iter().fold(invocation, |all, (name, value)| all.env(name, value)).start();
        let (greeting, stdout) = process.read_greeting().await;
        GatewayProcess { process, _stdout: stdout, greeting }
    }

    /// Fills the shop from a catalogue.
    pub async fn import(&self, catalogue: &str) -> Value {
        let file = self.write("catalogue.csv", catalogue);
        self.holdfast(&["import", "--json"]).arg(&file).run().await.json()
    }

    /// A copy of this site's data directory for another one.
    pub fn copy_data_to(&self, other: &Self) {
        fs::create_dir(other.data()).expect("a fresh data directory");
        for (name, bytes) in contents(&self.data()) {
            fs::write(other.data().join(name), bytes).expect("the file is copied");
        }
    }

    /// Runs the audit, which has to find nothing.
    pub async fn audited(&self) -> Value {
        let finished = self.holdfast(&["audit", "--json"]).run().await;
        assert_eq!(finished.code, Some(0), "the audit: {finished:?}");
        let report = finished.json();
        assert_eq!(report["broken"], Value::Null, "{report}");
        report
    }

    /// Everything that standard error of this site's commands got to read.
    pub fn logs(&self) -> String {
        let log = |n| fs::read_to_string(self.path(&format!("log-{n}"))).unwrap_or_default();
        (0..self.logs.load(Ordering::Relaxed)).map(log).collect()
    }
}

/// Every file below a directory with its bytes. No directory is an empty one.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.expect("an entry").path();
        assert!(path.is_file(), "{} is no plain file", path.display());
        // Memory that SQLite's readers share; it is made anew by whoever opens the store.
        if path.extension().is_some_and(|extension| extension.as_encoded_bytes().ends_with(b"-shm")) {
            continue;
        }
        let bytes = fs::read(&path).expect("a file");
        found.insert(path.strip_prefix(directory).expect("below it").to_owned(), bytes);
    }
    found
}

/// A command that has not been started yet.
pub struct Invocation {
    command: Command,
    log: PathBuf,
    data: PathBuf,
    secret: Option<String>,
}

impl Invocation {
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn envs(mut self, settings: &[(&str, String)]) -> Self {
        self.command.envs(settings.iter().map(|(name, value)| (name, value)));
        self
    }

    pub fn data_dir(mut self, directory: &Path) -> Self {
        self.command.arg("--data-dir").arg(directory);
        self.data = directory.to_owned();
        self
    }

    /// The shop signs its tokens with this, instead of a secret of its own making.
    pub fn signing_with(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self.env("HOLDFAST_AUTH__SECRET", secret)
    }

    /// Runs it to its end.
    pub async fn run(mut self) -> Finished {
        let output = timeout(PATIENCE, self.command.output()).await.expect("the command ends");
        let output = output.expect("the command starts");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }

    /// Starts it and does not wait for its greeting.
    pub fn start(mut self) -> Starting {
        let log = File::create(&self.log).expect("a file for the log");
        let child = self.command.stdout(Stdio::piped()).stderr(log).spawn();
        let child = child.expect("the shop starts");
        Starting { child, log: self.log, data: self.data, secret: self.secret }
    }

    /// Starts the shop and waits until it is open.
    pub async fn open(self) -> Server {
        self.start().greeting().await
    }

    /// The same for a shop that chooses this data directory by itself.
    pub async fn open_in(mut self, directory: &Path) -> Server {
        self.data = directory.to_owned();
        self.open().await
    }
}

/// What came of a command.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The JSON that a successful command has printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn assert_success(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    /// The command could not be carried out: its exit code says so, and one line says why.
    #[track_caller]
    pub fn refused(&self, reasons: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "one line says why: {self:?}");
        for reason in reasons {
            assert!(self.stderr.contains(reason), "{reason:?} is missing: {}", self.stderr);
        }
    }
}

/// A shop that has been started and may not be open yet. Killed when dropped.
pub struct Starting {
    child: Child,
    log: PathBuf,
    data: PathBuf,
    secret: Option<String>,
}

impl Starting {
    /// Waits until the shop is open.
    pub async fn greeting(mut self) -> Server {
        let (greeting, stdout) = self.read_greeting().await;
        let target = Target::parse(greeting["shop"].as_str().expect("an address")).await.expect("an address");
        let tokens = Arc::new(match &self.secret {
            Some(secret) => signed_with(secret),
            None => tokens(&self.data),
        });
        Server { process: self, stdout, greeting, target, tokens }
    }

    /// The JSON that the process prints first, and the rest.
    async fn read_greeting(&mut self) -> (Value, BufReader<ChildStdout>) {
        let mut stdout = BufReader::new(self.child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        timeout(PATIENCE, stdout.read_line(&mut line)).await.expect("a greeting in time").expect("a pipe");
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        let greeting = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no greeting ({error}): {line:?}, and the log says {}", log()));
        (greeting, stdout)
    }

    /// Sends a signal.
    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process runs");
        let id = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("a process id");
        kill_process(id, signal).expect("the signal is sent");
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the process is killed");
    }
}

/// Tokens that the shop in this data directory accepts.
fn tokens(data: &Path) -> Tokens {
    let secret = fs::read_to_string(data.join("token.key")).expect("the shop has a secret");
    signed_with(&secret)
}

/// Tokens that are signed with this secret.
pub fn signed_with(secret: &str) -> Tokens {
    Tokens::new(&secret.to_owned().into(), Duration::from_secs(3_600), Arc::new(SystemClock))
}

/// A running shop in a process of its own. Killed when dropped.
pub struct Server {
    process: Starting,
    stdout: BufReader<ChildStdout>,
    pub greeting: Value,
    pub target: Target,
    tokens: Arc<Tokens>,
}

impl Server {
    /// `kill -9`.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.child.id().expect("it runs")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until the process has ended by itself. Returns what it printed after its greeting, too.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        let end = async {
            self.stdout.read_to_string(&mut rest).await.expect("UTF-8 on standard output");
            self.process.child.wait().await.expect("it has a status")
        };
        let status = timeout(PATIENCE, end).await.expect("the shop stops in time");
        (status, rest)
    }

    /// Tells it to stop and waits until it has; it says that all is well.
    pub async fn stop(self) {
        self.signal(Signal::TERM);
        let log = self.process.log.clone();
        let (status, _) = self.ended().await;
        assert!(status.success(), "{status}: {}", fs::read_to_string(log).unwrap_or_default());
    }

    /// The address, such as `http://127.0.0.1:34567`.
    pub fn url(&self) -> &str {
        self.greeting["shop"].as_str().expect("an address")
    }

    /// The same without its scheme.
    pub fn address(&self) -> SocketAddr {
        self.url().trim_start_matches("http://").parse().expect("an address")
    }

    /// A token for a user.
    pub fn token(&self, user: i64, role: Role) -> String {
        self.tokens.issue(Principal { user: UserId(user), role })
    }

    /// Makes tokens also when the server is gone.
    pub fn issuer(&self) -> impl Fn(i64, Role) -> String + Send + 'static {
        let tokens = Arc::clone(&self.tokens);
        move |user, role| tokens.issue(Principal { user: UserId(user), role })
    }

    /// A connection of somebody with a token for everything.
    pub async fn admin(&self) -> Client {
        self.client(&self.token(1, Role::Admin)).await
    }

    /// A connection of somebody who shows this token.
    pub async fn client(&self, token: &str) -> Client {
        Client::connect(&self.target, token).await.expect("the shop accepts connections")
    }
}

/// A running `holdfast gateway`. Killed when dropped.
pub struct GatewayProcess {
    process: Starting,
    _stdout: BufReader<ChildStdout>,
    pub greeting: Value,
}

impl GatewayProcess {
    /// The address, such as `http://127.0.0.1:34567`.
    pub fn url(&self) -> &str {
        self.greeting["gateway"].as_str().expect("an address")
    }

    /// `kill -9`.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// Sends a signal and waits until it has ended; it says that all is well.
    pub async fn stop(mut self, signal: Signal) {
        self.process.signal(signal);
        let status = timeout(PATIENCE, self.process.child.wait()).await.expect("it stops in time");
        assert!(status.expect("it has a status").success());
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the log of the shop ends with:");
            last.into_iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// One connection that shows one token.
pub struct Client {
    connection: Connection,
    request: Request,
    pub token: String,
    /// When the last answer wants to be asked for again.
    pub retry_after_s: Option<u64>,
}

impl Client {
    pub async fn connect(target: &Target, token: &str) -> io::Result<Self> {
        let connection = Connection::open(target, PATIENCE).await?;
        let (request, token) = (Request::new(target), token.to_owned());
        Ok(Self { connection, request, token, retry_after_s: None })
    }

    /// Sends a request and reads its answer, or finds that there is none. An answer without JSON
    /// has `null`.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&[u8]>,
    ) -> io::Result<(u16, Value)> {
        let mut head =
            self.request.begin(method, path).header("authorization", format_args!("Bearer {}", self.token));
        if let Some(key) = key {
            head = head.header("idempotency-key", key);
        }
        match body {
            Some(body) => head.json(body),
            None => head.end(),
        }
        let response = self.connection.send(self.request.as_bytes()).await?;
        self.retry_after_s = response.retry_after_s;
        Ok((response.status, serde_json::from_slice(response.body).unwrap_or_default()))
    }

    /// Looks at something that is there.
    pub async fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None, None).await.expect("an answer");
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, None, Some(body.to_string().as_bytes())).await.expect("an answer")
    }

    /// Orders what `body` says.
    pub async fn order(&mut self, key: &str, body: &Value) -> io::Result<(u16, Value)> {
        self.send("POST", "/api/v1/orders", Some(key), Some(body.to_string().as_bytes())).await
    }

    /// Orders that are still on their way, at most a hundred. For administrators.
    pub async fn unfinished(&mut self) -> Vec<Value> {
        let page = self.get("/api/v1/admin/sagas?limit=100").await;
        page["items"].as_array().expect("a page of items").clone()
    }
}
