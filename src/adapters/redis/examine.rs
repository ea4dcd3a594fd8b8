//! Whether the nodes of the Redis Cluster are set so that a counter is never forgotten, and where they are: for
//! `holdfast doctor` and the start of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout};

use crate::domain::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::examination::{ClockReading, Finding, Vote, clocks, is_this_machine, parted, quorum};

use super::connection::RedisCluster;

const ANSWERS: &str = "gate nodes";
const VERSION: &str = "gate version";
const MEMORY: &str = "gate memory";
const DURABILITY: &str = "gate durability";
const QUORUM: &str = "gate quorum";
const PLACES: &str = "gate replicas";
const CLOCKS: &str = "gate clocks";

/// The first version with all that the scripts use, and the first that is tested with.
const VERSION_MIN: (u32, u32) = (6, 2);
const VERSION_TESTED: (u32, u32) = (7, 0);

/// A node as the cluster lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    id: String,
    host: String,
    port: u16,
    /// The master that it follows.
    master: Option<String>,
    /// Whether it decides about slots, and so elects.
    has_slots: bool,
    is_gone: bool,
}

impl Node {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What one node has said.
struct Facts {
    address: String,
    clock: ClockReading,
    /// Fields of INFO, and settings where they may be asked.
    values: BTreeMap<String, String>,
}

impl Facts {
    fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |value| value)
    }
}

/// Asks each node of the cluster within `patience` and judges what they say.
pub async fn examine(cluster: &RedisCluster, clock: &dyn Clock, patience: Duration) -> Vec<Finding> {
    let until = Instant::now() + patience;
    let listing = match listing(cluster, patience / 2).await {
        Ok(listing) => listing,
        Err(why) => {
            let advice = "start the nodes, or look at gate.url and gate.password";
            return vec![Finding::fail(ANSWERS, format!("none answers ({why})"), advice)];
        }
    };
    let nodes = nodes_of(&listing);
    let left = until.saturating_duration_since(Instant::now());
    let asked = join_all(nodes.iter().map(|node| async move {
        match timeout(left, facts(cluster, node, clock)).await {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(error)) => Err(format!("{}: {}", node.address(), cluster.said(&error))),
            Err(_) => Err(format!("{}: no answer in time", node.address())),
        }
    }));
    let (heard, silent) = parted(asked.await);
    let mut findings = vec![presence(heard.len(), &silent)];
    if heard.is_empty() {
        return findings;
    }
    findings.extend(versions(&heard));
    findings.extend(memory(&heard));
    findings.extend(durability(&heard));
    findings.extend(places(&nodes));
    let readings: Vec<_> = heard.into_iter().map(|facts| facts.clock).collect();
    findings.extend(clocks(CLOCKS, &readings));
    findings
}

/// What the first of the named nodes that answers says of all.
async fn listing(cluster: &RedisCluster, patience: Duration) -> Result<String, String> {
    let asked = cluster.nodes().iter().map(|(host, port)| {
        Box::pin(async move {
            let ask = async {
                let mut open = cluster.connection_to(host, *port).await?;
                redis::cmd("CLUSTER").arg("NODES").query_async::<String>(&mut open).await
            };
            match timeout(patience, ask).await {
                Ok(Ok(listing)) => Ok(listing),
                Ok(Err(error)) => Err(format!("{host}:{port}: {}", cluster.said(&error))),
                Err(_) => Err(format!("{host}:{port}: no answer within {} ms", patience.as_millis())),
            }
        })
    });
    futures_util::future::select_ok(asked).await.map(|(listing, _)| listing)
}

async fn facts(cluster: &RedisCluster, node: &Node, clock: &dyn Clock) -> Result<Facts, RedisError> {
    let mut open = cluster.connection_to(&node.host, node.port).await?;
    let (asked_at, since) = (clock.now(), Instant::now());
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut open).await?;
    let (took, theirs) = (since.elapsed(), Timestamp(seconds * 1_000 + micros / 1_000));
    let info: String = redis::cmd("INFO").query_async(&mut open).await?;
    let mut values = fields_of(&info);
    for name in ["appendfsync", "cluster-require-full-coverage"] {
        // Services that somebody else runs let nobody ask.
        if let Ok(setting) = setting(&mut open, name).await {
            values.extend(setting);
        }
    }
    let clock = ClockReading { name: node.address(), asked_at, took, theirs };
    Ok(Facts { address: node.address(), clock, values })
}

async fn setting(
    open: &mut MultiplexedConnection,
    name: &str,
) -> Result<BTreeMap<String, String>, RedisError> {
    redis::cmd("CONFIG").arg("GET").arg(name).query_async(open).await
}

fn fields_of(info: &str) -> BTreeMap<String, String> {
    let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Reads the answer of `CLUSTER NODES`.
fn nodes_of(listing: &str) -> Vec<Node> {
    let node = |line: &str| {
        let mut words = line.split(' ');
        let (id, address, flags, master) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let flags: Vec<_> = flags.split(',').collect();
        let (host, port) = address.split(['@', ',']).next()?.rsplit_once(':')?;
        Some(Node {
            id: id.to_owned(),
            host: host.to_owned(),
            port: port.parse().ok()?,
            master: (master != "-").then(|| master.to_owned()),
            // Four words say how it was heard last.
            has_slots: words.nth(4).is_some(),
            is_gone: ["fail", "fail?", "noaddr", "handshake"].iter().any(|flag| flags.contains(flag)),
        })
    };
    listing.lines().filter_map(node).collect()
}

fn presence(heard: usize, silent: &[String]) -> Finding {
    if silent.is_empty() {
        return Finding::ok(ANSWERS, format!("all {heard} answer"));
    }
    let detail =
        format!("{} of {} do not answer ({})", silent.len(), heard + silent.len(), silent.join("; "));
    match heard {
        0 => Finding::fail(ANSWERS, detail, "let this machine reach the addresses that the nodes announce"),
        _ => Finding::warn(ANSWERS, detail, "start what is away, or CLUSTER FORGET what will not come back"),
    }
}

fn versions(heard: &[Facts]) -> Vec<Finding> {
    let judge = |facts: &Facts| {
        let version = facts.value("redis_version");
        let mut numbers = version.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            let detail = format!("{} does not say its version", facts.address);
            return Some(Finding::warn(VERSION, detail, "see that it is Redis 7 or later"));
        };
        let detail = format!("{} is Redis {version}", facts.address);
        match (major, minor) {
            old if old < VERSION_MIN => Some(Finding::fail(VERSION, detail, "upgrade to Redis 7 or later")),
            old if old < VERSION_TESTED => {
                Some(Finding::warn(VERSION, detail, "untried: Redis 7 or later is what was tested"))
            }
            _ => None,
        }
    };
    let wrong = heard.iter().filter_map(judge).collect();
    Finding::all_well_unless(wrong, VERSION, || {
        let versions: BTreeSet<_> = heard.iter().map(|facts| facts.value("redis_version")).collect();
        format!("Redis {}", versions.into_iter().collect::<Vec<_>>().join(", "))
    })
}

fn memory(heard: &[Facts]) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for facts in heard {
        let policy = facts.value("maxmemory_policy");
        if policy != "noeviction" {
            let detail =
                format!("{} has maxmemory-policy {policy}: it may forget what is held", facts.address);
            wrong.push(Finding::fatal(MEMORY, detail, "set maxmemory-policy noeviction"));
        }
        if facts.value("maxmemory") == "0" {
            let detail = format!("{} has no maxmemory: the machine may end it", facts.address);
            wrong.push(Finding::warn(MEMORY, detail, "set maxmemory to what the machine can spare"));
        }
    }
    Finding::all_well_unless(wrong, MEMORY, || {
        let size = |facts: &Facts| facts.value("maxmemory").parse::<u64>().ok();
        let least = heard.iter().filter_map(size).min().unwrap_or_default();
        format!("{} MiB at least, and a full node refuses buyers instead of forgetting stock", least >> 20)
    })
}

/// What a node knows after it was started again. The ledger has all of it, so that nothing here is lost for good.
fn durability(heard: &[Facts]) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for facts in heard {
        let (log, sync) = (facts.value("aof_enabled"), facts.value("appendfsync"));
        if log == "0" {
            let detail =
                format!("{} keeps nothing on its disk: after a start it is loaded again", facts.address);
            wrong.push(Finding::warn(DURABILITY, detail, "set appendonly yes and appendfsync everysec"));
        } else if sync == "no" {
            let detail = format!("{} leaves it to the system when it writes to its disk", facts.address);
            wrong.push(Finding::warn(DURABILITY, detail, "set appendfsync everysec"));
        }
        if facts.value("cluster-require-full-coverage") == "yes" {
            let detail = format!("{} refuses every product when some cannot be sold", facts.address);
            wrong.push(Finding::warn(DURABILITY, detail, "set cluster-require-full-coverage no"));
        }
    }
    Finding::all_well_unless(wrong, DURABILITY, || {
        "what is held is on the disk within a second (appendonly, appendfsync)".into()
    })
}

/// Who elects, and where the copies are. While a node is away the others stand in for it, wherever they are.
fn places(nodes: &[Node]) -> Vec<Finding> {
    let gone: Vec<_> = nodes.iter().filter(|node| node.is_gone).collect();
    let masters: Vec<_> =
        nodes.iter().filter(|node| !node.is_gone && node.master.is_none() && node.has_slots).collect();
    let votes: Vec<_> =
        masters.iter().map(|master| Vote { name: master.address(), host: master.host.clone() }).collect();
    let mut findings = vec![quorum(QUORUM, &votes, gone.len())];
    let mut wrong = Vec::new();
    for master in &masters {
        let replicas: Vec<_> =
            nodes.iter().filter(|node| !node.is_gone && node.master.as_ref() == Some(&master.id)).collect();
        if replicas.is_empty() {
            let detail =
                format!("{} has no replica: with it gone its products are not sold", master.address());
            wrong.push(Finding::warn(PLACES, detail, "give it a replica on another machine"));
        } else if replicas.iter().all(|replica| replica.host == master.host) && !is_this_machine(&master.host)
        {
            let detail = format!("{} and its replica are both on {}", master.address(), master.host);
            let advice = "move the replica to another machine";
            wrong.push(match gone.len() {
                0 => Finding::fail(PLACES, detail, advice),
                _ => Finding::warn(PLACES, detail, advice),
            });
        }
    }
    findings.extend(Finding::all_well_unless(wrong, PLACES, || {
        let for_trying_out = masters.iter().all(|master| is_this_machine(&master.host));
        let place = if for_trying_out { "this machine" } else { "another machine" };
        format!("every master has one on {place}")
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::examination::Verdict::{self, Fail, Ok, Warn};

    /// A sound node with these answers changed.
    fn node(changes: &[(&str, &str)]) -> Facts {
        let sound = [
            ("redis_version", "7.0.15"),
            ("maxmemory", "268435456"),
            ("maxmemory_policy", "noeviction"),
            ("aof_enabled", "1"),
            ("appendfsync", "everysec"),
            ("cluster-require-full-coverage", "no"),
        ];
        let values = sound.iter().chain(changes).map(|(name, value)| ((*name).into(), (*value).into()));
        let now = Timestamp(1_795_000_000_000);
        let clock = ClockReading { name: "a:1".into(), asked_at: now, took: Duration::ZERO, theirs: now };
        Facts { address: "a:1".into(), clock, values: values.collect() }
    }

    #[track_caller]
    fn assert_found(findings: &[Finding], verdict: Verdict, refuses_start: bool, says: &str) {
        let worst = findings.iter().max_by_key(|finding| finding.verdict).expect("a finding");
        assert_eq!((worst.verdict, worst.refuses_start), (verdict, refuses_start), "{worst}");
        assert!(worst.to_string().contains(says), "{says:?} is missing: {worst}");
    }

    #[test]
    fn a_node_that_forgets_stock_is_refused() {
        for (name, value, verdict, refused) in [
            ("maxmemory", "268435456", Ok, false),
            ("maxmemory", "0", Warn, false),
            ("maxmemory_policy", "allkeys-lru", Fail, true),
            ("maxmemory_policy", "volatile-ttl", Fail, true),
        ] {
            assert_found(&memory(&[node(&[]), node(&[(name, value)])]), verdict, refused, "");
        }
    }

    #[test]
    fn old_versions_are_named() {
        for (version, verdict) in
            [("7.0.0", Ok), ("8.2.1", Ok), ("6.2.14", Warn), ("6.0.16", Fail), ("", Warn), ("5.0.3", Fail)]
        {
            assert_found(&versions(&[node(&[("redis_version", version)])]), verdict, false, version);
        }
    }

    #[test]
    fn what_is_held_is_on_the_disk_soon() {
        for (name, value, verdict) in [
            ("appendfsync", "always", Ok),
            // Nobody may ask.
            ("appendfsync", "", Ok),
            ("appendfsync", "no", Warn),
            ("aof_enabled", "0", Warn),
            ("cluster-require-full-coverage", "yes", Warn),
        ] {
            assert_found(&durability(&[node(&[(name, value)])]), verdict, false, "");
        }
    }

    /// The listing of masters and replicas: host of each master, host of its replica.
    fn cluster(pairs: &[(&str, &str)]) -> String {
        let pair = |(n, (master, replica)): (usize, &(&str, &str))| {
            format!(
                "m{n} {master}:1{n}@2{n} master - 0 1 {n} connected {n}-9 10\n\
                 r{n} {replica}:3{n}@4{n},name slave m{n} 0 1 {n} connected\n"
            )
        };
        pairs.iter().enumerate().map(pair).collect()
    }

    fn judged(listing: &str) -> (Verdict, Verdict) {
        let findings = places(&nodes_of(listing));
        let worst = |check| {
            findings.iter().filter(|finding| finding.check == check).map(|finding| finding.verdict).max()
        };
        (worst(QUORUM).expect("a verdict"), worst(PLACES).expect("a verdict"))
    }

    #[test]
    fn masters_are_odd_and_none_stands_beside_its_replica() {
        for (pairs, verdicts) in [
            (&[("a", "b"), ("b", "c"), ("c", "a")][..], (Ok, Ok)),
            (&[("a", "b"), ("b", "a"), ("c", "d")], (Ok, Ok)),
            (&[("a", "a"), ("b", "c"), ("c", "b")], (Ok, Fail)),
            (&[("a", "b"), ("a", "c"), ("c", "b")], (Fail, Ok)),
            (&[("a", "e"), ("b", "e"), ("c", "e"), ("d", "e")], (Fail, Ok)),
            (&[("127.0.0.1", "127.0.0.1"); 3], (Warn, Ok)),
        ] {
            assert_eq!(judged(&cluster(pairs)), verdicts, "{pairs:?}");
        }
    }

    #[test]
    fn while_a_node_is_away_the_others_may_stand_anywhere() {
        // The replica on b has taken over from the master on a.
        let listing = "m0 a:10@20 master,fail - 0 1 0 disconnected\n\
                       r0 b:30@40 master - 0 1 4 connected 0-9\n\
                       m1 b:11@21 master - 0 1 1 connected 10-19\n\
                       r1 b:31@41 slave m1 0 1 1 connected\n\
                       m2 c:12@22 myself,master - 0 1 2 connected 20-29\n";
        assert_eq!(judged(listing), (Warn, Warn));
        let back =
            listing.replace("a:10@20 master,fail - 0 1 0 disconnected", "a:10@20 slave r0 0 1 4 connected");
        assert_eq!(judged(&back), (Fail, Fail));
    }

    #[test]
    fn the_listing_of_a_cluster_is_read() {
        let nodes = nodes_of(&cluster(&[("10.0.0.1", "::1")]));
        let (master, replica) = (&nodes[0], &nodes[1]);
        assert_eq!((&*master.host, master.port, master.has_slots), ("10.0.0.1", 10, true));
        assert_eq!((&*replica.host, replica.port, replica.has_slots), ("::1", 30, false));
        assert_eq!((replica.master.as_deref(), replica.is_gone), (Some("m0"), false));
        assert!(nodes_of("x :0@0 slave,fail,noaddr m0 0 1 0 disconnected")[0].is_gone);
    }

    #[test]
    fn fields_are_read_whatever_ends_their_lines() {
        let fields = fields_of("# Server\r\nredis_version:7.0.15\r\n\r\nmaxmemory:0\n");
        assert_eq!((&*fields["redis_version"], &*fields["maxmemory"]), ("7.0.15", "0"));
    }
}
