//! MySQL: a primary and a replica that follows it, with the settings in `deploy/mysql/`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::install::{Bundle, Programs};
use super::process::Process;
use super::wait::{LIMIT, output};

/// Debian's stable releases have MariaDB, its unstable suite has MySQL.
pub const BUNDLE: Bundle = Bundle {
    title: "MySQL",
    name: "mysql",
    packages: &["mysql-server-core", "mysql-client-core"],
    suite: Some("sid"),
};

/// The account of the shop. For development and tests only.
pub const USER: &str = "holdfast";
pub const PASSWORD: &str = "holdfast-dev";

/// The account of the replica. For development and tests only.
const REPLICATION_USER: &str = "replication";
const REPLICATION_PASSWORD: &str = "replication-dev";

/// Longer paths are no addresses of sockets on Linux. Source: unix(7), `sun_path`.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A server of MySQL and the programs that it needs.
pub struct Server<'s> {
    pub process: &'s Process,
    pub programs: &'s Programs,
    /// The settings that only this server has, in `deploy/mysql/`.
    pub role: &'static str,
}

impl Server<'_> {
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
    pub fn spawn(&self, deploy: &Path) -> Result<(), String> {
        let settings = self.process.folder().join("my.cnf");
        let deploy = deploy.join("mysql");
        let text = format!(
            "!include {}\n!include {}\n",
            deploy.join("common.cnf").display(),
            deploy.join(self.role).display()
        );
        fs::write(&settings, text).map_err(|error| format!("{}: {error}", settings.display()))?;
        // A crash leaves the lock of the socket, and it counts while the kernel still lists the dead process.
        for left in ["socket", "socket.lock"] {
            // Mostly there is none.
            let _ = fs::remove_file(self.process.folder().join(left));
        }
        let mut command =
            self.mysqld(&format!("--defaults-file={}", settings.display()), &self.process.data())?;
        command
            .arg(format!("--socket={}", self.socket()?))
            .arg("--pid-file=mysqld.pid")
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--port={}", self.process.port));
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

    fn socket(&self) -> Result<String, String> {
        let path = self.process.folder().join("socket").display().to_string();
        if path.len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!(
                "{path} is too long for a socket: set HOLDFAST_SERVICES_DIR to a shorter path"
            ));
        }
        Ok(path)
    }

    /// Runs statements as the administrator, whom only the socket lets in.
    fn administer(&self, statements: &str) -> Result<String, String> {
        self.client(&[&format!("--socket={}", self.socket()?), "--user=root"], statements)
    }

    /// Runs statements as the shop does: over TCP and TLS.
    fn query(&self, statements: &str) -> Result<String, String> {
        let port = format!("--port={}", self.process.port);
        let (user, password) = (format!("--user={USER}"), format!("--password={PASSWORD}"));
        let arguments = [
            "--protocol=TCP",
            "--host=127.0.0.1",
            &port,
            "--ssl-mode=REQUIRED",
            &user,
            &password,
            "holdfast",
        ];
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
    pub fn replicates(&self) -> bool {
        self.query("SHOW REPLICA STATUS").is_ok_and(|status| is_replicating(&status))
    }

    fn wait_for_administrator(&self) -> Result<(), String> {
        self.process.wait_until("to answer", || self.administer("SELECT 1").is_ok())
    }

    /// Waits for the primary, which gets its accounts and its database if it lacks them.
    pub fn make_ready_as_primary(&self) -> Result<(), String> {
        if self.answers() {
            return Ok(());
        }
        self.wait_for_administrator()?;
        if !self.answers() {
            self.administer(&format!(
                r"CREATE DATABASE IF NOT EXISTS holdfast;
                CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
                GRANT ALL ON holdfast.* TO '{USER}'@'%';
                GRANT ALL ON `test\_%`.* TO '{USER}'@'%';
                GRANT REPLICATION CLIENT ON *.* TO '{USER}'@'%';
                CREATE USER IF NOT EXISTS '{REPLICATION_USER}'@'%'
                    IDENTIFIED BY '{REPLICATION_PASSWORD}' REQUIRE SSL;
                GRANT REPLICATION SLAVE ON *.* TO '{REPLICATION_USER}'@'%';"
            ))?;
        }
        self.process.wait_until("to let the shop in", || self.answers())
    }

    /// Waits for the replica, which is told whom to follow if it does not know.
    pub fn make_ready_as_replica(&self, primary: &Process) -> Result<(), String> {
        if self.replicates() {
            return Ok(());
        }
        self.wait_for_administrator()?;
        let status = self.administer("SHOW REPLICA STATUS")?;
        if status.is_empty() {
            // Retries never end: a primary may be away for long in a test.
            self.administer(&format!(
                "RESET BINARY LOGS AND GTIDS;
                CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {},
                    SOURCE_USER = '{REPLICATION_USER}', SOURCE_PASSWORD = '{REPLICATION_PASSWORD}',
                    SOURCE_SSL = 1, SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0;",
                primary.port
            ))?;
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

fn is_replicating(status: &str) -> bool {
    ["Replica_IO_Running", "Replica_SQL_Running"].iter().all(|name| field(status, name) == Some("Yes"))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.trim()))
}
