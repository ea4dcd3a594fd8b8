//! One process that outlives this command: started, found again by its pid file, and ended.
//!
//! A pid alone may by now belong to anybody. A process is ours when its command line names our data folder.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{LIMIT, wait_for};

/// How long a new process may take until its command line can be seen.
const EXEC_LIMIT_MS: u64 = 50;

/// How long an address may stay taken.
const PORT_LIMIT: Duration = Duration::from_secs(5);

/// A process with a folder of its own for data, log and pid file.
pub struct Process {
    pub name: &'static str,
    pub port: u16,
    folder: PathBuf,
}

impl Process {
    /// `state` is an absolute path.
    pub fn new(name: &'static str, port: u16, state: &Path) -> Self {
        Self { name, port, folder: state.join(name) }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
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
        for _ in 0..EXEC_LIMIT_MS {
            let command_line = fs::read(proc(pid).join("cmdline")).ok()?;
            if !command_line.is_empty() {
                let data = self.data().into_os_string().into_encoded_bytes();
                let is_ours = command_line.split(|byte| *byte == 0).any(|argument| argument.ends_with(&data));
                return is_ours.then_some(pid);
            }
            // It is just becoming the program that it is to be, or coming to its end.
            if has_ended(pid) {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Starts the process in a session of its own, so that it outlives this command and the terminal.
    ///
    /// # Errors
    /// The address is taken, or the program cannot be started.
    pub fn spawn(&self, command: &Command) -> Result<(), String> {
        // What had it may be about to end.
        let is_free = || Ok(TcpListener::bind(self.address()).is_ok());
        wait_for("a free address", PORT_LIMIT, is_free).map_err(|_| {
            format!(
                "{} is taken and cannot be that of {}: end the program that has it, or set \
                 HOLDFAST_SERVICES_DIR to the folder it was started with",
                self.address(),
                self.name
            )
        })?;
        let start = || {
            let log = File::options().create(true).append(true).open(self.log())?;
            // It becomes the program that it is given, under the same pid.
            let child = Command::new("setsid")
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(self.data())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            fs::write(self.pid_file(), child.id().to_string())
        };
        start().map_err(|error: std::io::Error| format!("{} could not be started: {error}", self.name))
    }

    /// Waits until a process that was started does what it should.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
        let with_log = |error: String| {
            let last = self.log_tail(1).unwrap_or_default();
            format!("{error}; `cargo xtask services logs {}` ends with: {}", self.name, last.trim())
        };
        wait_for(&format!("{} {what}", self.name), LIMIT, || {
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
    fn ask_to_end(&self) -> Option<Pid> {
        let pid = self.pid()?;
        signal(pid, Signal::TERM);
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
        signal(pid, Signal::KILL);
        wait_for(&format!("the end of {}", self.name), LIMIT, || Ok(has_ended(pid)))
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
    let asked: Vec<_> = processes.iter().map(|process| (process, process.ask_to_end())).collect();
    asked.into_iter().try_for_each(|(process, pid)| pid.map_or(Ok(()), |pid| process.wait_for_end(pid)))
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
