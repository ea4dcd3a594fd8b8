//! What runs beside the Redis nodes that are meant to be masters, and makes them that again after a failover.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::placement::process;
use crate::services::Service;
use crate::services::process::Process;
use crate::services::redis::Redis;

const WATCHERS: [(&str, &str); 3] =
    [("redis-1-home", "redis-1"), ("redis-2-home", "redis-2"), ("redis-3-home", "redis-3")];

pub struct Homes {
    script: PathBuf,
    watchers: Vec<Process>,
    nodes: Vec<Process>,
}

impl Homes {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        Self {
            script: deploy.join("redis/go-home.sh"),
            watchers: WATCHERS.map(|(name, _)| process(name, state)).into(),
            nodes: WATCHERS.map(|(_, node)| process(node, state)).into(),
        }
    }
}

impl Service for Homes {
    fn name(&self) -> &'static str {
        "redis-home"
    }

    fn processes(&self) -> &[Process] {
        &self.watchers
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        let stopped: Vec<_> = self.watchers.iter().filter(|watcher| watcher.pid().is_none()).collect();
        stopped.iter().try_for_each(|watcher| self.start(watcher))?;
        Ok(stopped.iter().map(|watcher| watcher.name).collect())
    }

    fn start(&self, watcher: &Process) -> Result<(), String> {
        let nodes = self.watchers.iter().zip(&self.nodes);
        for (_, node) in nodes.filter(|(of, _)| of.name == watcher.name) {
            let client = Redis::programs(false)?.command("usr/bin/redis-cli");
            let mut command = Command::new("sh");
            command.arg(&self.script).args([node.ip.to_string(), node.port.to_string()]);
            command.arg(client.get_program()).args(client.get_args());
            watcher.spawn(&command)?;
        }
        Ok(())
    }

    fn role(&self, _: &Process) -> Option<&'static str> {
        Some("sends its node home")
    }
}
