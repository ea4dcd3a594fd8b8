//! `cargo xtask services`: real MySQL, Redis and Kafka for development and tests, on loopback and without containers.

pub mod balancer;
pub mod chromium;
mod debian;
pub mod install;
mod java;
pub mod kafka;
pub mod kafka_ask;
pub mod monitoring;
pub mod mysql;
pub mod process;
pub mod redis;
mod stripe_mock;
pub mod wait;

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use self::process::Process;

pub const USAGE: &str =
    "  services up [SERVICE…]  install and start mysql, redis and kafka; prints the environment for tests
  services down [SERVICE…]
                          stop them; their data stays
  services status         one line a process; fails unless all work
  services logs [NAME]    the last lines of the logs
  services start NAME     start one process: mysql-primary, mysql-replica, redis-1 to redis-6,
                          controller-1 to controller-3, kafka-1, kafka-2
  services stop NAME      stop one process
  services restart NAME   stop and start one process
  services kill NAME      end one process at once, as a crash does";

/// Lines of a log that are shown.
const LOG_LINES: usize = 30;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub type Environment = Vec<(String, String)>;

/// Processes that are of use only together.
pub trait Service: Sync {
    /// As it is named on the command line.
    fn name(&self) -> &'static str;

    /// Variables that tell tests where it is. The first has the addresses. None when no test asks for it.
    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    fn processes(&self) -> &[Process];

    /// The variables that are needed, with their values.
    fn environment(&self) -> Environment {
        Environment::new()
    }

    /// Has everything running and ready. Returns the names of what was not running before.
    ///
    /// # Errors
    /// One line that says what is missing.
    fn up(&self) -> Result<Vec<&'static str>, String>;

    /// Starts one process that was part of it all before and does not run, and waits until it can be used.
    ///
    /// # Errors
    /// It cannot be used.
    fn start(&self, process: &Process) -> Result<(), String>;

    /// Starts, one after the other, what does not run. Returns the names.
    ///
    /// # Errors
    /// One of them cannot be used.
    fn start_stopped(&self) -> Result<Vec<&'static str>, String> {
        let stopped: Vec<_> = self.processes().iter().filter(|process| process.pid().is_none()).collect();
        stopped.iter().try_for_each(|process| self.start(process))?;
        Ok(stopped.iter().map(|process| process.name).collect())
    }

    /// Stops some of its processes.
    ///
    /// # Errors
    /// Something does not end.
    fn stop(&self, processes: &[&Process]) -> Result<(), String> {
        process::end(processes)
    }

    /// What a running process does, when it works.
    fn role(&self, process: &Process) -> Option<&'static str>;
}

/// Runs `cargo xtask services` with these arguments. None when there is no such command.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let run = || {
        let services = Services::new()?;
        let command = Command::parse(arguments, &services);
        command.map(|command| services.run(&command)).transpose()
    };
    run().transpose().map(|result| {
        result.unwrap_or_else(|error: String| {
            eprintln!("{error}");
            ExitCode::FAILURE
        })
    })
}

/// Services for a run of the tests.
pub struct Ensured {
    /// Where they are, as the tests are told.
    pub environment: Environment,
    started: Vec<&'static str>,
}

/// Takes the services that the environment names, and has ours running for the others.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<Ensured, String> {
    let mut ensured = ensure_processes()?;
    ensured.environment.push(stripe_mock::ensure()?);
    ensured.environment.push(balancer::ensure()?);
    ensured.environment.push(chromium::ensure()?);
    ensured.environment.push(monitoring::ensure()?);
    Ok(ensured)
}

fn ensure_processes() -> Result<Ensured, String> {
    let services = Services::new()?;
    let mut environment = Vec::new();
    let mut ours = Vec::new();
    for service in services.all() {
        let given = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let variables = service.variables();
        if let Some(addresses) = variables.first().and_then(given) {
            check_addresses(&addresses)?;
            let variables = variables.iter().filter_map(|name| Some(((*name).to_owned(), given(name)?)));
            environment.extend(variables);
        } else {
            environment.extend(service.environment());
            ours.push(service);
        }
    }
    let started = services.up(&ours)?;
    Ok(Ensured { environment, started })
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
        services.stop(|_, process| self.started.contains(&process.name))
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

/// The addresses of processes as a URL has them.
pub fn join_addresses<'p>(processes: impl IntoIterator<Item = &'p Process>) -> String {
    processes.into_iter().map(|process| process.address().to_string()).collect::<Vec<_>>().join(",")
}

/// A command of `cargo xtask services`, with the names of services or of one process.
enum Command<'a> {
    Up(&'a [&'a str]),
    Down(&'a [&'a str]),
    Status,
    Logs(Option<&'a str>),
    Start(&'a str),
    Stop(&'a str),
    Restart(&'a str),
    Kill(&'a str),
}

impl<'a> Command<'a> {
    fn parse(arguments: &'a [&'a str], services: &Services) -> Option<Self> {
        let is_name = |name: &str| services.processes().any(|(_, process)| process.name == name);
        let is_service = |name: &&str| services.all().any(|service| service.name() == *name);
        Some(match *arguments {
            ["up", ref names @ ..] if names.iter().all(is_service) => Self::Up(names),
            ["down", ref names @ ..] if names.iter().all(is_service) => Self::Down(names),
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

/// Whether a service is meant by these names, of which none means all.
fn is_named(service: &dyn Service, names: &[&str]) -> bool {
    names.is_empty() || names.contains(&service.name())
}

struct Services {
    state: PathBuf,
    services: Vec<Box<dyn Service>>,
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
        let deploy = crate::root().join("deploy");
        let services: Vec<Box<dyn Service>> = vec![
            Box::new(mysql::Mysql::new(&state, &deploy)),
            Box::new(redis::Redis::new(&state, &deploy)),
            Box::new(kafka::Kafka::new(&state, &deploy)),
        ];
        Ok(Self { state, services })
    }

    fn run(&self, command: &Command<'_>) -> Result<ExitCode, String> {
        match *command {
            Command::Up(names) => {
                let meant: Vec<_> = self.all().filter(|service| is_named(*service, names)).collect();
                self.up(&meant)?;
                for (name, value) in meant.iter().flat_map(|service| service.environment()) {
                    println!("export {name}='{value}'");
                }
            }
            Command::Down(names) => {
                let _lock = self.lock()?;
                self.stop(|service, _| is_named(service, names))?;
            }
            Command::Status => return Ok(self.status()),
            Command::Logs(name) => self.logs(name),
            Command::Start(name) => {
                let _lock = self.lock()?;
                self.start(name)?;
            }
            Command::Stop(name) => {
                let _lock = self.lock()?;
                self.stop(|_, process| process.name == name)?;
            }
            Command::Restart(name) => {
                let _lock = self.lock()?;
                self.stop(|_, process| process.name == name)?;
                self.start(name)?;
            }
            Command::Kill(name) => {
                let _lock = self.lock()?;
                for (_, process) in self.processes().filter(|(_, process)| process.name == name) {
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

    fn all(&self) -> impl Iterator<Item = &dyn Service> {
        self.services.iter().map(Box::as_ref)
    }

    fn processes(&self) -> impl Iterator<Item = (&dyn Service, &Process)> {
        self.all().flat_map(|service| service.processes().iter().map(move |process| (service, process)))
    }

    /// Has the services running and ready, all at the same time. Returns the names of what was not running before.
    fn up(&self, services: &[&dyn Service]) -> Result<Vec<&'static str>, String> {
        let _lock = self.lock()?;
        let results = at_once(services, |service| service.up());
        results.into_iter().collect::<Result<Vec<_>, _>>().map(|started| started.concat())
    }

    fn start(&self, name: &str) -> Result<(), String> {
        let found = self.processes().find(|(_, process)| process.name == name);
        let Some((service, process)) = found.filter(|(_, process)| process.pid().is_none()) else {
            return Ok(());
        };
        if !process.data().exists() {
            return Err(format!("{name} has no data yet: `cargo xtask services up` comes first"));
        }
        service.start(process)
    }

    fn stop(&self, is_meant: impl Fn(&dyn Service, &Process) -> bool + Sync) -> Result<(), String> {
        let services: Vec<_> = self.all().collect();
        let results = at_once(&services, |service| {
            let processes = service.processes().iter().filter(|process| is_meant(service, process));
            service.stop(&processes.collect::<Vec<_>>())
        });
        results.into_iter().collect()
    }

    fn status(&self) -> ExitCode {
        let mut all_work = true;
        for (service, process) in self.processes() {
            let (state, works) = state(service, process);
            all_work &= works;
            let pid = process.pid().map_or_else(|| "-".to_owned(), |pid| pid.as_raw_nonzero().to_string());
            show(&format!("{:<14} {:<16} {pid:>8}  {state}\n", process.name, process.address()));
        }
        if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn logs(&self, name: Option<&str>) {
        let is_meant = |process: &Process| name.is_none_or(|name| name == process.name);
        for (_, process) in self.processes().filter(|(_, process)| is_meant(process)) {
            show_log(process);
        }
    }
}

/// What a process does, as people are told, and whether it works.
pub fn state(service: &dyn Service, process: &Process) -> (String, bool) {
    let Some(_pid) = process.pid() else { return ("stopped".to_owned(), false) };
    let role = service.role(process);
    let works = role.is_some();
    (role.map_or_else(|| "running, not working".to_owned(), |role| format!("running, {role}")), works)
}

/// Shows the last lines of a log.
pub fn show_log(process: &Process) {
    let lines = process.log_tail(LOG_LINES).unwrap_or_else(|error| format!("({error})"));
    show(&format!("==> {} <==\n{lines}\n\n", process.log().display()));
}

/// Does the same with each, all at the same time. Answers in the order of the questions.
pub fn at_once<Q: Copy + Send + Sync, A: Send>(questions: &[Q], answer: impl Fn(Q) -> A + Sync) -> Vec<A> {
    thread::scope(|scope| {
        let threads: Vec<_> = questions.iter().map(|question| scope.spawn(|| answer(*question))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Prints for people, who may have stopped to read.
pub fn show(text: &str) {
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
