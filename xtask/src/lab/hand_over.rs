//! Before a process is stopped in an orderly way, another takes over what it leads.

use std::path::Path;
use std::process::Command;

use super::group;
use super::placement::process;
use crate::services::mysql;
use crate::services::process::Process;
use crate::services::redis::Redis;
use crate::services::wait::{LIMIT, output};

/// Lets another process lead, where this one does and there is another.
///
/// # Errors
/// The other does not take over.
pub fn hand_over(leader: &Process, state: &Path, deploy: &Path) -> Result<(), String> {
    if leader.pid().is_none() {
        return Ok(());
    }
    let mut command = Command::new("bash");
    let client = if group::MEMBERS.contains(&leader.name) {
        // In the order in which they are best suited.
        let members = group::MEMBERS.map(|name| process(name, state).ip.to_string()).join(",");
        command.arg(deploy.join("mysql/hand-over.sh")).arg(mysql::socket(leader)?).arg(members);
        mysql::programs(false)?.command("usr/bin/mysql")
    } else if leader.name.starts_with("redis-") && leader.port != 0 {
        command.arg(deploy.join("redis/hand-over.sh"));
        command.args([leader.ip.to_string(), leader.port.to_string()]);
        Redis::programs(false)?.command("usr/bin/redis-cli")
    } else {
        return Ok(());
    };
    command.arg(client.get_program()).args(client.get_args());
    output(&mut command, &format!("the hand-over of {}", leader.name), LIMIT).map(|_| ())
}
