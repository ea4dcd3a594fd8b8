//! What the tests share.

pub mod browser;
pub mod cluster_site;
pub mod collector;
pub mod database;
pub mod exposition;
pub mod gateway;
pub mod goods;
pub mod http_client;
pub mod kafka;
pub mod live_stream;
pub mod mailbox;
pub mod misbehaving;
pub mod process;
pub mod profile;
pub mod receiver;
pub mod redis_cluster;
pub mod retail;
pub mod set_clock;
pub mod shop;
pub mod slate;
pub mod stripe;
pub mod test_app;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::Instant;

/// An address that nobody has at the moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

/// Waits until `condition` holds; panics, naming `what` was waited for, when that takes too long.
pub async fn wait_for(what: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + timeout;
    while !condition().await {
        assert!(Instant::now() < until, "waited {timeout:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
