//! One process that outlives this command: started, found again by its pid file, and ended.
//!
//! A pid alone may by now belong to anybody. A process is ours when it works in our data folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{LIMIT, wait_for};

/// How long an address may stay taken.
const PORT_LIMIT: Duration = Duration::from_secs(5);

/// A process with a folder of its own for data, log and pid file.
pub struct Process {
    pub name: &'static str,
    pub ip: IpAddr,
    /// Where it listens; 0 when it does not.
    pub port: u16,
    /// The network namespace that is its host; none for the machine itself.
    namespace: Option<String>,
    folder: PathBuf,
}

impl Process {
    /// A process on loopback. `state` is an absolute path without links.
    pub fn new(name: &'static str, port: u16, state: &Path) -> Self {
        Self { name, ip: Ipv4Addr::LOCALHOST.into(), port, namespace: None, folder: state.join(name) }
    }

    /// The same process on a host with an address of its own.
    pub fn on(self, ip: IpAddr, namespace: Option<String>) -> Self {
        Self { ip, namespace, ..self }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip, self.port))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// The pid, when the process runs.
    pub fn pid(&self) -> Option<Pid> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
        let folder = fs::read_link(proc(pid).join("cwd")).ok()?;
        (folder == self.data() && !has_ended(pid)).then_some(pid)
    }

    /// Starts the process in a session of its own, so that it outlives this command and the terminal.
    ///
    /// # Errors
    /// The address is taken, or the program cannot be started.
    pub fn spawn(&self, command: &Command) -> Result<(), String> {
        self.wait_for_address()?;
        let start = || {
            fs::create_dir_all(self.data())?;
            let log = File::options().create(true).append(true).open(self.log())?;
            // Each becomes the program that it is given, under the same pid.
            let mut words = vec![OsStr::new("setsid")];
            if let Some(namespace) = &self.namespace {
                words.extend(["ip", "netns", "exec", namespace].map(OsStr::new));
            }
            words.push(command.get_program());
            words.extend(command.get_args());
            let mut whole = Command::new(words[0]);
            whole.args(&words[1..]).current_dir(self.data());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => whole.env(name, value),
                    None => whole.env_remove(name),
                };
            }
            let child = whole.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
            fs::write(self.pid_file(), child.id().to_string())
        };
        start().map_err(|error: std::io::Error| format!("{} could not be started: {error}", self.name))
    }

    /// What had the address may be about to end. On a host of its own nobody else can have it.
    fn wait_for_address(&self) -> Result<(), String> {
        if self.namespace.is_some() {
            return Ok(());
        }
        let is_free = || Ok(TcpListener::bind(self.address()).is_ok());
        wait_for("a free address", PORT_LIMIT, is_free).map_err(|_| {
            format!(
                "{} is taken and cannot be that of {}: end the program that has it, or set \
                 HOLDFAST_SERVICES_DIR to the folder it was started with",
                self.address(),
                self.name
            )
        })
    }

    /// Waits until a process that was started does what it should.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn wait_until(&self, what: &str, is_so: impl FnMut() -> bool) -> Result<(), String> {
        self.wait_longer_until(what, LIMIT, is_so)
    }

    /// The same, for what may take longer than most.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn wait_longer_until(
        &self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let with_log = |error: String| {
            let last = self.log_tail(1).unwrap_or_default();
            format!("{error}; {} ends with: {}", self.log().display(), last.trim())
        };
        wait_for(&format!("{} {what}", self.name), limit, || {
            if is_so() {
                Ok(true)
            } else if self.pid().is_some() {
                Ok(false)
            } else {
                Err(format!("{} ended while it should start", self.name))
            }
        })
        .map_err(with_log)
    }

    /// Asks for an orderly end, also of a process that was paused. Returns whose end is to be waited for.
    fn ask_to_end(&self, by: Signal) -> Option<Pid> {
        let pid = self.pid()?;
        signal(pid, by);
        signal(pid, Signal::CONT);
        Some(pid)
    }

    /// Waits for the end. A process that does not come to it is killed.
    ///
    /// # Errors
    /// Not even that helps.
    fn wait_for_end(&self, pid: Pid) -> Result<(), String> {
        if wait_for("its end", LIMIT, || Ok(has_ended(pid))).is_err() {
            self.kill()?;
        }
        // A file that is left behind names no process of ours.
        let _ = fs::remove_file(self.pid_file());
        Ok(())
    }

    /// Ends the process as a crash does, and waits until the kernel has cleared it away.
    ///
    /// # Errors
    /// That takes too long.
    pub fn kill(&self) -> Result<(), String> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill_all(&[pid]).map_err(|error| format!("{}: {error}", self.name))
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> std::io::Result<String> {
        const READ_BYTES: u64 = 64 << 10;
        let mut file = File::open(self.log())?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(READ_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<_> = text.lines().collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    }
}

/// Ends processes at the same time.
///
/// # Errors
/// Something does not end.
pub fn end(processes: &[&Process]) -> Result<(), String> {
    end_by(processes, Signal::TERM)
}

/// Ends processes that take another signal than usual for an orderly end.
///
/// # Errors
/// Something does not end.
pub fn end_by(processes: &[&Process], signal: Signal) -> Result<(), String> {
    let asked: Vec<_> = processes.iter().map(|process| (process, process.ask_to_end(signal))).collect();
    asked.into_iter().try_for_each(|(process, pid)| pid.map_or(Ok(()), |pid| process.wait_for_end(pid)))
}

/// Ends processes as a crash does, all at once, and waits until the kernel has cleared them away.
///
/// # Errors
/// That takes too long.
pub fn kill_all(pids: &[Pid]) -> Result<(), String> {
    pids.iter().for_each(|pid| signal(*pid, Signal::KILL));
    wait_for("the end of what was killed", LIMIT, || Ok(pids.iter().all(|pid| has_ended(*pid))))
}

fn signal(pid: Pid, signal: Signal) {
    // It may have ended just now, which is as good.
    let _ = kill_process(pid, signal);
}

fn proc(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// Whether all threads are gone, and with them the files and ports that they had. A parent may not have asked
/// about the end yet.
fn has_ended(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(proc(pid).join("task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which may contain anything. Source: proc(5).
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with(['Z', 'X']))
    })
}
