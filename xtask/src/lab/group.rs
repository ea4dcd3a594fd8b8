//! MySQL Group Replication: one member that is written to and two that follow, with the settings in `deploy/mysql/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::placement::{NETWORK, process};
use crate::services::install::Programs;
use crate::services::mysql::{Server, field, present, programs};
use crate::services::process::{self, Process};
use crate::services::{Service, at_once};

/// What the member is that can be written.
pub const PRIMARY: &str = "primary";

pub const MEMBERS: [&str; 3] = ["mysql-1", "mysql-2", "mysql-3"];

/// The member that is there for its vote.
const LIGHT: usize = 2;

/// Where members talk to each other.
const GROUP_PORT: u16 = 33061;

/// The member that becomes primary when there is a choice; the files say what the others weigh.
const FIRST_WEIGHT: u32 = 80;

/// How long a member may take to fetch what it has missed, on a machine that has much else to do.
const JOIN_LIMIT: Duration = Duration::from_mins(3);

/// Says what the member is to itself, and whether it sees more than half of the group.
const STATE: &str = "SELECT MAX(IF(member_id = @@server_uuid, member_state, '')) AS state, \
     MAX(IF(member_id = @@server_uuid, member_role, '')) AS role, \
     SUM(member_state = 'UNREACHABLE') * 2 < COUNT(*) AS majority \
     FROM performance_schema.replication_group_members";

/// Transactions that the member has, among them those that it was sent and has not carried out.
const TRANSACTIONS: &str = "SELECT REPLACE(CONCAT_WS(',', NULLIF(@@global.gtid_executed, ''), \
     (SELECT NULLIF(received_transaction_set, '') FROM performance_schema.replication_connection_status \
     WHERE channel_name = 'group_replication_applier')), '\\n', '') AS transactions";

pub struct Group {
    deploy: PathBuf,
    /// A file that is there when the members were joined to a group.
    is_made: PathBuf,
    members: Vec<Process>,
}

impl Group {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        let members = MEMBERS.map(|name| process(name, state)).into();
        Self { deploy: deploy.join("mysql"), is_made: state.join("mysql-group-is-made"), members }
    }

    /// A member that joins the group when it starts, or only when it is told to.
    fn server<'s>(&'s self, at: usize, programs: &'s Programs, joins: bool) -> Server<'s> {
        let member = &self.members[at];
        let files: &[_] = if at == LIGHT {
            &["common.cnf", "group.cnf", "group-light.cnf"]
        } else {
            &["common.cnf", "group.cnf"]
        };
        let address = |member: &Process| format!("{}:{GROUP_PORT}", member.ip);
        let seeds = self.members.iter().map(address).collect::<Vec<_>>().join(",");
        let mut options = vec![
            format!("--server-id={}", at + 1),
            format!("--report-host={}", member.ip),
            format!("--group-replication-local-address={}", address(member)),
            format!("--group-replication-group-seeds={seeds}"),
            format!("--group-replication-ip-allowlist={NETWORK}"),
        ];
        if at == 0 {
            options.push(format!("--group-replication-member-weight={FIRST_WEIGHT}"));
        }
        if !joins {
            options.push("--group-replication-start-on-boot=OFF".to_owned());
        }
        Server::new(member, programs, &self.deploy, files).with(options)
    }

    fn servers<'s>(&'s self, programs: &'s Programs, joins: bool) -> Vec<Server<'s>> {
        (0..self.members.len()).map(|at| self.server(at, programs, joins)).collect()
    }

    /// Removes what is left of a group that did not come to be.
    fn forget(&self) -> Result<(), String> {
        self.members.iter().try_for_each(Process::kill)?;
        for folder in self.members.iter().map(Process::folder).filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(())
    }
}

impl Service for Group {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn processes(&self) -> &[Process] {
        &self.members
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        let is_running = self.members.iter().all(|member| member.pid().is_some());
        let programs = programs(!is_running)?;
        let is_made = self.is_made.exists();
        if !is_made {
            self.forget()?;
        }
        let is_alive = self.servers(&programs, true).iter().any(|server| state(server).is_some());
        let servers = self.servers(&programs, is_alive);
        let spawned = at_once(&servers.iter().collect::<Vec<_>>(), |server| {
            if server.process.pid().is_some() {
                return Ok(None);
            }
            server.initialize()?;
            server.spawn()?;
            server.wait_for_administrator()?;
            Ok(Some(server.process.name))
        });
        let started = spawned.into_iter().collect::<Result<Vec<_>, String>>()?;
        if !is_made {
            make(&servers)?;
            fs::write(&self.is_made, "").map_err(|error| error.to_string())?;
        } else if !is_alive {
            bootstrap(latest(&servers)?)?;
        }
        let joined = at_once(&servers.iter().collect::<Vec<_>>(), |server| {
            if !is_alive && state(server).is_none() {
                join(server)?;
            }
            wait_until_it_works(server)
        });
        joined.into_iter().collect::<Result<(), _>>()?;
        Ok(started.into_iter().flatten().collect())
    }

    /// Waits for the group only when there is one.
    fn start(&self, process: &Process) -> Result<(), String> {
        let programs = programs(false)?;
        let servers = self.servers(&programs, true);
        let is_alive = servers.iter().any(|server| state(server).is_some());
        let Some(server) = servers.iter().find(|server| server.process.name == process.name) else {
            return Ok(());
        };
        server.spawn()?;
        server.wait_for_administrator()?;
        if is_alive { wait_until_it_works(server) } else { Ok(()) }
    }

    /// The primary last, so that it hands over once.
    fn stop(&self, processes: &[&Process]) -> Result<(), String> {
        let is_primary = |process: &&&Process| self.role(process) == Some(PRIMARY);
        let (last, first): (Vec<_>, Vec<_>) = processes.iter().partition(is_primary);
        process::end(&first)?;
        process::end(&last)
    }

    fn role(&self, process: &Process) -> Option<&'static str> {
        let programs = present()?;
        let at = self.members.iter().position(|member| member.name == process.name)?;
        state(&self.server(at, &programs, true))
    }
}

/// What a member that works does in the group.
fn state(server: &Server<'_>) -> Option<&'static str> {
    server.process.pid()?;
    let status = server.administer(STATE).ok()?;
    if field(&status, "state") != Some("ONLINE") || field(&status, "majority") != Some("1") {
        return None;
    }
    Some(if field(&status, "role") == Some("PRIMARY") { PRIMARY } else { "secondary" })
}

fn wait_until_it_works(server: &Server<'_>) -> Result<(), String> {
    server.process.wait_longer_until("to be online in the group", JOIN_LIMIT, || state(server).is_some())
}

/// Makes a group of members that have no data.
fn make(servers: &[Server<'_>]) -> Result<(), String> {
    for server in servers {
        server.administer(&server.statements("group.sql", &[])?)?;
    }
    let Some(first) = servers.first() else { return Ok(()) };
    bootstrap(first)?;
    let accounts =
        ["accounts.sql", "group-accounts.sql", "monitor.sql"].map(|file| first.statements(file, &[]));
    for statements in accounts {
        first.administer(&statements?)?;
    }
    Ok(())
}

/// Lets a member be the group, which the others then join. Two that did this would be two groups.
fn bootstrap(server: &Server<'_>) -> Result<(), String> {
    server.administer(
        "STOP GROUP_REPLICATION; SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
         SET GLOBAL group_replication_bootstrap_group = OFF",
    )?;
    wait_until_it_works(server)
}

fn join(server: &Server<'_>) -> Result<(), String> {
    server.administer("STOP GROUP_REPLICATION; START GROUP_REPLICATION").map(|_| ())
}

/// The member of a stopped group that has all that any of them has.
fn latest<'s, 'p>(servers: &'s [Server<'p>]) -> Result<&'s Server<'p>, String> {
    let transactions = |server: &Server<'_>| {
        let status = server.administer(TRANSACTIONS)?;
        Ok(field(&status, "transactions").unwrap_or_default().to_owned())
    };
    let all = servers.iter().map(transactions).collect::<Result<Vec<_>, String>>()?;
    for (server, own) in servers.iter().zip(&all) {
        let missing = |others: &String| format!("GTID_SUBSET('{others}', '{own}')");
        let question =
            format!("SELECT {} AS has_all", all.iter().map(missing).collect::<Vec<_>>().join(" AND "));
        if field(&server.administer(&question)?, "has_all") == Some("1") {
            return Ok(server);
        }
    }
    Err("no member of MySQL has all transactions of the others: compare their gtid_executed".to_owned())
}
