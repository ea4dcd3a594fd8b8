//! The forwarder of a slow host: packets that come out of a TUN device go back into it after a while.
//!
//! It is a process of the host. The kernel routes what the host sends into the device (`network::slow`), and what
//! comes back from it on to the real one.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

use super::network::{self, SLOW};
use super::placement::Host;
use crate::services::process::{self, Process};
use crate::services::wait::now;

/// Packets that may be on their way; further ones are dropped, as a full link does. With packets of 1500 bytes and
/// 200 ms this is 60 MB/s.
const PACKETS_MAX: usize = 8192;

/// No packet is larger. Source: the field with its length, RFC 791.
const PACKET_BYTES_MAX: usize = 1 << 16;

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

/// Runs the forwarder until it is ended.
///
/// # Errors
/// The device cannot be had, or breaks.
pub fn run(delay: Duration) -> Result<(), String> {
    let device = DeviceBuilder::new().name(SLOW).build_sync();
    let device = device.map_err(|error| format!("no TUN device is allowed here: {error}"))?;
    let device = Arc::new(device);
    let (sender, receiver) = sync_channel(PACKETS_MAX);
    let given_back = Arc::clone(&device);
    thread::spawn(move || give_back(&given_back, &receiver));
    loop {
        let mut bytes = vec![0; PACKET_BYTES_MAX];
        let length = device.recv(&mut bytes).map_err(|error| format!("reading packets: {error}"))?;
        bytes.truncate(length);
        bytes.shrink_to_fit();
        match sender.try_send(Packet { due: now() + delay, bytes }) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return Err("packets cannot be given back".to_owned()),
        }
    }
}

/// Packets are due in the order in which they came.
fn give_back(device: &SyncDevice, packets: &Receiver<Packet>) {
    for packet in packets {
        thread::sleep(packet.due.saturating_duration_since(now()));
        // The kernel refuses what it cannot read, and nobody else would take that either.
        let _ = device.send(&packet.bytes);
    }
}

/// The forwarder of a host.
pub fn process(host: &Host, state: &Path) -> Process {
    Process::new(host.forwarder, 0, state).on(IpAddr::V4(host.address), Some(host.namespace()))
}

/// Makes packets late that the host sends to some others, or to all.
///
/// # Errors
/// The forwarder does not run.
pub fn slow(host: &Host, delay_ms: u64, peers: &[&'static Host], state: &Path) -> Result<(), String> {
    let forwarder = process(host, state);
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(["lab", "forward", &delay_ms.to_string()]);
    forwarder.spawn(&command)?;
    forwarder.wait_until("to have its device", || network::has_device(host, SLOW))?;
    network::slow(host, peers)
}

/// Ends the forwarder of a host, if it runs. Its device goes with it.
///
/// # Errors
/// It does not end.
pub fn stop(host: &Host, state: &Path) -> Result<(), String> {
    process::end(&[&process(host, state)])
}
