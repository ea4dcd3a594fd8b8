//! `cargo xtask lab`: the six servers as network namespaces of this machine, any of which can be killed, cut off and
//! slowed down.

mod alerts;
mod edge;
mod forward;
mod group;
mod hand_over;
mod home;
mod network;
pub mod placement;
mod shop;
pub mod smoke;
mod watch;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use self::placement::{HOSTS, Host, OUTSIDE, PLACES, SHARED, host_of, process};
use crate::services::kafka::Kafka;
use crate::services::process::Process;
use crate::services::redis::Redis;
use crate::services::wait::{self, wait_for};
use crate::services::{Service, at_once, kafka_ask, show, show_log, state};

pub const USAGE: &str = "  lab up [--dev]          six servers on this machine, app-1, app-2, db-1, db-2, rk-1 and rk-2, with all that a
                          shop of that size has; --dev runs the development build
  lab down                stop it all and remove the hosts; data and logs stay
  lab status              one line a process; fails unless all work
  lab placement           what runs where, and a check that any host may die
  lab kill HOST           end everything on a host at once
  lab start [HOST]        start what does not run, on all hosts unless one is named
  lab restart HOST        stop everything on a host in an orderly way, and start it again
  lab cut HOST [PEER…]    take a host off the network, or only apart from these; `outside` is the machine itself
  lab slow HOST MS [PEER…]
                          what a host sends (to these) arrives so many milliseconds later
  lab heal [HOST]         undo cut and slow, on all hosts unless one is named
  lab alerts              break what the four alerts of R34 tell of, one after the other, until each has fired and is over
  lab smoke               a lab of its own, two minutes of faults under load, and away with it again
  lab logs [NAME]         the last lines of the logs
                          `primary` is the host of MySQL's primary, `members` are those of MySQL's other members";

/// A slower network than this is a broken one.
const DELAY_MS_MAX: u64 = 60_000;

/// How long a lab may take to be in order after the last process was started.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Up {
        development: bool,
    },
    Down,
    Status,
    Placement,
    Kill(&'static Host),
    Start(Vec<&'static Host>),
    Restart(&'static Host),
    Cut(&'static Host, Vec<&'static Host>),
    Slow(&'static Host, u64, Vec<&'static Host>),
    Heal(Vec<&'static Host>),
    Logs(Option<&'a str>),
    Alerts,
    Smoke,
    /// The forwarder of a slow host, which `slow` starts.
    Forward(u64),
}

impl<'a> Command<'a> {
    fn parse(arguments: &[&'a str]) -> Option<Self> {
        let delay = |text: &str| text.parse().ok().filter(|delay_ms| *delay_ms <= DELAY_MS_MAX);
        Some(match *arguments {
            ["up"] => Self::Up { development: false },
            ["up", "--dev"] => Self::Up { development: true },
            ["down"] => Self::Down,
            ["status"] => Self::Status,
            ["placement"] => Self::Placement,
            ["kill", host] => Self::Kill(Host::find(host)?),
            ["start"] => Self::Start(HOSTS.iter().collect()),
            ["start", host] => Self::Start(vec![Host::find(host)?]),
            ["restart", host] => Self::Restart(Host::find(host)?),
            ["cut", host, ref peers @ ..] => Self::Cut(Host::find(host)?, find_peers(host, peers)?),
            ["slow", host, delay_ms, ref peers @ ..] => {
                Self::Slow(Host::find(host)?, delay(delay_ms)?, find_peers(host, peers)?)
            }
            ["heal"] => Self::Heal(HOSTS.iter().collect()),
            ["heal", host] => Self::Heal(vec![Host::find(host)?]),
            ["alerts"] => Self::Alerts,
            ["smoke"] => Self::Smoke,
            ["logs"] => Self::Logs(None),
            ["logs", name] => Self::Logs(Some(name)),
            ["forward", delay_ms] => Self::Forward(delay(delay_ms)?),
            _ => return None,
        })
    }
}

fn find_peers(host: &str, peers: &[&str]) -> Option<Vec<&'static Host>> {
    let find = |name: &&str| HOSTS.iter().chain([&OUTSIDE]).find(|peer| peer.name == *name && *name != host);
    peers.iter().map(find).collect()
}

/// Runs `cargo xtask lab` with these arguments. None when there is no such command.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let arguments = match name_hosts(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return Some(ExitCode::FAILURE);
        }
    };
    let command = Command::parse(&arguments)?;
    let result = match command {
        Command::Forward(delay_ms) => {
            forward::run(Duration::from_millis(delay_ms)).map(|()| ExitCode::SUCCESS)
        }
        Command::Smoke => smoke::check().and_then(|()| smoke::run()).map(|()| ExitCode::SUCCESS),
        command => Lab::new().and_then(|lab| lab.run(&command)),
    };
    Some(result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    }))
}

/// The arguments with hosts in place of words for what they have at the moment.
///
/// # Errors
/// There is no primary.
fn name_hosts<'a>(arguments: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let primary = if arguments.contains(&"primary") { Some(Lab::new()?.primary()?) } else { None };
    let mut named: Vec<&str> = arguments
        .iter()
        .map(|argument| primary.filter(|_| *argument == "primary").unwrap_or(argument))
        .collect();
    if let Some(at) = named.iter().position(|argument| *argument == "members") {
        let subject = named.get(1).copied().unwrap_or_default();
        let others = group::MEMBERS.map(|member| host_of(member).name);
        named.splice(at..=at, others.into_iter().filter(|host| *host != subject));
    }
    Ok(named)
}

/// Services that are started together, because none of them needs another.
type Tier = Vec<Box<dyn Service>>;

struct Lab {
    state: PathBuf,
    /// From the ground up.
    tiers: Vec<Tier>,
}

impl Lab {
    fn new() -> Result<Self, String> {
        let state = std::env::var_os("HOLDFAST_LAB_DIR").filter(|state| !state.is_empty());
        Self::at(state.map_or_else(|| crate::target().join("lab"), PathBuf::from))
    }

    /// The lab whose state is in this folder.
    fn at(state: PathBuf) -> Result<Self, String> {
        // Nobody else may come near the administrators' sockets.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
        // One spelling, because processes are recognised by it.
        let state = made
            .and_then(|()| fs::canonicalize(&state))
            .map_err(|error| format!("{} cannot be used: {error}", state.display()))?;
        let tiers = tiers(&state, &deploy());
        Ok(Self { state, tiers })
    }

    fn run(&self, command: &Command<'_>) -> Result<ExitCode, String> {
        match *command {
            Command::Up { development } => self.up(development)?,
            Command::Down => self.down()?,
            Command::Status => return Ok(self.status()),
            Command::Placement => return Ok(self.check_placement()),
            Command::Kill(host) => self.kill(host)?,
            Command::Start(ref hosts) => {
                let _lock = self.lock()?;
                hosts.iter().try_for_each(|host| self.start(host))?;
            }
            Command::Restart(host) => {
                let _lock = self.lock()?;
                self.stop(host)?;
                self.start(host)?;
            }
            Command::Cut(host, ref peers) => {
                check_is_up(host)?;
                network::cut(host, peers)?;
            }
            Command::Slow(host, delay_ms, ref peers) => {
                check_is_up(host)?;
                self.heal_slow(host)?;
                forward::slow(host, delay_ms, peers, &self.state)?;
            }
            Command::Heal(ref hosts) => {
                for host in hosts {
                    check_is_up(host)?;
                    network::heal(host)?;
                    self.heal_slow(host)?;
                }
            }
            Command::Logs(name) => self.logs(name)?,
            Command::Alerts => alerts::run(self)?,
            // They need no lab that is there.
            Command::Forward(_) | Command::Smoke => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The host of the one member of MySQL's group that can be written.
    fn primary(&self) -> Result<&'static str, String> {
        let is_primary =
            |(service, process): &(&dyn Service, &Process)| service.role(process) == Some(group::PRIMARY);
        let members = self.processes().filter(|(_, process)| group::MEMBERS.contains(&process.name));
        let primary = members.filter(|(_, process)| process.pid().is_some()).find(is_primary);
        primary
            .map(|(_, process)| host_of(process.name).name)
            .ok_or_else(|| "MySQL has no primary".to_owned())
    }

    /// One command at a time starts or stops anything in an orderly way. Faults wait for nobody.
    fn lock(&self) -> Result<File, String> {
        wait::lock(&self.state, wait::DOWNLOAD_LIMIT)
    }

    fn processes(&self) -> impl Iterator<Item = (&dyn Service, &Process)> {
        let services = self.tiers.iter().flatten().map(Box::as_ref);
        services.flat_map(|service| service.processes().iter().map(move |process| (service, process)))
    }

    fn up(&self, development: bool) -> Result<(), String> {
        let problems = placement::check(&PLACES);
        if let Some(problem) = problems.first() {
            return Err(problem.clone());
        }
        network::check()?;
        let _lock = self.lock()?;
        shop::prepare(&self.state, development)?;
        network::up()?;
        for tier in &self.tiers {
            let services: Vec<_> = tier.iter().map(Box::as_ref).collect();
            let results = at_once(&services, |service| service.up());
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        show(&format!(
            "The shop is at https://{SHARED} and http://{}:8080; its settings, for other commands: --config {}\n",
            process("holdfast-1", &self.state).ip,
            shop::config(&self.state).display()
        ));
        let [prometheus, alertmanager] =
            ["prometheus", "alertmanager"].map(|name| process(name, &self.state).address());
        show(&format!("It is watched at http://{prometheus}, and alerts are at http://{alertmanager}\n"));
        Ok(())
    }

    fn down(&self) -> Result<(), String> {
        network::check()?;
        let _lock = self.lock()?;
        // Those that nobody needs any more first. What does not end is killed.
        for tier in self.tiers.iter().rev() {
            let services: Vec<_> = tier.iter().map(Box::as_ref).collect();
            let results =
                at_once(&services, |service| service.stop(&service.processes().iter().collect::<Vec<_>>()));
            results.into_iter().collect::<Result<(), _>>()?;
        }
        network::down()
    }

    fn on<'s>(&'s self, host: &'s Host) -> impl Iterator<Item = (&'s dyn Service, &'s Process)> {
        self.processes().filter(move |(_, process)| host_of(process.name) == host)
    }

    fn kill(&self, host: &Host) -> Result<(), String> {
        check_is_up(host)?;
        let known: Vec<_> = self.on(host).filter_map(|(_, process)| process.pid()).collect();
        network::kill(host, &known)?;
        // Nobody is left to take it off, and a host without power does not have it.
        network::remove_address(host, &SHARED.to_string());
        Ok(())
    }

    /// Starts what does not run on a host. One that does not come up keeps no other from it.
    fn start(&self, host: &Host) -> Result<(), String> {
        check_is_up(host)?;
        let mut errors = Vec::new();
        for tier in &self.tiers {
            let services: Vec<_> = tier.iter().map(Box::as_ref).collect();
            let results = at_once(&services, |service| {
                let stopped = service.processes().iter().filter(|process| {
                    host_of(process.name) == host && process.pid().is_none() && process.folder().exists()
                });
                stopped.filter_map(|process| service.start(process).err()).collect::<Vec<_>>()
            });
            errors.extend(results.into_iter().flatten());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }

    /// Stops everything on a host, those first that nobody needs any more. What leads is not stopped before another
    /// does.
    fn stop(&self, host: &Host) -> Result<(), String> {
        let mut processes: Vec<_> = self.on(host).collect();
        processes.reverse();
        processes.iter().try_for_each(|(service, process)| {
            hand_over::hand_over(process, &self.state, &deploy())?;
            service.stop(&[process])
        })
    }

    fn heal_slow(&self, host: &Host) -> Result<(), String> {
        network::unslow(host);
        forward::stop(host, &self.state)
    }

    fn logs(&self, name: Option<&str>) -> Result<(), String> {
        let is_meant = |process: &Process| name.is_none_or(|name| name == process.name);
        let meant: Vec<_> = self.processes().filter(|(_, process)| is_meant(process)).collect();
        if meant.is_empty() {
            return Err(format!("there is no process {}", name.unwrap_or_default()));
        }
        meant.iter().for_each(|(_, process)| show_log(process));
        Ok(())
    }

    fn status(&self) -> ExitCode {
        let processes: Vec<_> = self.processes().collect();
        let states = at_once(&processes, |(service, process)| state(service, process));
        let mut all_work = true;
        for ((_, process), (state, works)) in processes.iter().zip(states) {
            all_work &= works;
            let pid = process.pid().map_or_else(|| "-".to_owned(), |pid| pid.as_raw_nonzero().to_string());
            let port = if process.port == 0 { String::new() } else { format!(":{}", process.port) };
            let (host, address) = (host_of(process.name).name, format!("{}{port}", process.ip));
            show(&format!("{:<17} {host:<8} {address:<16} {pid:>8}  {state}\n", process.name));
        }
        for host in HOSTS.iter().filter(|host| network::is_there(host)) {
            for fault in network::faults(host) {
                show(&format!("{} is {fault}\n", host.name));
            }
        }
        if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The table, and all that is wrong with it.
    fn check_placement(&self) -> ExitCode {
        show(&placement::table());
        let mut problems = placement::check(&PLACES);
        if problems.is_empty() {
            show("Any host may die: none has half of the votes or all copies of anything.\n");
        }
        if self.processes().any(|(_, process)| process.pid().is_some()) {
            // Those that have just come back may be on their way to where they belong.
            let mut live = Vec::new();
            let settled = wait_for("the lab", SETTLE_LIMIT, || {
                live = self.check_live();
                Ok(live.is_empty())
            });
            if settled.is_ok() {
                show(
                    "All of it works, every master is where it belongs, and every topic has both of its copies.\n",
                );
            }
            problems.append(&mut live);
        } else {
            show("The lab does not run, so only the table was checked.\n");
        }
        for problem in &problems {
            eprintln!("{problem}");
        }
        if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// What is not as the table has it, a line each.
    fn check_live(&self) -> Vec<String> {
        let processes: Vec<_> = self.processes().collect();
        let check = |(service, process): (&dyn Service, &Process)| {
            let wanted = placement::role(process.name);
            match (process.pid().and_then(|_| service.role(process)), wanted) {
                (None, _) => Some(format!("{} does not work", process.name)),
                (Some(role), Some(wanted)) if role != wanted => {
                    Some(format!("{} is a {role} and should be a {wanted}", process.name))
                }
                _ => None,
            }
        };
        let problems = at_once(&processes, check).into_iter().flatten();
        problems.chain(self.check_topics()).collect()
    }

    fn check_topics(&self) -> Vec<String> {
        let broker = process("kafka-1", &self.state);
        match kafka_ask::partitions(broker.address()) {
            Ok(partitions) => partitions
                .iter()
                .filter(|partition| partition.copies != 2 || partition.in_step != 2)
                .map(|partition| {
                    let kafka_ask::Partition { topic, number, copies, in_step } = partition;
                    format!("partition {number} of {topic} has {copies} copies, {in_step} of them in step")
                })
                .collect(),
            Err(error) => vec![format!("{} does not tell of its topics: {error}", broker.name)],
        }
    }
}

fn deploy() -> PathBuf {
    crate::root().join("deploy")
}

fn tiers(state: &Path, deploy: &Path) -> Vec<Tier> {
    let all = |names: &[&'static str]| names.iter().map(|name| process(name, state)).collect::<Vec<_>>();
    let nodes = all(&["redis-1", "redis-2", "redis-3", "redis-4", "redis-5", "redis-6"]);
    let controllers = all(&["controller-1", "controller-2", "controller-3"]);
    let brokers = all(&["kafka-1", "kafka-2"]);
    vec![
        vec![
            Box::new(group::Group::new(state, deploy)),
            Box::new(Redis::of(nodes, state, deploy)),
            Box::new(Kafka::of(controllers, brokers, deploy)),
            Box::new(shop::Gateway::new(state)),
        ],
        vec![Box::new(home::Homes::new(state, deploy))],
        vec![Box::new(shop::Shop::new(state))],
        // The address moves when nginx has answered what it has, so nobody waits for an answer from where it was.
        vec![Box::new(edge::Keepalived::new(state, deploy)), Box::new(edge::Nginx::new(state, deploy))],
        vec![Box::new(watch::Watch::new(state, deploy))],
    ]
}

fn check_is_up(host: &Host) -> Result<(), String> {
    network::check()?;
    if network::is_there(host) {
        return Ok(());
    }
    Err(format!("there is no {}: `cargo xtask lab up` comes first", host.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_with_their_peers() {
        let (app, db) = (&HOSTS[0], &HOSTS[2]);
        assert_eq!(Command::parse(&["cut", "app-1"]), Some(Command::Cut(app, Vec::new())));
        let slow = Command::Slow(app, 200, vec![db, &OUTSIDE]);
        assert_eq!(Command::parse(&["slow", "app-1", "200", "db-1", "outside"]), Some(slow));
        let named = name_hosts(&["cut", "db-2", "members"]).expect("hosts");
        assert_eq!(named, ["cut", "db-2", "db-1", "rk-1"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for arguments in [
            &["kill", "gateway"][..],
            &["kill", "outside"],
            &["cut", "app-1", "app-1"],
            &["cut", "app-1", "app-9"],
            &["slow", "app-1"],
            &["slow", "app-1", "-1"],
            &["slow", "app-1", "60001"],
            &["up", "--fast"],
        ] {
            assert_eq!(Command::parse(arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn every_place_belongs_to_a_service() {
        let tiers = tiers(Path::new("/lab"), Path::new("/deploy"));
        let names: Vec<_> = tiers
            .iter()
            .flatten()
            .flat_map(|service| service.processes())
            .map(|process| process.name)
            .collect();
        let missing: Vec<_> =
            PLACES.iter().map(|place| place.name).filter(|name| !names.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }
}
