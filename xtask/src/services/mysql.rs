//! MySQL: a primary and a replica that follows it, with the settings in `deploy/mysql/`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{Bundle, Programs};
use super::process::{self, Process};
use super::wait::{LIMIT, output};
use super::{Environment, Service, at_once, join_addresses};

const URL: &str = "HOLDFAST_TEST_MYSQL";
const PASSWORD_VARIABLE: &str = "HOLDFAST_TEST_MYSQL_PASSWORD";

/// Ports from 32768 up are given to anybody who connects, and these are not.
const PORTS: [(&str, u16); 2] = [("mysql-primary", 13306), ("mysql-replica", 13307)];

/// Debian's stable releases have MariaDB, its unstable suite has MySQL.
const BUNDLE: Bundle = Bundle {
    title: "MySQL",
    name: "mysql",
    packages: &["mysql-server-core", "mysql-client-core"],
    suite: Some("sid"),
};

/// The account of the shop.
pub const USER: &str = "holdfast";

/// For development and tests only.
pub const PASSWORD: &str = "holdfast-dev";
const REPLICATION_PASSWORD: &str = "replication-dev";
pub const MONITOR_PASSWORD: &str = "monitor-dev";

/// Tables that the replica leaves out: most tests look at the primary alone, and with hundreds of their databases to make
/// it would be minutes behind for the others.
const NOT_FOLLOWED: &str = r"test\_alone\_%.%";

/// Longer paths are no addresses of sockets on Linux. Source: unix(7), `sun_path`.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub struct Mysql {
    deploy: PathBuf,
    /// The primary and the replica.
    processes: [Process; 2],
}

impl Mysql {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        let processes = PORTS.map(|(name, port)| Process::new(name, port, state));
        Self { deploy: deploy.join("mysql"), processes }
    }

    fn primary<'s>(&'s self, programs: &'s Programs) -> Server<'s> {
        Server::new(&self.processes[0], programs, &self.deploy, &["common.cnf", "primary.cnf"])
    }

    fn replica<'s>(&'s self, programs: &'s Programs) -> Server<'s> {
        Server::new(&self.processes[1], programs, &self.deploy, &["common.cnf", "replica.cnf"])
            .with(vec![format!("--replicate-wild-ignore-table={NOT_FOLLOWED}")])
    }

    fn is_primary(&self, process: &Process) -> bool {
        process.name == self.processes[0].name
    }
}

impl Service for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL, PASSWORD_VARIABLE]
    }

    fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn environment(&self) -> Environment {
        let url = format!("mysql://{USER}@{}", join_addresses(&self.processes));
        vec![(URL.to_owned(), url), (PASSWORD_VARIABLE.to_owned(), PASSWORD.to_owned())]
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        // What runs was checked when it was started.
        let is_running = self.processes.iter().all(|process| process.pid().is_some());
        let programs = programs(!is_running)?;
        let (primary, replica) = (self.primary(&programs), self.replica(&programs));
        let initialized = at_once(&[&primary, &replica], |server| server.initialize());
        initialized.into_iter().collect::<Result<(), _>>()?;
        let mut started = Vec::new();
        for server in [&primary, &replica] {
            if server.process.pid().is_none() {
                server.spawn()?;
                started.push(server.process.name);
            }
        }
        primary.make_ready_as_primary()?;
        replica.make_ready_as_replica(primary.process)?;
        Ok(started)
    }

    fn start(&self, process: &Process) -> Result<(), String> {
        let programs = programs(false)?;
        let (primary, replica) = (self.primary(&programs), self.replica(&programs));
        if self.is_primary(process) {
            primary.spawn()?;
            primary.make_ready_as_primary()
        } else {
            replica.spawn()?;
            if primary.process.pid().is_some() {
                replica.make_ready_as_replica(primary.process)
            } else {
                process.wait_until("to answer", || replica.answers())
            }
        }
    }

    /// The primary last: while a replica is connected to it, its end takes ten seconds.
    fn stop(&self, processes: &[&Process]) -> Result<(), String> {
        let (last, first): (Vec<_>, Vec<_>) = processes.iter().partition(|process| self.is_primary(process));
        process::end(&first)?;
        process::end(&last)
    }

    fn role(&self, process: &Process) -> Option<&'static str> {
        let programs = present()?;
        if self.is_primary(process) {
            self.primary(&programs).answers().then_some("primary")
        } else {
            self.replica(&programs).replicates().then_some("replica")
        }
    }
}

/// The programs, fetched if need be. Those that are there are checked on request.
pub fn programs(check: bool) -> Result<Programs, String> {
    let present = if check { None } else { present() };
    present.map_or_else(|| BUNDLE.install(), Ok).map_err(|error| {
        format!(
            "MySQL is not to be had here: {error}; install MySQL 8 or later yourself, start it, and name it in \
             {URL} and {PASSWORD_VARIABLE}"
        )
    })
}

/// The same, when they are there already.
pub fn present() -> Option<Programs> {
    BUNDLE.present()
}

/// A server of MySQL and the programs that it needs.
pub struct Server<'s> {
    pub process: &'s Process,
    programs: &'s Programs,
    /// Where the settings are.
    deploy: &'s Path,
    /// The files with its settings; later ones win.
    files: &'s [&'static str],
    /// The settings that only this server has.
    options: Vec<String>,
}

impl<'s> Server<'s> {
    /// A server with the settings of these files in `deploy/mysql/`.
    pub fn new(
        process: &'s Process,
        programs: &'s Programs,
        deploy: &'s Path,
        files: &'s [&'static str],
    ) -> Self {
        Self { process, programs, deploy, files, options: Vec::new() }
    }

    /// The same server with settings that no file has.
    pub fn with(self, options: Vec<String>) -> Self {
        Self { options, ..self }
    }

    /// Makes the data folder, if there is none.
    pub fn initialize(&self) -> Result<(), String> {
        let data = self.process.data();
        if data.exists() {
            return Ok(());
        }
        // It gets its name when it is complete.
        let part = self.process.folder().join("data.part");
        let prepare = || {
            fs::create_dir_all(self.process.folder())?;
            if part.exists() { fs::remove_dir_all(&part) } else { Ok(()) }
        };
        prepare().map_err(|error| format!("{}: {error}", part.display()))?;
        let mut command = self.mysqld("--no-defaults", &part)?;
        let what = format!("making the data of {}", self.process.name);
        output(command.arg("--initialize-insecure"), &what, LIMIT)?;
        fs::rename(&part, &data).map_err(|error| format!("{}: {error}", data.display()))
    }

    /// Starts the server, without waiting for it.
    pub fn spawn(&self) -> Result<(), String> {
        let settings = self.process.folder().join("my.cnf");
        let include = |file| format!("!include {}\n", self.deploy.join(file).display());
        let text: String = self.files.iter().map(include).collect();
        fs::write(&settings, text).map_err(|error| format!("{}: {error}", settings.display()))?;
        // A crash leaves the lock of the socket, and it counts while the kernel still lists the dead process.
        for left in ["socket", "socket.lock"] {
            // Mostly there is none.
            let _ = fs::remove_file(self.process.folder().join(left));
        }
        let mut command =
            self.mysqld(&format!("--defaults-file={}", settings.display()), &self.process.data())?;
        command
            .arg(format!("--socket={}", socket(self.process)?))
            .arg("--pid-file=mysqld.pid")
            .arg(format!("--bind-address={}", self.process.ip))
            .arg(format!("--port={}", self.process.port))
            .args(&self.options);
        self.process.spawn(&command)
    }

    fn mysqld(&self, defaults: &str, data: &Path) -> Result<Command, String> {
        let mut command = self.programs.command("usr/sbin/mysqld");
        command.arg(defaults).arg(format!("--datadir={}", data.display()));
        if let Programs::Unpacked { root, .. } = self.programs {
            for (option, folder) in [
                ("basedir", "usr"),
                ("plugin-dir", "usr/lib/mysql/plugin"),
                ("lc-messages-dir", "usr/share/mysql"),
                ("character-sets-dir", "usr/share/mysql/charsets"),
            ] {
                command.arg(format!("--{option}={}", root.join(folder).display()));
            }
        }
        let this = fs::metadata("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
        if this.uid() == 0 {
            // It refuses to run as root unless told to.
            command.arg("--user=root");
        }
        Ok(command)
    }

    /// The statements of a file in `deploy/mysql/`, with the passwords and these values.
    pub fn statements(&self, file: &str, values: &[(&str, &str)]) -> Result<String, String> {
        let path = self.deploy.join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let passwords = [
            ("PASSWORD", PASSWORD),
            ("REPLICATION_PASSWORD", REPLICATION_PASSWORD),
            ("MONITOR_PASSWORD", MONITOR_PASSWORD),
        ];
        let values = passwords.iter().chain(values);
        Ok(values.fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value)))
    }

    /// Runs statements as the administrator, whom only the socket lets in.
    pub fn administer(&self, statements: &str) -> Result<String, String> {
        self.client(&[&format!("--socket={}", socket(self.process)?), "--user=root"], statements)
    }

    /// Runs statements as the shop does: over TCP and TLS.
    pub fn query(&self, statements: &str) -> Result<String, String> {
        let (host, port) = (format!("--host={}", self.process.ip), format!("--port={}", self.process.port));
        let (user, password) = (format!("--user={USER}"), format!("--password={PASSWORD}"));
        let arguments = ["--protocol=TCP", &host, &port, "--ssl-mode=REQUIRED", &user, &password, "holdfast"];
        self.client(&arguments, statements)
    }

    fn client(&self, arguments: &[&str], statements: &str) -> Result<String, String> {
        let mut command = self.programs.command("usr/bin/mysql");
        command.args(["--no-defaults", "--connect-timeout=5"]).args(arguments);
        // Rows as lines of `name: value`.
        command.args(["--vertical", "--execute", statements]);
        output(&mut command, &format!("a statement to {}", self.process.name), LIMIT)
    }

    /// Whether the shop can use the server.
    pub fn answers(&self) -> bool {
        self.query("SELECT 1").is_ok()
    }

    /// Whether the replica can be used and follows the primary.
    fn replicates(&self) -> bool {
        self.query("SHOW REPLICA STATUS").is_ok_and(|status| is_replicating(&status))
    }

    pub fn wait_for_administrator(&self) -> Result<(), String> {
        self.process.wait_until("to answer", || self.administer("SELECT 1").is_ok())
    }

    /// Waits for the primary, which gets its accounts and its database if it lacks them.
    fn make_ready_as_primary(&self) -> Result<(), String> {
        if self.answers() {
            return Ok(());
        }
        self.wait_for_administrator()?;
        if !self.answers() {
            let accounts = self.statements("accounts.sql", &[])?;
            // Tests make a database each.
            let for_tests = format!(r"GRANT ALL ON `test\_%`.* TO '{USER}'@'%'");
            self.administer(&format!("{accounts}\n{for_tests}"))?;
        }
        self.process.wait_until("to let the shop in", || self.answers())
    }

    /// Waits for the replica, which is told whom to follow if it does not know.
    fn make_ready_as_replica(&self, primary: &Process) -> Result<(), String> {
        if self.replicates() {
            return Ok(());
        }
        self.wait_for_administrator()?;
        let status = self.administer("SHOW REPLICA STATUS")?;
        if status.is_empty() {
            let port = primary.port.to_string();
            let address = [("PRIMARY_HOST", "127.0.0.1"), ("PRIMARY_PORT", port.as_str())];
            self.administer(&self.statements("follow.sql", &address)?)?;
        }
        if !is_replicating(&status) {
            self.administer("START REPLICA")?;
        }
        self.process.wait_until("to follow the primary", || self.replicates()).map_err(|error| {
            let status = self.administer("SHOW REPLICA STATUS").unwrap_or_default();
            let reason = ["Last_IO_Error", "Last_SQL_Error"]
                .iter()
                .find_map(|name| field(&status, name).filter(|reason| !reason.is_empty()));
            reason.map_or(error, |reason| {
                format!("{} does not follow the primary: {reason}", self.process.name)
            })
        })
    }
}

/// The socket of a server, where only the administrator comes in.
///
/// # Errors
/// Its path is too long.
pub fn socket(process: &Process) -> Result<String, String> {
    let path = process.folder().join("socket").display().to_string();
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "{path} is too long for a socket: set HOLDFAST_SERVICES_DIR or HOLDFAST_LAB_DIR to a shorter path"
        ));
    }
    Ok(path)
}

fn is_replicating(status: &str) -> bool {
    ["Replica_IO_Running", "Replica_SQL_Running"].iter().all(|name| field(status, name) == Some("Yes"))
}

/// A value in the lines of `name: value` that an answer has.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.trim()))
}
