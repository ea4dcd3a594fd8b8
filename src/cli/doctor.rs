//! `holdfast doctor`: checks the machine, the settings and the stores.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::app::{BuildError, CONNECTIONS_OF_ONE_COMMAND, Stores};
use crate::config::Config;
use crate::data_dir::DataDirError;
use crate::domain::ProductId;

use super::{Common, output};

/// Less than this is soon full in a sale.
const FREE_MIN_BYTES: u64 = 1 << 30;

/// Files that are open besides connections.
const FILES_RESERVE: u64 = 100;

#[derive(Args)]
#[command(after_help = "Exit code 0: all well; 1: something needs doing, and its line says what.

Example:
  holdfast doctor --config shop.toml")]
pub struct DoctorArgs {}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
}

pub async fn run(_: DoctorArgs, common: Common) -> anyhow::Result<ExitCode> {
    let findings = match common.load(None) {
        Err(error) => vec![bad("configuration", format!("{error:#}"))],
        Ok(config) => examine(&config).await,
    };
    let ok = findings.iter().all(|finding| finding.ok);
    output::print(common.json, &findings, || {
        let line = |finding: &Finding| {
            let mark = if finding.ok { "ok  " } else { "FAIL" };
            format!("{mark} {:<14} {}", finding.check, finding.detail)
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn good(check: &'static str, detail: impl Into<String>) -> Finding {
    Finding { check, ok: true, detail: detail.into() }
}

fn bad(check: &'static str, detail: impl Into<String>) -> Finding {
    Finding { check, ok: false, detail: detail.into() }
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![good("configuration", "every setting is known and in bounds")];
    let (mut gate, mut payments) = (None, None);
    let (stores, running) = match Stores::open(config, CONNECTIONS_OF_ONE_COMMAND).await {
        Ok(stores) => {
            let answer = stores.ledger.ping().await;
            if let Some(shared) = stores.shared() {
                gate = Some(match shared.gate.levels(&[ProductId(1)]).await {
                    Ok(_) => good("gate", "Redis answers"),
                    Err(error) => bad("gate", error.to_string()),
                });
            }
            payments = Some(match stores.payments.ping().await {
                Ok(()) => good("payments", "the gateway answers"),
                Err(error) => bad("payments", format!("{error}; look at payments.url and payments.secret")),
            });
            let finding = match answer {
                Ok(()) => good("stores", "they open, are at this version and commit to the disk"),
                Err(error) => bad("stores", format!("the ledger does not commit: {error}")),
            };
            (finding, false)
        }
        Err(BuildError::DataDir(DataDirError::InUse { .. })) => {
            (good("stores", "in use by a running shop, which checked them at its start"), true)
        }
        Err(error) => (bad("stores", error.to_string()), false),
    };
    findings.push(stores);
    findings.extend(gate.into_iter().chain(payments));
    findings.push(listen(config, running).await);
    findings.push(free_space(config));
    findings.push(open_files(config));
    findings
}

async fn listen(config: &Config, running: bool) -> Finding {
    let address = config.server.listen;
    match TcpListener::bind(address).await {
        Ok(_) => good("address", format!("{address} is free")),
        Err(_) if running => good("address", format!("{address} is in use, by the running shop it seems")),
        Err(error) => bad("address", format!("{address}: {error}; choose another with --listen")),
    }
}

fn free_space(config: &Config) -> Finding {
    match rustix::fs::statvfs(&config.data_dir) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let detail = format!("{} MiB free for {}", free >> 20, config.data_dir.display());
            if free >= FREE_MIN_BYTES {
                good("disk", detail)
            } else {
                bad("disk", format!("{detail}; keep at least {} MiB", FREE_MIN_BYTES >> 20))
            }
        }
        Err(error) => bad("disk", format!("{}: {error}", config.data_dir.display())),
    }
}

fn open_files(config: &Config) -> Finding {
    let wanted = config.server.connections_max as u64 + FILES_RESERVE;
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < wanted => bad(
            "open files",
            format!(
                "{limit} are allowed, {wanted} may be needed: ulimit -n {wanted}, or lower server.connections_max"
            ),
        ),
        Some(limit) => good("open files", format!("{limit} are allowed, {wanted} may be needed")),
        None => good("open files", "as many as needed are allowed"),
    }
}
