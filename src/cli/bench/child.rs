//! Servers in processes of their own, as they are in real life, ended with the measurement.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// A server process.
pub struct Child {
    url: String,
    process: tokio::process::Child,
}

/// What a process used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// Processor time, user and system, in seconds.
    pub cpu_s: f64,
    /// Memory that is resident now.
    pub memory_bytes: u64,
}

impl Usage {
    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self { cpu_s: self.cpu_s - before.cpu_s, memory_bytes: self.memory_bytes }
    }
}

impl Child {
    /// The empty handler.
    pub async fn floor() -> anyhow::Result<Self> {
        Self::start(|command| command.arg("bench-floor")).await
    }

    /// A shop in `directory`.
    pub async fn shop(directory: &Path) -> anyhow::Result<Self> {
        Self::start(|command| {
            command
                // A few customers buy as much as everybody together.
                .env("HOLDFAST_LIMITS__ACCOUNT_PURCHASES_PER_S", "0")
                .args(["serve", "--no-sample", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
                .arg(directory)
        })
        .await
    }

    async fn start(configure: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        configure(&mut command).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("a server could not be started")?;
        let output = process.stdout.take().ok_or_else(|| anyhow!("a server has no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let greeting: serde_json::Value =
            serde_json::from_str(&line).context("a server did not start; it said why above")?;
        let url = greeting["shop"].as_str().ok_or_else(|| anyhow!("a server did not say its address"))?;
        Ok(Self { url: url.to_owned(), process })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has used so far. Source: proc(5), `/proc/pid/stat` and `/proc/pid/statm`.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let id = self.process.id().ok_or_else(|| anyhow!("a server ended during the measurement"))?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name in parentheses may hold anything; what follows it is plain.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let pages = std::fs::read_to_string(format!("/proc/{id}/statm"))?;
        let resident: u64 = pages.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Ok(Usage {
            cpu_s: (ticks(11) + ticks(12)) as f64 / ticks_per_second as f64,
            memory_bytes: resident * rustix::param::page_size() as u64,
        })
    }
}
