//! The hosts' network: namespaces on one bridge, and what can be done to them.
//!
//! The bridge has an address of the machine itself, so whoever runs outside reaches every host.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;

use super::placement::{HOSTS, Host, NETWORK, OUTSIDE};
use crate::services::process;
use crate::services::wait::{LIMIT, output, wait_for};

const BRIDGE: &str = "holdfast-lab";

/// A host's end of its cable.
pub const CARD: &str = "eth0";

/// Where packets go that are to be late.
pub const SLOW: &str = "slow0";

/// The routing table with that way, and the order of the rules that ask it. Any numbers will do.
const SLOW_TABLE: &str = "77";
const SLOW_RULE: &str = "77";

const NAMESPACES: &str = "/run/netns";

/// Whether this machine lets us make hosts.
///
/// # Errors
/// One line that says what is missing.
pub fn check() -> Result<(), String> {
    let user = fs::metadata("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
    if user.uid() != 0 {
        return Err("the lab needs root, because it makes network namespaces".to_owned());
    }
    ip(&["-Version"]).map(|_| ()).map_err(|error| format!("{error}; on Debian: apt-get install iproute2"))
}

/// Whether the kernel lets us make a namespace.
///
/// # Errors
/// What it says.
pub fn try_namespace() -> Result<(), String> {
    let name = "holdfast-lab-try";
    ip(&["netns", "add", name]).map_err(|error| format!("no network namespace is allowed here: {error}"))?;
    ip(&["netns", "delete", name]).map(|_| ())
}

/// Has every host, and the bridge that they are on.
///
/// # Errors
/// The kernel allows none here.
pub fn up() -> Result<(), String> {
    check()?;
    if !link(BRIDGE).exists() {
        ip(&["link", "add", BRIDGE, "type", "bridge"])
            .map_err(|error| format!("no bridge is allowed here: {error}"))?;
    }
    ip(&["address", "replace", &format!("{}/24", OUTSIDE.address), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    HOSTS.iter().try_for_each(plug_in)
}

fn plug_in(host: &Host) -> Result<(), String> {
    let namespace = host.namespace();
    if !is_there(host) {
        ip(&["netns", "add", &namespace])
            .map_err(|error| format!("no network namespace is allowed here: {error}"))?;
    }
    if !link(&namespace).exists() {
        ip(&["link", "add", &namespace, "type", "veth", "peer", "name", CARD, "netns", &namespace])?;
        ip(&["link", "set", &namespace, "master", BRIDGE, "up"])?;
    }
    ip_on(host, &["address", "replace", &format!("{}/24", host.address), "dev", CARD])?;
    ip_on(host, &["link", "set", CARD, "up"])?;
    ip_on(host, &["link", "set", "lo", "up"])
}

/// Removes every host, the bridge, and whatever still runs there.
///
/// # Errors
/// Something cannot be removed.
pub fn down() -> Result<(), String> {
    check()?;
    for host in HOSTS.iter().filter(|host| is_there(host)) {
        kill(host, &[])?;
        ip(&["netns", "delete", &host.namespace()])?;
    }
    for name in HOSTS.iter().map(Host::namespace).chain([BRIDGE.to_owned()]) {
        // The kernel removes cables together with their hosts, but not at once.
        if link(&name).exists() {
            let removed = ip(&["link", "delete", &name]);
            removed.or_else(|error| if link(&name).exists() { Err(error) } else { Ok(String::new()) })?;
        }
    }
    // Routes that a cut left.
    let _ = ip(&["route", "flush", "root", NETWORK, "type", "unreachable"]);
    // The first namespace came with a mount. It is of no use without any.
    if fs::read_dir(NAMESPACES).is_ok_and(|mut entries| entries.next().is_none()) {
        let _ = output(Command::new("umount").arg(NAMESPACES), "umount", LIMIT);
        let _ = fs::remove_dir(NAMESPACES);
    }
    Ok(())
}

/// Whether the host was made.
pub fn is_there(host: &Host) -> bool {
    Path::new(NAMESPACES).join(host.namespace()).exists()
}

/// Ends everything on a host at once, as the loss of its power does. What has just started something may not have
/// been seen, so all of it is looked for again until nothing is left.
///
/// # Errors
/// Something does not end.
pub fn kill(host: &Host, known: &[Pid]) -> Result<(), String> {
    process::kill_all(known)?;
    wait_for(&format!("the end of all on {}", host.name), LIMIT, || {
        let pids = pids(host)?;
        process::kill_all(&pids)?;
        Ok(pids.is_empty())
    })
}

fn pids(host: &Host) -> Result<Vec<Pid>, String> {
    let printed = ip(&["netns", "pids", &host.namespace()])?;
    Ok(printed.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect())
}

/// Pulls the host's cable, or makes some others unreachable for it and it for them.
///
/// # Errors
/// There is no such host.
pub fn cut(host: &Host, peers: &[&'static Host]) -> Result<(), String> {
    if peers.is_empty() {
        return ip(&["link", "set", &host.namespace(), "down"]).map(|_| ());
    }
    for peer in peers {
        ip_on(host, &["route", "replace", "unreachable", &peer.address.to_string()])?;
        ip_on(peer, &["route", "replace", "unreachable", &host.address.to_string()])?;
    }
    Ok(())
}

/// Undoes `cut`.
///
/// # Errors
/// There is no such host.
pub fn heal(host: &Host) -> Result<(), String> {
    ip(&["link", "set", &host.namespace(), "up"])?;
    ip_on(host, &["route", "flush", "type", "unreachable"])?;
    for peer in HOSTS.iter().chain([&OUTSIDE]) {
        // Mostly there is none.
        let _ = ip_on(peer, &["route", "delete", "unreachable", &host.address.to_string()]);
    }
    Ok(())
}

/// Undoes what `slow` has set.
pub fn unslow(host: &Host) {
    // One at a time; the error says that none is left.
    while ip_on(host, &["rule", "delete", "priority", SLOW_RULE]).is_ok() {}
}

/// Sends what the host itself sends, to some others or to all, through the forwarder, which must run.
///
/// # Errors
/// There is no such host, or the forwarder is not there.
pub fn slow(host: &Host, peers: &[&'static Host]) -> Result<(), String> {
    ip_on(host, &["link", "set", SLOW, "up"])?;
    // What the forwarder gives back comes from an address that is the host's own.
    for (name, value) in [("ip_forward", 1), (&conf(SLOW, "rp_filter"), 0), (&conf("all", "rp_filter"), 0)] {
        set(host, name, value)?;
    }
    set(host, &conf(SLOW, "accept_local"), 1)?;
    let source = host.address.to_string();
    ip_on(host, &["route", "replace", "default", "dev", SLOW, "src", &source, "table", SLOW_TABLE])?;
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address.to_string()).collect();
    let all = [NETWORK.to_owned()];
    for address in if addresses.is_empty() { &all } else { addresses.as_slice() } {
        // Packets of the host itself, not those that come back from the forwarder.
        let rule = ["rule", "add", "priority", SLOW_RULE, "iif", "lo", "to", address, "lookup", SLOW_TABLE];
        ip_on(host, &rule)?;
    }
    Ok(())
}

/// What is wrong with a host's network, if anything is.
pub fn faults(host: &Host) -> Vec<String> {
    let mut faults = Vec::new();
    // A hexadecimal number whose lowest bit says that it is up. Source: `IFF_UP` in netdevice(7).
    let flags = fs::read_to_string(link(&host.namespace()).join("flags")).unwrap_or_default();
    let is_up = flags.trim().trim_start_matches("0x").ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
    if !is_up {
        faults.push("cut off".to_owned());
    }
    let printed = |arguments: &[&str]| {
        let mut command = ip_command(host, arguments);
        output(&mut command, "ip", LIMIT).unwrap_or_default()
    };
    for line in printed(&["route", "show", "type", "unreachable"]).lines() {
        faults.extend(line.split_whitespace().nth(1).map(|address| format!("cut off from {address}")));
    }
    for line in printed(&["rule", "show", "priority", SLOW_RULE]).lines() {
        let address = line.split(" to ").nth(1).and_then(|rest| rest.split_whitespace().next());
        faults.push(format!("slow to {}", address.unwrap_or("all")));
    }
    faults
}

fn conf(device: &str, name: &str) -> String {
    format!("conf/{device}/{name}")
}

/// Sets a setting of IPv4 on a host.
fn set(host: &Host, name: &str, value: u8) -> Result<(), String> {
    let script = format!("echo {value} >/proc/sys/net/ipv4/{name}");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &host.namespace(), "sh", "-c", &script]);
    output(&mut command, &format!("setting {name} on {}", host.name), LIMIT).map(|_| ())
}

fn link(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// Whether a device is there on a host.
pub fn has_device(host: &Host, name: &str) -> bool {
    ip_on(host, &["link", "show", name]).is_ok()
}

/// Whether an address is on a host.
pub fn has_address(host: &Host, address: &str) -> bool {
    let mut command = ip_command(host, &["-oneline", "address", "show", "to", address]);
    output(&mut command, "ip", LIMIT).is_ok_and(|printed| !printed.trim().is_empty())
}

/// Takes an address off a host, if it has it.
pub fn remove_address(host: &Host, address: &str) {
    // Mostly it has not.
    let _ = ip_on(host, &["address", "delete", &format!("{address}/24"), "dev", CARD]);
}

/// Runs `ip`, and returns what it printed.
fn ip(arguments: &[&str]) -> Result<String, String> {
    output(Command::new("ip").args(arguments), &format!("ip {}", arguments.join(" ")), LIMIT)
}

fn ip_on(host: &Host, arguments: &[&str]) -> Result<(), String> {
    let what = format!("ip {} on {}", arguments.join(" "), host.name);
    output(&mut ip_command(host, arguments), &what, LIMIT).map(|_| ())
}

fn ip_command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    if *host != OUTSIDE {
        command.args(["-netns", &host.namespace()]);
    }
    command.args(arguments);
    command
}
