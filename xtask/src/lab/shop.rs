//! Holdfast on the application hosts, and outside of them the simulated payment gateway.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::placement::{OUTSIDE, SHARED, process};
use crate::services::Service;
use crate::services::mysql;
use crate::services::process::Process;

/// Names a program of Holdfast to run instead of building one.
const PROGRAM: &str = "HOLDFAST_LAB_PROGRAM";

const GATEWAY_PORT: u16 = 8090;

/// For development only.
const PAYMENTS_SECRET: &str = "holdfast-dev-payments";
const AUTH_SECRET: &str = "holdfast-dev-tokens-of-the-lab-only";

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What the servers and the gateway share.
struct Files {
    config: PathBuf,
    /// Has the path of the program, so that a later start takes the same.
    program: PathBuf,
}

impl Files {
    fn new(state: &Path) -> Self {
        Self { config: config(state), program: state.join("program") }
    }

    fn program(&self) -> Result<PathBuf, String> {
        let program = fs::read_to_string(&self.program)
            .map_err(|_| "no program is known: `cargo xtask lab up` comes first".to_owned())?;
        Ok(PathBuf::from(program.trim()))
    }

    fn command(&self, command: &str, process: &Process) -> Result<Command, String> {
        let mut with_options = Command::new(self.program()?);
        with_options.arg(command).args(["--listen", &process.address().to_string()]);
        // The file says it all.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HOLDFAST_") {
                with_options.env_remove(name);
            }
        }
        with_options.arg("--config").arg(&self.config).arg("--data-dir").arg(process.data());
        Ok(with_options)
    }
}

/// The settings of the shop, for servers and for other commands.
pub fn config(state: &Path) -> PathBuf {
    state.join("holdfast.toml")
}

/// The program that the lab runs.
///
/// # Errors
/// None is known yet.
pub fn program(state: &Path) -> Result<PathBuf, String> {
    Files::new(state).program()
}

/// Has a program to run: the one that is named, or one that is built.
///
/// # Errors
/// It cannot be built.
pub fn prepare(state: &Path, development: bool) -> Result<(), String> {
    let given = std::env::var_os(PROGRAM).filter(|given| !given.is_empty()).map(PathBuf::from);
    let program = match given {
        Some(program) => {
            fs::canonicalize(&program).map_err(|error| format!("{}: {error}", program.display()))?
        }
        // The same that the tests run, with whatever features their libraries ask for: it is there already.
        None if development => {
            build(&["build", "--quiet", "--workspace", "--bin", "holdfast", "--test", "it"], "debug")?
        }
        None => build(&["build", "--release", "--quiet"], "release")?,
    };
    let path = Files::new(state).program;
    fs::write(&path, program.display().to_string())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    write_config(state)
}

fn build(arguments: &[&str], folder: &str) -> Result<PathBuf, String> {
    crate::run(&[arguments], &[])?;
    Ok(crate::target().join(folder).join("holdfast"))
}

fn write_config(state: &Path) -> Result<(), String> {
    let list = |names: &[&'static str]| {
        let addresses = names.iter().map(|name| process(name, state).address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    };
    let text = format!(
        "# The shop of the lab, as `cargo xtask lab up` wrote it. Passwords are for development only.\n\
         data_dir = \"{}\"\n\
         [ledger]\nurl = \"mysql://{}@{}/holdfast\"\npassword = \"{}\"\nspares = [\"{}\"]\n\
         [gate]\nurl = \"redis://{}\"\n\
         [events]\nurl = \"kafka://{}\"\n\
         [payments]\nurl = \"http://{}:{GATEWAY_PORT}\"\nsecret = \"{PAYMENTS_SECRET}\"\n\
         challenge_base = \"https://{SHARED}\"\n\
         [auth]\nsecret = \"{AUTH_SECRET}\"\n\
         [cluster]\nservers = {}\n\
         [sale]\nanswer_within_ms = 3500\n\
         [log]\nformat = \"json\"\n",
        state.join("shop").display(),
        mysql::USER,
        list(&["mysql-1", "mysql-2", "mysql-3"]),
        mysql::PASSWORD,
        list(&["mysql-3"]),
        list(&["redis-1", "redis-2", "redis-3", "redis-4", "redis-5", "redis-6"]),
        list(&["kafka-1", "kafka-2"]),
        OUTSIDE.address,
        SERVERS.len(),
    );
    let path = config(state);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        // Also one that was there.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

pub const SERVERS: [&str; 2] = ["holdfast-1", "holdfast-2"];

pub struct Shop {
    files: Files,
    servers: Vec<Process>,
}

impl Shop {
    pub fn new(state: &Path) -> Self {
        Self { files: Files::new(state), servers: SERVERS.map(|name| process(name, state)).into() }
    }
}

impl Service for Shop {
    fn name(&self) -> &'static str {
        "holdfast"
    }

    fn processes(&self) -> &[Process] {
        &self.servers
    }

    /// One after the other: the first makes the tables.
    fn up(&self) -> Result<Vec<&'static str>, String> {
        let started = self.start_stopped()?;
        for server in &self.servers {
            server.wait_until("to serve", || self.role(server).is_some())?;
        }
        Ok(started)
    }

    /// Does not wait until it is ready, because what it needs may not be there.
    fn start(&self, server: &Process) -> Result<(), String> {
        server.spawn(&self.files.command("serve", server)?)?;
        server.wait_until("to answer", || status(server, "/healthz") == Some(200))
    }

    fn role(&self, server: &Process) -> Option<&'static str> {
        (status(server, "/readyz") == Some(200)).then_some("serving")
    }
}

/// The gateway, which is on no host.
pub fn gateway(state: &Path) -> Process {
    Process::new("gateway", GATEWAY_PORT, state).on(IpAddr::V4(OUTSIDE.address), None)
}

pub struct Gateway {
    files: Files,
    process: Process,
}

impl Gateway {
    pub fn new(state: &Path) -> Self {
        Self { files: Files::new(state), process: gateway(state) }
    }
}

impl Service for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn processes(&self) -> &[Process] {
        std::slice::from_ref(&self.process)
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        self.start_stopped()
    }

    fn start(&self, gateway: &Process) -> Result<(), String> {
        gateway.spawn(&self.files.command("gateway", gateway)?)?;
        gateway.wait_until("to answer", || self.role(gateway).is_some())
    }

    fn role(&self, gateway: &Process) -> Option<&'static str> {
        TcpStream::connect_timeout(&gateway.address(), ANSWER_LIMIT).is_ok().then_some("takes payments")
    }
}

/// The status of the answer to a GET.
fn status(process: &Process, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&process.address(), ANSWER_LIMIT).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", process.ip).ok()?;
    // As long as `HTTP/1.1 200`.
    let mut line = [0; 12];
    stream.read_exact(&mut line).ok()?;
    std::str::from_utf8(&line).ok()?.split(' ').nth(1)?.parse().ok()
}
