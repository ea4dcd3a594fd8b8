//! What a shop needs of the machine that it runs on.

use std::path::Path;

use tokio::net::TcpListener;

use crate::config::Config;
use crate::ports::examination::Finding;

/// Less than this is soon full in a sale.
const FREE_MIN_BYTES: u64 = 1 << 30;

/// Files that are open besides connections.
const FILES_RESERVE: u64 = 100;

/// Whether the address can be listened on; a shop that runs listens on it already.
pub async fn address(config: &Config, running: bool) -> Finding {
    const CHECK: &str = "address";
    let address = config.server.listen;
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok(CHECK, format!("{address} is free")),
        Err(_) if running => Finding::ok(CHECK, format!("{address} is in use, by the running shop it seems")),
        Err(error) => Finding::fail(CHECK, format!("{address}: {error}"), "choose another with --listen"),
    }
}

/// Whether there is room for what is sold.
pub fn free_space(config: &Config) -> Finding {
    const CHECK: &str = "disk";
    let directory = config.data_dir.display();
    // What is not there yet will be made there.
    let there = config.data_dir.ancestors().find(|directory| directory.exists());
    match rustix::fs::statvfs(there.unwrap_or(Path::new("."))) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let detail = format!("{} MiB free for {directory}", free >> 20);
            if free >= FREE_MIN_BYTES {
                Finding::ok(CHECK, detail)
            } else {
                Finding::fail(CHECK, detail, format!("keep at least {} MiB", FREE_MIN_BYTES >> 20))
            }
        }
        Err(error) => {
            Finding::fail(CHECK, format!("{directory}: {error}"), "look at data_dir and who may write there")
        }
    }
}

/// Whether this process may have as many connections as the configuration lets in.
pub fn open_files(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let wanted = config.server.connections_max as u64 + FILES_RESERVE;
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < wanted => Finding::fail(
            CHECK,
            format!("{limit} are allowed, {wanted} may be needed"),
            format!("ulimit -n {wanted}, or lower server.connections_max"),
        ),
        Some(limit) => Finding::ok(CHECK, format!("{limit} are allowed, {wanted} may be needed")),
        None => Finding::ok(CHECK, "as many as needed are allowed"),
    }
}
