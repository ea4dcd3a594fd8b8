//! `cargo xtask services`: real MySQL and Redis for development and tests, on loopback and without containers.

mod debian;
mod install;
mod mysql;
mod process;
mod redis;
mod stripe_mock;
mod wait;

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use self::install::Programs;
use self::mysql::Server;
use self::process::Process;

pub const USAGE: &str =
    "  services up             install and start MySQL and Redis; prints the environment for tests
  services down           stop them; their data stays
  services status         one line a process; fails unless all work
  services logs [NAME]    the last lines of the logs
  services start NAME     start one process: mysql-primary, mysql-replica, redis-1 to redis-6
  services stop NAME      stop one process
  services restart NAME   stop and start one process
  services kill NAME      end one process at once, as a crash does";

const MYSQL: &str = "HOLDFAST_TEST_MYSQL";
const MYSQL_PASSWORD: &str = "HOLDFAST_TEST_MYSQL_PASSWORD";
const REDIS: &str = "HOLDFAST_TEST_REDIS";

/// Ports from 32768 up are given to anybody who connects, and these are not; nor are the ports of the cluster's
/// own bus, which are 10000 higher.
const MYSQL_PORTS: [(&str, u16); 2] = [("mysql-primary", 13306), ("mysql-replica", 13307)];
const REDIS_PORTS: [(&str, u16); 6] = [
    ("redis-1", 17001),
    ("redis-2", 17002),
    ("redis-3", 17003),
    ("redis-4", 17004),
    ("redis-5", 17005),
    ("redis-6", 17006),
];

/// Lines of a log that are shown.
const LOG_LINES: usize = 30;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

type Environment = Vec<(String, String)>;

/// Runs `cargo xtask services` with these arguments. None when there is no such command.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let command = Command::parse(arguments)?;
    Some(Services::new().and_then(|services| services.run(&command)).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    }))
}

/// Services for a run of the tests.
pub struct Ensured {
    /// Where they are, as the tests are told.
    pub environment: Environment,
    started: Vec<&'static str>,
}

/// Takes the services that the environment names, or else has ours running.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<Ensured, String> {
    let mut ensured = ensure_processes()?;
    ensured.environment.push(stripe_mock::ensure()?);
    Ok(ensured)
}

fn ensure_processes() -> Result<Ensured, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(MYSQL), variable(REDIS)) {
        (Some(mysql), Some(redis)) => {
            [&mysql, &redis].into_iter().try_for_each(|url| check_addresses(url))?;
            let password = variable(MYSQL_PASSWORD).map(|password| (MYSQL_PASSWORD.to_owned(), password));
            let given = [(MYSQL.to_owned(), mysql), (REDIS.to_owned(), redis)];
            Ok(Ensured { environment: given.into_iter().chain(password).collect(), started: Vec::new() })
        }
        (None, None) => {
            let services = Services::new()?;
            let started = services.up()?;
            Ok(Ensured { environment: services.environment(), started })
        }
        _ => Err(format!("{MYSQL} and {REDIS} have to be set together, or neither")),
    }
}

impl Ensured {
    /// Stops what was started for this run, and leaves alone what ran before.
    ///
    /// # Errors
    /// Something does not end.
    pub fn stop(&self) -> Result<(), String> {
        if self.started.is_empty() {
            return Ok(());
        }
        let services = Services::new()?;
        let _lock = services.lock()?;
        services.stop(|process| self.started.contains(&process.name))
    }
}

/// Whether something listens at each address of a URL like `scheme://USER@HOST:PORT,HOST:PORT`.
fn check_addresses(url: &str) -> Result<(), String> {
    for address in addresses(url) {
        let connect = |address: &str| -> std::io::Result<()> {
            let resolved = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&resolved, CONNECT_LIMIT).map(|_| ())
        };
        connect(address).map_err(|error| format!("nothing answers at {address}: {error}"))?;
    }
    Ok(())
}

fn addresses(url: &str) -> impl Iterator<Item = &str> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    authority.rsplit('@').next().unwrap_or(authority).split(',')
}

enum Command<'a> {
    Up,
    Down,
    Status,
    Logs(Option<&'a str>),
    Start(&'a str),
    Stop(&'a str),
    Restart(&'a str),
    Kill(&'a str),
}

impl<'a> Command<'a> {
    fn parse(arguments: &[&'a str]) -> Option<Self> {
        let is_name = |name: &str| MYSQL_PORTS.iter().chain(&REDIS_PORTS).any(|(known, _)| *known == name);
        Some(match *arguments {
            ["up"] => Self::Up,
            ["down"] => Self::Down,
            ["status"] => Self::Status,
            ["logs"] => Self::Logs(None),
            ["logs", name] if is_name(name) => Self::Logs(Some(name)),
            ["start", name] if is_name(name) => Self::Start(name),
            ["stop", name] if is_name(name) => Self::Stop(name),
            ["restart", name] if is_name(name) => Self::Restart(name),
            ["kill", name] if is_name(name) => Self::Kill(name),
            _ => return None,
        })
    }
}

struct Services {
    state: PathBuf,
    deploy: PathBuf,
    primary: Process,
    replica: Process,
    redis: Vec<Process>,
}

impl Services {
    fn new() -> Result<Self, String> {
        let state = std::env::var_os("HOLDFAST_SERVICES_DIR").filter(|state| !state.is_empty());
        let state = state.map_or_else(|| crate::target().join("services"), PathBuf::from);
        // Nobody else may come near the administrator's socket.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
        // One spelling, because processes are recognised by it.
        let state = made
            .and_then(|()| fs::canonicalize(&state))
            .map_err(|error| format!("{} cannot be used: {error}", state.display()))?;
        let process = |(name, port)| Process::new(name, port, &state);
        let [primary, replica] = MYSQL_PORTS.map(process);
        let redis = REDIS_PORTS.map(process).into();
        Ok(Self { deploy: crate::root().join("deploy"), primary, replica, redis, state })
    }

    fn run(&self, command: &Command<'_>) -> Result<ExitCode, String> {
        match *command {
            Command::Up => {
                self.up()?;
                for (name, value) in self.environment() {
                    println!("export {name}='{value}'");
                }
            }
            Command::Down => {
                let _lock = self.lock()?;
                self.stop(|_| true)?;
            }
            Command::Status => return self.status(),
            Command::Logs(name) => self.logs(name),
            Command::Start(name) => {
                let _lock = self.lock()?;
                self.start(name)?;
            }
            Command::Stop(name) => {
                let _lock = self.lock()?;
                self.stop(|process| process.name == name)?;
            }
            Command::Restart(name) => {
                let _lock = self.lock()?;
                self.stop(|process| process.name == name)?;
                self.start(name)?;
            }
            Command::Kill(name) => {
                let _lock = self.lock()?;
                for process in self.all().filter(|process| process.name == name) {
                    process.kill()?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// One command at a time changes anything. It may have to wait for another that downloads.
    fn lock(&self) -> Result<File, String> {
        wait::lock(&self.state, wait::DOWNLOAD_LIMIT)
    }

    fn all(&self) -> impl Iterator<Item = &Process> {
        [&self.primary, &self.replica].into_iter().chain(&self.redis)
    }

    fn environment(&self) -> Environment {
        let join = |processes: &mut dyn Iterator<Item = &Process>| {
            processes.map(|process| process.address().to_string()).collect::<Vec<_>>().join(",")
        };
        let mysql = join(&mut [&self.primary, &self.replica].into_iter());
        let variable = |name: &str, value| (name.to_owned(), value);
        vec![
            variable(MYSQL, format!("mysql://{}@{mysql}", mysql::USER)),
            variable(MYSQL_PASSWORD, mysql::PASSWORD.to_owned()),
            variable(REDIS, format!("redis://{}", join(&mut self.redis.iter()))),
        ]
    }

    /// The programs of MySQL and of Redis, fetched if need be. Those that are there are checked on request.
    fn programs(&self, check: bool) -> Result<(Programs, Programs), String> {
        let advice = |what: &str, error: String| {
            format!(
                "{what} is not to be had here: {error}; install MySQL 8 and Redis 7 or later yourself, start them, \
                 and name them in {MYSQL}, {MYSQL_PASSWORD} and {REDIS}"
            )
        };
        let (mysql, redis) = if check { (None, None) } else { (mysql::BUNDLE.present(), redis::present()) };
        let mysql =
            mysql.map_or_else(|| mysql::BUNDLE.install(), Ok).map_err(|error| advice("MySQL", error))?;
        let redis = redis.map_or_else(redis::install, Ok).map_err(|error| advice("Redis", error))?;
        Ok((mysql, redis))
    }

    fn primary<'s>(&'s self, programs: &'s Programs) -> Server<'s> {
        Server { process: &self.primary, programs, role: "primary.cnf" }
    }

    fn replica<'s>(&'s self, programs: &'s Programs) -> Server<'s> {
        Server { process: &self.replica, programs, role: "replica.cnf" }
    }

    /// Has everything running and ready. Returns the names of what was not running before.
    fn up(&self) -> Result<Vec<&'static str>, String> {
        let _lock = self.lock()?;
        // What runs was checked when it was started.
        let is_running = self.all().all(|process| process.pid().is_some());
        let (mysql, redis) = self.programs(!is_running)?;
        let (primary, replica) = (self.primary(&mysql), self.replica(&mysql));
        let mut started = Vec::new();

        thread::scope(|scope| {
            let other = scope.spawn(|| replica.initialize());
            primary.initialize()?;
            other.join().map_err(|_| "making the data of mysql-replica failed".to_owned())?
        })?;
        let cluster_is_made = self.state.join("redis-cluster-is-made");
        if !cluster_is_made.exists() {
            self.forget_cluster()?;
        }

        for server in [&primary, &replica] {
            if server.process.pid().is_none() {
                server.spawn(&self.deploy)?;
                started.push(server.process.name);
            }
        }
        for node in &self.redis {
            if node.pid().is_none() {
                redis::spawn(node, &redis, &self.deploy)?;
                started.push(node.name);
            }
        }

        if !cluster_is_made.exists() {
            for node in &self.redis {
                node.wait_until("to answer", || redis::answers(node))?;
            }
            redis::create_cluster(&self.redis, &redis)?;
            fs::write(&cluster_is_made, "").map_err(|error| error.to_string())?;
        }
        primary.make_ready_as_primary()?;
        replica.make_ready_as_replica(&self.primary)?;
        for node in &self.redis {
            node.wait_until("to work in the cluster", || redis::role(node, self.redis.len()).is_some())?;
        }
        Ok(started)
    }

    /// Removes what is left of a cluster that did not come to be.
    fn forget_cluster(&self) -> Result<(), String> {
        self.stop(|process| self.redis.iter().any(|node| node.name == process.name))?;
        for data in self.redis.iter().map(Process::data).filter(|data| data.exists()) {
            fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        Ok(())
    }

    /// Starts one process that was part of it all before, and waits until it can be used.
    fn start(&self, name: &str) -> Result<(), String> {
        let Some(process) = self.all().find(|process| process.name == name) else { return Ok(()) };
        if process.pid().is_some() {
            return Ok(());
        }
        if !process.data().exists() {
            return Err(format!("{name} has no data yet: `cargo xtask services up` comes first"));
        }
        let (mysql, redis) = self.programs(false)?;
        let (primary, replica) = (self.primary(&mysql), self.replica(&mysql));
        if name == self.primary.name {
            primary.spawn(&self.deploy)?;
            primary.make_ready_as_primary()
        } else if name == self.replica.name {
            replica.spawn(&self.deploy)?;
            if self.primary.pid().is_some() {
                replica.make_ready_as_replica(&self.primary)
            } else {
                process.wait_until("to answer", || replica.answers())
            }
        } else {
            redis::spawn(process, &redis, &self.deploy)?;
            process.wait_until("to answer", || redis::answers(process))?;
            // Without the others there may be no cluster that works.
            if self.redis.iter().any(|node| node.pid().is_none()) {
                return Ok(());
            }
            process.wait_until("to work in the cluster", || redis::role(process, self.redis.len()).is_some())
        }
    }

    /// Stops what is meant, the primary last: while a replica is connected to it, its end takes ten seconds.
    fn stop(&self, is_meant: impl Fn(&Process) -> bool) -> Result<(), String> {
        let (first, last): (Vec<_>, Vec<_>) = self
            .all()
            .filter(|process| is_meant(process))
            .partition(|process| process.name != self.primary.name);
        for processes in [first, last] {
            let asked: Vec<_> = processes.iter().map(|process| (process, process.ask_to_end())).collect();
            for (process, pid) in asked {
                pid.map_or(Ok(()), |pid| process.wait_for_end(pid))?;
            }
        }
        Ok(())
    }

    fn status(&self) -> Result<ExitCode, String> {
        let mysql = mysql::BUNDLE.present();
        let state_of = |process: &Process| {
            if let Some(role) = redis::role(process, self.redis.len()) {
                return Some(role);
            }
            let programs = mysql.as_ref()?;
            if process.name == self.primary.name {
                self.primary(programs).answers().then_some("primary")
            } else if process.name == self.replica.name {
                self.replica(programs).replicates().then_some("replica")
            } else {
                None
            }
        };
        let mut all_work = true;
        for process in self.all() {
            let pid = process.pid();
            let state = match pid {
                Some(_) => state_of(process)
                    .map_or_else(|| "running, not working".to_owned(), |role| format!("running, {role}")),
                None => "stopped".to_owned(),
            };
            all_work &= !state.contains("not working") && pid.is_some();
            let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.as_raw_nonzero().to_string());
            show(&format!("{:<14} {:<16} {pid:>8}  {state}\n", process.name, process.address()));
        }
        Ok(if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn logs(&self, name: Option<&str>) {
        for process in self.all().filter(|process| name.is_none_or(|name| name == process.name)) {
            let lines = process.log_tail(LOG_LINES).unwrap_or_else(|error| format!("({error})"));
            show(&format!("==> {} <==\n{lines}\n\n", process.log().display()));
        }
    }
}

/// Prints for people, who may have stopped to read.
fn show(text: &str) {
    // Then there is nobody left to tell.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_a_url() {
        let all = |url| addresses(url).collect::<Vec<_>>().join(" ");
        assert_eq!(all("mysql://shop@db:3306,[::1]:3307/test"), "db:3306 [::1]:3307");
        assert_eq!(all("redis://cache:6379"), "cache:6379");
    }
}
