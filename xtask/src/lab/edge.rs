//! The way in: nginx and keepalived on both application hosts, with the settings in `deploy/nginx/` and
//! `deploy/keepalived/`.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::network::{self, CARD};
use super::placement::{self, NETWORK, SHARED, host_of};
use super::shop;
use crate::services::process::{self, Process};
use crate::services::wait::{LIMIT, output};
use crate::services::{Service, balancer};

const NGINX: [&str; 2] = ["nginx-1", "nginx-2"];
const KEEPALIVED: [&str; 2] = ["keepalived-1", "keepalived-2"];

/// Requests and logins a second of one address. Everything that makes load comes from one.
const REQUESTS: u32 = 100_000;
const LOGINS: u32 = 1_000;

/// More than keepalived has said since it last said what it is.
const LOG_LINES: usize = 500;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub struct Nginx {
    deploy: PathBuf,
    /// Has the certificate, which both show.
    tls: PathBuf,
    servers: Vec<Process>,
    /// What each `${NAME}` in the settings stands for.
    values: Vec<(&'static str, String)>,
}

impl Nginx {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        let tls = state.join("tls");
        let [server_1, server_2] =
            shop::SERVERS.map(|name| placement::process(name, state).address().to_string());
        let values = vec![
            ("SERVER_1", server_1),
            ("SERVER_2", server_2),
            ("GATEWAY", shop::gateway(state).address().to_string()),
            ("INSIDE", NETWORK.to_owned()),
            ("TLS", tls.display().to_string()),
            ("REQUESTS", REQUESTS.to_string()),
            ("LOGINS", LOGINS.to_string()),
        ];
        let servers = NGINX.map(|name| placement::process(name, state)).into();
        Self { deploy: deploy.join("nginx"), tls, servers, values }
    }

    /// Makes a certificate that signs itself, if there is none.
    fn make_certificate(&self) -> Result<(), String> {
        fs::create_dir_all(&self.tls).map_err(|error| format!("{}: {error}", self.tls.display()))?;
        let mut command = Command::new("bash");
        command.arg(self.deploy.join("certificate.sh")).env("TLS", &self.tls).env("HOST", SHARED.to_string());
        output(&mut command, "making a certificate with openssl", LIMIT).map(|_| ())
    }

    /// Gives a server a folder with its settings.
    fn write_settings(&self, server: &Process) -> Result<(), String> {
        let folder = server.data();
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (from, to) in [
            ("nginx.conf", "nginx.conf"),
            ("upstream.conf", "upstream.conf"),
            ("six.conf.template", "site.conf"),
        ] {
            fill(&self.deploy.join(from), &folder.join(to), &self.values)?;
        }
        Ok(())
    }
}

impl Service for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn processes(&self) -> &[Process] {
        &self.servers
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        if self.servers.iter().any(|server| server.pid().is_none()) {
            balancer::nginx(true)?;
            self.make_certificate()?;
        }
        self.start_stopped()
    }

    fn start(&self, server: &Process) -> Result<(), String> {
        self.write_settings(server)?;
        server.spawn(&balancer::nginx_command(&balancer::nginx(false)?, &server.data()))?;
        server.wait_until("to answer", || self.role(server).is_some())
    }

    /// Requests under way are answered.
    fn stop(&self, servers: &[&Process]) -> Result<(), String> {
        process::end_by(servers, Signal::QUIT)
    }

    fn role(&self, server: &Process) -> Option<&'static str> {
        TcpStream::connect_timeout(&server.address(), ANSWER_LIMIT).is_ok().then_some("open to customers")
    }
}

/// A keeper of the address that works.
enum State {
    Master,
    Backup,
}

/// Keeps the shared address on one of the hosts.
pub struct Keepalived {
    deploy: PathBuf,
    keepers: [Process; 2],
}

impl Keepalived {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        Self {
            deploy: deploy.join("keepalived"),
            keepers: KEEPALIVED.map(|name| placement::process(name, state)),
        }
    }

    fn has_address(keeper: &Process) -> bool {
        network::has_address(host_of(keeper.name), &SHARED.to_string())
    }

    /// What it has said last that it is.
    fn state(keeper: &Process) -> Option<State> {
        let said = keeper.log_tail(LOG_LINES).ok()?;
        let line = said
            .lines()
            .rev()
            .find(|line| ["Entering ", "Starting Keepalived"].iter().any(|begin| line.contains(begin)))?;
        let has = |words: &str| line.contains(words);
        if has("Entering MASTER STATE") {
            Some(State::Master)
        } else {
            has("Entering BACKUP STATE").then_some(State::Backup)
        }
    }

    fn write_settings(&self, keeper: &Process) -> Result<(), String> {
        let folder = keeper.data();
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        fill(&self.deploy.join("keepalived.conf"), &folder.join("keepalived.conf"), &[])?;
        let peer = self.keepers.iter().find(|peer| peer.name != keeper.name).unwrap_or(keeper);
        let text = format!(
            "$INTERFACE={CARD}\n$ADDRESS={}\n$PEER={}\n$SHARED_ADDRESS={SHARED}/24\n$ASK={}\n\
             global_defs {{\n    script_user root\n}}\n",
            keeper.ip,
            peer.ip,
            self.deploy.join("ask.sh").display()
        );
        let path = folder.join("host.conf");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Service for Keepalived {
    fn name(&self) -> &'static str {
        "keepalived"
    }

    fn processes(&self) -> &[Process] {
        &self.keepers
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        if self.keepers.iter().any(|keeper| keeper.pid().is_none()) {
            balancer::keepalived(true)?;
        }
        let started = self.start_stopped()?;
        if let Some(keeper) = self.keepers.first() {
            keeper.wait_until("or the other to take the shared address", || {
                self.keepers.iter().any(Self::has_address)
            })?;
        }
        Ok(started)
    }

    fn start(&self, keeper: &Process) -> Result<(), String> {
        self.write_settings(keeper)?;
        // One that was killed could not take the address off its card, and would be a second holder until it notices.
        network::remove_address(host_of(keeper.name), &SHARED.to_string());
        keeper.spawn(&balancer::keepalived_command(&balancer::keepalived(false)?, &keeper.data()))?;
        // Until then the other one cannot leave the address to it.
        keeper.wait_until("to have the shared address or to stand by", || self.role(keeper).is_some())
    }

    fn role(&self, keeper: &Process) -> Option<&'static str> {
        match Self::state(keeper)? {
            State::Master if Self::has_address(keeper) => Some("has the shared address"),
            State::Backup => Some("stands by"),
            State::Master => None,
        }
    }
}

/// Copies a file, with a value for each `${NAME}` in it.
fn fill(from: &Path, to: &Path, values: &[(&str, String)]) -> Result<(), String> {
    let text = fs::read_to_string(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let fill = |text: String, (name, value): &(&str, String)| text.replace(&format!("${{{name}}}"), value);
    let filled = values.iter().fold(text, fill);
    fs::write(to, filled).map_err(|error| format!("{}: {error}", to.display()))
}
