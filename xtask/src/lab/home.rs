//! What runs beside servers that would not find back by themselves: Redis nodes that are meant to be masters, and
//! members of MySQL's group.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::placement::process;
use crate::services::process::Process;
use crate::services::redis::Redis;
use crate::services::{Service, mysql};

const WATCHERS: [(&str, &str); 6] = [
    ("redis-1-home", "redis-1"),
    ("redis-2-home", "redis-2"),
    ("redis-3-home", "redis-3"),
    ("mysql-1-home", "mysql-1"),
    ("mysql-2-home", "mysql-2"),
    ("mysql-3-home", "mysql-3"),
];

pub struct Homes {
    deploy: PathBuf,
    watchers: [Process; WATCHERS.len()],
    /// Whom each of them watches.
    watched: [Process; WATCHERS.len()],
}

impl Homes {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        Self {
            deploy: deploy.to_owned(),
            watchers: WATCHERS.map(|(name, _)| process(name, state)),
            watched: WATCHERS.map(|(_, watched)| process(watched, state)),
        }
    }

    fn command(&self, watched: &Process) -> Result<Command, String> {
        let is_redis = watched.name.starts_with("redis");
        let (script, client) = if is_redis {
            ("redis/go-home.sh", Redis::programs(false)?.command("usr/bin/redis-cli"))
        } else {
            ("mysql/rejoin.sh", mysql::programs(false)?.command("usr/bin/mysql"))
        };
        let mut command = Command::new("bash");
        command.arg(self.deploy.join(script));
        if is_redis {
            command.args([watched.ip.to_string(), watched.port.to_string()]);
        } else {
            command.arg(mysql::socket(watched)?);
        }
        command.arg(client.get_program()).args(client.get_args());
        Ok(command)
    }
}

impl Service for Homes {
    fn name(&self) -> &'static str {
        "homes"
    }

    fn processes(&self) -> &[Process] {
        &self.watchers
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        self.start_stopped()
    }

    fn start(&self, watcher: &Process) -> Result<(), String> {
        let watched = self.watchers.iter().zip(&self.watched).find(|(of, _)| of.name == watcher.name);
        watched.map_or(Ok(()), |(_, watched)| watcher.spawn(&self.command(watched)?))
    }

    fn role(&self, _: &Process) -> Option<&'static str> {
        Some("brings its server back to its place")
    }
}
