//! What runs where: the table of the six hosts, and the check that any one of them may die.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::services::process::Process;

/// A host of the lab: a network namespace with an address of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    pub name: &'static str,
    pub address: Ipv4Addr,
    /// The process that makes its packets late, while it is slow.
    pub forwarder: &'static str,
}

const fn host(name: &'static str, number: u8, forwarder: &'static str) -> Host {
    Host { name, address: Ipv4Addr::new(10, 77, 0, number), forwarder }
}

pub const HOSTS: [Host; 6] = [
    host("app-1", 11, "forwarder-app-1"),
    host("app-2", 12, "forwarder-app-2"),
    host("db-1", 21, "forwarder-db-1"),
    host("db-2", 22, "forwarder-db-2"),
    host("rk-1", 31, "forwarder-rk-1"),
    host("rk-2", 32, "forwarder-rk-2"),
];

/// The machine itself: customers, the payment gateway and whoever makes load.
pub const OUTSIDE: Host = host("outside", 1, "");

/// The address that both application hosts can have, one at a time.
pub const SHARED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// All of them.
pub const NETWORK: &str = "10.77.0.0/24";

impl Host {
    /// The name of its network namespace, and of the other end of its cable.
    pub fn namespace(&self) -> String {
        format!("holdfast-{}", self.name)
    }

    pub fn find(name: &str) -> Option<&'static Self> {
        HOSTS.iter().find(|host| host.name == name)
    }
}

/// What a process is one of.
pub enum Part {
    /// Has one of the votes, of which more than half have to be left.
    Vote(&'static str),
    /// Is one of the copies, of which one has to be left.
    Copy(&'static str),
}

use Part::{Copy, Vote};

/// A process and where it runs.
pub struct Place {
    pub name: &'static str,
    pub host: &'static str,
    /// 0 when it does not listen.
    pub port: u16,
    parts: &'static [Part],
}

const fn place(name: &'static str, host: &'static str, port: u16, parts: &'static [Part]) -> Place {
    Place { name, host, port, parts }
}

const MEMBER: Part = Vote("MySQL members");
const MASTER: Part = Vote("Redis masters");
const CONTROLLER: Part = Vote("Kafka controllers");
const BROKER: Part = Copy("Kafka brokers");

pub const PLACES: [Place; 37] = [
    place("nginx-1", "app-1", 443, &[Copy("nginx")]),
    place("keepalived-1", "app-1", 0, &[Copy("the shared address")]),
    place("holdfast-1", "app-1", 8080, &[Copy("Holdfast")]),
    place("controller-3", "app-1", 9093, &[CONTROLLER]),
    place("nginx-2", "app-2", 443, &[Copy("nginx")]),
    place("keepalived-2", "app-2", 0, &[Copy("the shared address")]),
    place("holdfast-2", "app-2", 8080, &[Copy("Holdfast")]),
    place("redis-6", "app-2", 6380, &[Copy("Redis shard 3")]),
    place("mysql-1", "db-1", 3306, &[MEMBER]),
    place("mysql-1-home", "db-1", 0, &[]),
    place("mysql-2", "db-2", 3306, &[MEMBER]),
    place("mysql-2-home", "db-2", 0, &[]),
    place("redis-3", "db-2", 6379, &[MASTER, Copy("Redis shard 3")]),
    place("redis-3-home", "db-2", 0, &[]),
    place("redis-1", "rk-1", 6379, &[MASTER, Copy("Redis shard 1")]),
    place("redis-1-home", "rk-1", 0, &[]),
    place("redis-5", "rk-1", 6380, &[Copy("Redis shard 2")]),
    place("kafka-1", "rk-1", 9092, &[BROKER]),
    place("controller-1", "rk-1", 9093, &[CONTROLLER]),
    place("mysql-3", "rk-1", 3306, &[MEMBER]),
    place("mysql-3-home", "rk-1", 0, &[]),
    place("redis-2", "rk-2", 6379, &[MASTER, Copy("Redis shard 2")]),
    place("redis-2-home", "rk-2", 0, &[]),
    place("redis-4", "rk-2", 6380, &[Copy("Redis shard 1")]),
    place("kafka-2", "rk-2", 9092, &[BROKER]),
    place("controller-2", "rk-2", 9093, &[CONTROLLER]),
    // What watches: the shop sells without it.
    place("prometheus", "rk-2", 9090, &[]),
    place("alertmanager", "rk-2", 9095, &[]),
    place("mysqld-exporter", "rk-2", 9104, &[]),
    place("redis-exporter", "rk-2", 9121, &[]),
    place("blackbox-exporter", "rk-2", 9115, &[]),
    place("node-exporter-1", "app-1", 9100, &[]),
    place("node-exporter-2", "app-2", 9100, &[]),
    place("node-exporter-3", "db-1", 9100, &[]),
    place("node-exporter-4", "db-2", 9100, &[]),
    place("node-exporter-5", "rk-1", 9100, &[]),
    place("node-exporter-6", "rk-2", 9100, &[]),
];

/// The process of this name, on its host.
pub fn process(name: &'static str, state: &Path) -> Process {
    let place = PLACES.iter().find(|place| place.name == name).expect("the process has a place");
    let host = Host::find(place.host).expect("the place is on a host");
    Process::new(name, place.port, state).on(IpAddr::V4(host.address), Some(host.namespace()))
}

/// The host of the process of this name.
pub fn host_of(name: &str) -> &'static Host {
    let place = PLACES.iter().find(|place| place.name == name);
    place.and_then(|place| Host::find(place.host)).unwrap_or(&OUTSIDE)
}

/// What the process of this name should be, where there is a choice.
pub fn role(name: &str) -> Option<&'static str> {
    let place = PLACES.iter().find(|place| place.name == name)?;
    let is_master = place.parts.iter().any(|part| matches!(part, Vote("Redis masters")));
    let is_node = place.parts.iter().any(|part| matches!(part, Copy(group) if group.starts_with("Redis")));
    is_node.then_some(if is_master { "master" } else { "replica" })
}

/// The table, for people.
pub fn table() -> String {
    let line = |place: &Place| {
        let parts = place.parts.iter().map(|part| match part {
            Vote(group) => format!("vote of {group}"),
            Copy(group) => format!("copy of {group}"),
        });
        let address = Host::find(place.host).map(|host| host.address.to_string()).unwrap_or_default();
        let port = if place.port == 0 { String::new() } else { format!(":{}", place.port) };
        let parts = parts.collect::<Vec<_>>().join(", ");
        let line = format!("{:<6} {:<16} {:<17} {parts}", place.host, address + &port, place.name);
        format!("{}\n", line.trim_end())
    };
    PLACES.iter().map(line).collect()
}

/// What no longer works when one host dies, a line each.
pub fn check(places: &[Place]) -> Vec<String> {
    let mut votes = BTreeMap::<_, Vec<_>>::new();
    let mut copies = BTreeMap::<_, Vec<_>>::new();
    for place in places {
        for part in place.parts {
            match part {
                Vote(group) => votes.entry(*group).or_default().push(place.host),
                Copy(group) => copies.entry(*group).or_default().push(place.host),
            }
        }
    }
    let mut problems = Vec::new();
    for host in &HOSTS {
        let on_host = |hosts: &[&str]| hosts.iter().filter(|name| **name == host.name).count();
        for (group, hosts) in &votes {
            let all = hosts.len();
            let lost = on_host(hosts);
            if lost > 0 && (all - lost) * 2 <= all {
                problems.push(format!("{} has {lost} of {all} votes of {group}", host.name));
            }
        }
        for (group, hosts) in &copies {
            if on_host(hosts) == hosts.len() {
                problems.push(format!("{} has all copies of {group}", host.name));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_may_die() {
        assert_eq!(check(&PLACES), [""; 0]);
    }

    #[test]
    fn every_process_is_on_a_host_with_a_port_of_its_own() {
        for (at, place) in PLACES.iter().enumerate() {
            assert!(Host::find(place.host).is_some(), "{} is nowhere", place.name);
            let is_other = |other: &Place| {
                other.name != place.name
                    && (other.host != place.host || other.port != place.port || other.port == 0)
            };
            assert!(PLACES[at + 1..].iter().all(is_other), "{} is in the way of another", place.name);
        }
    }

    #[test]
    fn a_host_with_a_majority_is_found() {
        let places = [
            place("a", "db-1", 1, &[MEMBER]),
            place("b", "db-1", 2, &[MEMBER]),
            place("c", "db-2", 1, &[MEMBER]),
        ];
        assert_eq!(check(&places), ["db-1 has 2 of 3 votes of MySQL members"]);
    }

    #[test]
    fn half_of_the_votes_are_too_many() {
        let places = [place("a", "db-1", 1, &[MASTER]), place("b", "db-2", 1, &[MASTER])];
        let problems = check(&places);
        assert_eq!(
            problems,
            ["db-1 has 1 of 2 votes of Redis masters", "db-2 has 1 of 2 votes of Redis masters"]
        );
    }

    #[test]
    fn a_host_with_both_copies_is_found() {
        let places = [
            place("a", "rk-1", 1, &[BROKER]),
            place("b", "rk-1", 2, &[BROKER]),
            place("c", "rk-1", 3, &[Copy("Redis shard 1")]),
            place("d", "rk-2", 3, &[Copy("Redis shard 1")]),
        ];
        assert_eq!(check(&places), ["rk-1 has all copies of Kafka brokers"]);
    }
}
