//! Redis: a cluster of masters with a replica each, with the settings in `deploy/redis/`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::install::{Bundle, Programs};
use super::process::{self, Process};
use super::wait::{LIMIT, output};
use super::{Environment, Service, join_addresses};

const URL: &str = "HOLDFAST_TEST_REDIS";

/// Ports from 32768 up are given to anybody who connects, and these are not; nor are the ports of the cluster's
/// own bus, which are 10000 higher.
const PORTS: [(&str, u16); 6] = [
    ("redis-1", 17001),
    ("redis-2", 17002),
    ("redis-3", 17003),
    ("redis-4", 17004),
    ("redis-5", 17005),
    ("redis-6", 17006),
];

const BUNDLE: Bundle =
    Bundle { title: "Redis", name: "redis", packages: &["redis-server", "redis-tools"], suite: None };

const VERSION_MIN: u32 = 7;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub struct Redis {
    deploy: PathBuf,
    /// A file that is there when the nodes were joined to a cluster.
    is_made: PathBuf,
    /// The masters, and then as many replicas in the same order.
    nodes: Vec<Process>,
}

impl Redis {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        Self::of(PORTS.map(|(name, port)| Process::new(name, port, state)).into(), state, deploy)
    }

    /// A cluster of these nodes: the masters, and then as many replicas in the same order.
    pub fn of(nodes: Vec<Process>, state: &Path, deploy: &Path) -> Self {
        Self { deploy: deploy.join("redis"), is_made: state.join("redis-cluster-is-made"), nodes }
    }

    /// The programs, fetched if need be. Those that are there are checked on request.
    pub fn programs(check: bool) -> Result<Programs, String> {
        let present = if check { None } else { present() };
        present.map_or_else(install, Ok).map_err(|error| {
            format!(
                "Redis is not to be had here: {error}; install Redis {VERSION_MIN} or later yourself, start a cluster, \
                 and name it in {URL}"
            )
        })
    }

    /// Removes what is left of a cluster that did not come to be.
    fn forget(&self) -> Result<(), String> {
        process::end(&self.nodes.iter().collect::<Vec<_>>())?;
        for data in self.nodes.iter().map(Process::data).filter(|data| data.exists()) {
            fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        Ok(())
    }

    /// Starts a node, without waiting for it.
    fn spawn(&self, node: &Process, programs: &Programs) -> Result<(), String> {
        let data = node.data();
        fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        let mut command = programs.command("usr/bin/redis-server");
        command
            .arg(self.deploy.join("redis.conf"))
            .args(["--bind", &node.ip.to_string(), "--port", &node.port.to_string()])
            // Nobody but this machine reaches the hosts, so there is no password.
            .args(["--protected-mode", "no", "--dir"])
            .arg(data);
        node.spawn(&command)
    }

    fn masters(&self) -> &[Process] {
        &self.nodes[..self.nodes.len() / 2]
    }

    /// Joins empty nodes to a cluster. Who replicates whom is said, because `redis-cli` would choose for itself.
    fn create_cluster(&self, programs: &Programs) -> Result<(), String> {
        let mut command = programs.command("usr/bin/redis-cli");
        command
            .args(["--cluster", "create"])
            .args(self.masters().iter().map(|node| node.address().to_string()))
            .args(["--cluster-replicas", "0", "--cluster-yes"]);
        output(&mut command, "making the Redis Cluster", LIMIT)?;
        let replicas = &self.nodes[self.masters().len()..];
        for (master, replica) in self.masters().iter().zip(replicas) {
            let id = ask(master, "CLUSTER MYID").map_err(|error| format!("{}: {error}", master.name))?;
            let meet = format!("CLUSTER MEET {} {}", master.ip, master.port);
            ask(replica, &meet).map_err(|error| format!("{}: {error}", replica.name))?;
            let follow = format!("CLUSTER REPLICATE {id}");
            // It is refused until the two have met.
            replica.wait_until("to follow its master", || {
                ask(replica, &follow).is_ok_and(|answer| answer == "OK")
            })?;
        }
        Ok(())
    }

    fn wait_until_it_works(&self, node: &Process) -> Result<(), String> {
        node.wait_until("to work in the cluster", || self.role(node).is_some())
    }
}

impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    fn processes(&self) -> &[Process] {
        &self.nodes
    }

    fn environment(&self) -> Environment {
        vec![(URL.to_owned(), format!("redis://{}", join_addresses(&self.nodes)))]
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        // What runs was checked when it was started.
        let is_running = self.nodes.iter().all(|node| node.pid().is_some());
        let programs = Self::programs(!is_running)?;
        let is_made = self.is_made.exists();
        if !is_made {
            self.forget()?;
        }
        let mut started = Vec::new();
        for node in &self.nodes {
            if node.pid().is_none() {
                self.spawn(node, &programs)?;
                started.push(node.name);
            }
        }
        if !is_made {
            for node in &self.nodes {
                node.wait_until("to answer", || answers(node))?;
            }
            self.create_cluster(&programs)?;
            fs::write(&self.is_made, "").map_err(|error| error.to_string())?;
        }
        self.nodes.iter().try_for_each(|node| self.wait_until_it_works(node))?;
        Ok(started)
    }

    fn start(&self, node: &Process) -> Result<(), String> {
        self.spawn(node, &Self::programs(false)?)?;
        node.wait_until("to answer", || answers(node))?;
        // Without the others there may be no cluster that works.
        if self.nodes.iter().any(|node| node.pid().is_none()) {
            return Ok(());
        }
        self.wait_until_it_works(node)
    }

    /// A master, or a replica that has its master's data, in a cluster that works.
    fn role(&self, node: &Process) -> Option<&'static str> {
        let state = ask(node, "CLUSTER INFO").ok()?;
        let has = |line: &str| state.lines().any(|has| has == line);
        if !has("cluster_state:ok") || !has("cluster_slots_ok:16384") {
            return None;
        }
        has(&format!("cluster_known_nodes:{}", self.nodes.len())).then_some(())?;
        let replication = ask(node, "INFO replication").ok()?;
        let has = |line: &str| replication.lines().any(|has| has == line);
        if has("role:master") { Some("master") } else { has("master_link_status:up").then_some("replica") }
    }
}

/// The machine's own programs if they are new enough, or else Debian's packages.
fn install() -> Result<Programs, String> {
    if is_on_path() { Ok(Programs::OnPath) } else { BUNDLE.install() }
}

/// The same, when they are there already.
fn present() -> Option<Programs> {
    if is_on_path() { Some(Programs::OnPath) } else { BUNDLE.present() }
}

fn is_on_path() -> bool {
    let version = |program| output(Command::new(program).arg("--version"), program, LIMIT);
    // Printed as `Redis server v=7.0.15 sha=…`.
    let major = |text: String| text.split("v=").nth(1)?.split('.').next()?.parse::<u32>().ok();
    let server = version("redis-server").ok().and_then(major);
    server.is_some_and(|major| major >= VERSION_MIN) && version("redis-cli").is_ok()
}

/// Whether the node answers at all.
fn answers(node: &Process) -> bool {
    ask(node, "PING").is_ok_and(|answer| answer == "PONG")
}

/// Sends one command and returns the text of the answer.
fn ask(node: &Process, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&node.address(), ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "{command}\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end();
    // A text with its length before it, or a word after a sign. Source: Redis serialization protocol.
    match line.strip_prefix('$').map(str::parse::<usize>) {
        Some(Ok(length)) => {
            let mut text = vec![0; length];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Ok(line.trim_start_matches('+').to_owned()),
    }
}
