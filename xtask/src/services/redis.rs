//! Redis: a cluster of three masters and three replicas, with the settings in `deploy/redis/`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::install::{Bundle, Programs};
use super::process::Process;
use super::wait::{LIMIT, output};

const BUNDLE: Bundle =
    Bundle { title: "Redis", name: "redis", packages: &["redis-server", "redis-tools"], suite: None };

const VERSION_MIN: u32 = 7;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The machine's own programs if they are new enough, or else Debian's packages.
pub fn install() -> Result<Programs, String> {
    if is_on_path() { Ok(Programs::OnPath) } else { BUNDLE.install() }
}

/// The same, when they are there already.
pub fn present() -> Option<Programs> {
    if is_on_path() { Some(Programs::OnPath) } else { BUNDLE.present() }
}

fn is_on_path() -> bool {
    let version = |program| output(Command::new(program).arg("--version"), program, LIMIT);
    // Printed as `Redis server v=7.0.15 sha=…`.
    let major = |text: String| text.split("v=").nth(1)?.split('.').next()?.parse::<u32>().ok();
    let server = version("redis-server").ok().and_then(major);
    server.is_some_and(|major| major >= VERSION_MIN) && version("redis-cli").is_ok()
}

/// Starts a node, without waiting for it.
pub fn spawn(process: &Process, programs: &Programs, deploy: &Path) -> Result<(), String> {
    let data = process.data();
    fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let mut command = programs.command("usr/bin/redis-server");
    command
        .arg(deploy.join("redis/redis.conf"))
        .args(["--bind", "127.0.0.1", "--port", &process.port.to_string(), "--dir"])
        .arg(data);
    process.spawn(&command)
}

/// Joins empty nodes to a cluster in which the second three replicate the first three.
pub fn create_cluster(nodes: &[Process], programs: &Programs) -> Result<(), String> {
    let mut command = programs.command("usr/bin/redis-cli");
    command.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.address().to_string()));
    command.args(["--cluster-replicas", "1", "--cluster-yes"]);
    output(&mut command, "making the Redis Cluster", LIMIT).map(|_| ())
}

/// Whether the node answers at all.
pub fn answers(node: &Process) -> bool {
    ask(node, "PING").is_ok_and(|answer| answer == "PONG")
}

/// What the node is in a cluster that works: a master, or a replica that has its master's data.
pub fn role(node: &Process, nodes: usize) -> Option<&'static str> {
    let state = ask(node, "CLUSTER INFO").ok()?;
    let has = |line: &str| state.lines().any(|has| has == line);
    if !has("cluster_state:ok") || !has("cluster_slots_ok:16384") {
        return None;
    }
    has(&format!("cluster_known_nodes:{nodes}")).then_some(())?;
    let replication = ask(node, "INFO replication").ok()?;
    let has = |line: &str| replication.lines().any(|has| has == line);
    if has("role:master") { Some("master") } else { has("master_link_status:up").then_some("replica") }
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
