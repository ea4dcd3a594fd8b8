//! What is broken and mended during a drill, and when: commands from a file, one after the other, or one of them at
//! random again and again.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::{Phase, Record, Recorder, Step};

/// Seconds that make sense for any part of a fault.
const SECONDS_MAX: f64 = 86_400.0;

/// How often a fault may be repeated.
const TIMES_MAX: u32 = 1_000;

/// Bytes of a command's output that are kept, from its end.
const OUTPUT_MAX: u64 = 4_096;

/// The name of what is not a fault, in the history.
pub const NO_FAULT: &str = "no fault";

/// Something that is broken, and mended after a while.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub name: String,
    /// For `sh -c`.
    #[serde(rename = "break")]
    pub break_command: String,
    /// For `sh -c`; none where the command that breaks also mends.
    #[serde(rename = "mend", default)]
    pub mend_command: Option<String>,
    /// From the end of the one command to the beginning of the other.
    #[serde(rename = "lasts_s", default = "lasts_s")]
    lasts_s: f64,
    /// How long to look on after it was mended.
    #[serde(default = "settle_s")]
    settle_s: f64,
    /// How long nothing is broken before it.
    #[serde(default = "calm_s")]
    calm_s: f64,
    #[serde(default = "times")]
    pub times: u32,
    /// How long each command may take.
    #[serde(default = "within_s")]
    within_s: f64,
}

fn lasts_s() -> f64 {
    10.0
}

fn settle_s() -> f64 {
    20.0
}

fn calm_s() -> f64 {
    10.0
}

fn times() -> u32 {
    1
}

fn within_s() -> f64 {
    120.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsFile {
    fault: Vec<Fault>,
}

/// Why a file is none of faults.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FaultsError {
    path: String,
    reason: String,
}

/// Reads a file of faults.
///
/// # Errors
/// It cannot be read, or says something that makes no sense.
pub fn read(path: &Path) -> Result<Vec<Fault>, FaultsError> {
    let failed = |reason: String| FaultsError { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> Result<Vec<Fault>, String> {
    let file: FaultsFile = Figment::from(Toml::string(text)).extract().map_err(|error| error.to_string())?;
    if file.fault.is_empty() {
        return Err("there is no [[fault]] in it".into());
    }
    for fault in &file.fault {
        let name = &fault.name;
        if name.trim().is_empty() || name == NO_FAULT {
            return Err(format!("a fault cannot have the name {name:?}"));
        }
        let mend = fault.mend_command.as_deref();
        if fault.break_command.trim().is_empty() || mend.is_some_and(|mend| mend.trim().is_empty()) {
            return Err(format!("{name}: a command is empty"));
        }
        for (what, seconds) in [
            ("lasts_s", fault.lasts_s),
            ("settle_s", fault.settle_s),
            ("calm_s", fault.calm_s),
            ("within_s", fault.within_s),
        ] {
            if !(0.0..=SECONDS_MAX).contains(&seconds) {
                return Err(format!("{name}: {what} has to be 0 to {SECONDS_MAX}"));
            }
        }
        if !(1..=TIMES_MAX).contains(&fault.times) {
            return Err(format!("{name}: times has to be 1 to {TIMES_MAX}"));
        }
    }
    Ok(file.fault)
}

/// What happens to the shop while customers buy.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// Nothing, for this long.
    Calm(Duration),
    /// Each of the faults as often as it says.
    Listed(Vec<Fault>),
    /// One of the faults at random `every` so often, for this long.
    Soak { faults: Vec<Fault>, every: Duration, lasts: Duration, seed: u64 },
}

impl Schedule {
    /// How long it takes, commands aside.
    pub fn length(&self) -> Duration {
        match self {
            Self::Calm(lasts) | Self::Soak { lasts, .. } => *lasts,
            Self::Listed(faults) => faults.iter().map(|fault| fault.length() * fault.times).sum(),
        }
    }
}

/// Why the faults could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum FaultFailed {
    #[error("{fault}: the command {command:?} has failed{how}")]
    Command { fault: String, command: String, how: String },
    #[error("{fault}: the command {command:?} cannot be started: {source}")]
    Start { fault: String, command: String, source: io::Error },
}

impl Fault {
    fn lasts(&self) -> Duration {
        match self.mend_command {
            Some(_) => Duration::from_secs_f64(self.lasts_s),
            None => Duration::ZERO,
        }
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.calm_s + self.settle_s) + self.lasts()
    }
}

/// Carries faults out.
pub struct Breaker {
    pub recorder: Recorder,
    /// Turns true when the drill is to end early.
    pub stop: watch::Receiver<bool>,
    /// Is told what happens, for whoever is waiting.
    pub announce: fn(&str),
}

impl Breaker {
    /// Carries the schedule out. What is broken is mended, whatever happens.
    ///
    /// # Errors
    /// The first command that failed; nothing is broken after it.
    pub async fn run(mut self, schedule: &Schedule) -> Result<(), FaultFailed> {
        match schedule {
            Schedule::Calm(lasts) => {
                self.recorder.enter(NO_FAULT, 1, Phase::During).await;
                self.wait(*lasts).await;
            }
            Schedule::Listed(faults) => {
                for fault in faults {
                    for run in 1..=fault.times {
                        let settle = Duration::from_secs_f64(fault.settle_s);
                        self.recorder.enter(&fault.name, run, Phase::Before).await;
                        if !self.wait(Duration::from_secs_f64(fault.calm_s)).await {
                            return Ok(());
                        }
                        self.break_and_mend(fault, run, fault.lasts(), settle).await?;
                    }
                }
            }
            Schedule::Soak { faults, every, lasts, seed } => self.soak(faults, *every, *lasts, *seed).await?,
        }
        Ok(())
    }

    async fn soak(
        &mut self,
        faults: &[Fault],
        every: Duration,
        lasts: Duration,
        seed: u64,
    ) -> Result<(), FaultFailed> {
        let started = Instant::now();
        let end = started + lasts;
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut runs = vec![0; faults.len()];
        loop {
            let chosen = dice.random_range(0..faults.len());
            let fault = &faults[chosen];
            runs[chosen] += 1;
            // The next multiple that leaves some calm before it; commands may have taken longer than planned.
            let gone = started.elapsed() + Duration::from_secs_f64(fault.calm_s).min(every / 4);
            let due =
                started + every * u32::try_from(gone.as_nanos() / every.as_nanos() + 1).unwrap_or(u32::MAX);
            let lasts = fault.lasts().min(every / 2);
            self.recorder.enter(&fault.name, runs[chosen], Phase::Before).await;
            if due + lasts >= end {
                self.wait(end.saturating_duration_since(Instant::now())).await;
                return Ok(());
            }
            if !self.wait(due.saturating_duration_since(Instant::now())).await {
                return Ok(());
            }
            let settle = Duration::from_secs_f64(fault.settle_s).min(every / 4);
            self.break_and_mend(fault, runs[chosen], lasts, settle).await?;
        }
    }

    async fn break_and_mend(
        &mut self,
        fault: &Fault,
        run: u32,
        lasts: Duration,
        settle: Duration,
    ) -> Result<(), FaultFailed> {
        self.recorder.enter(&fault.name, run, Phase::During).await;
        let broken = self.command(fault, run, Step::Break, &fault.break_command).await;
        if broken.is_ok() {
            self.wait(lasts).await;
        }
        // A command that failed may have broken something all the same.
        let mended = match &fault.mend_command {
            Some(mend) => self.command(fault, run, Step::Mend, mend).await,
            None => Ok(()),
        };
        self.recorder.enter(&fault.name, run, Phase::After).await;
        broken.and(mended)?;
        self.wait(settle).await;
        Ok(())
    }

    /// Waits; `false` when the drill is to end early.
    async fn wait(&mut self, time: Duration) -> bool {
        let stopped = self.stop.wait_for(|stop| *stop);
        tokio::time::timeout(time, stopped).await.is_err()
    }

    async fn command(&self, fault: &Fault, run: u32, step: Step, command: &str) -> Result<(), FaultFailed> {
        let what = if step == Step::Break { "break" } else { "mend" };
        (self.announce)(&format!("{}, run {run}: {what}", fault.name));
        let start_us = self.recorder.now();
        let ended = execute(command, Duration::from_secs_f64(fault.within_s)).await;
        let (exit, output) = ended.map_err(|source| FaultFailed::Start {
            fault: fault.name.clone(),
            command: command.to_owned(),
            source,
        })?;
        let (name, end_us) = (fault.name.clone(), self.recorder.now());
        let last = output.lines().last().unwrap_or_default().to_owned();
        self.recorder.tell(Record::Command { fault: name, run, step, start_us, end_us, exit, output }).await;
        let how = match exit {
            Some(0) => return Ok(()),
            Some(code) => format!(" with exit code {code}"),
            None => format!(", because it took longer than {} s", fault.within_s),
        };
        let how = if last.is_empty() { how } else { format!("{how}: {last}") };
        Err(FaultFailed::Command { fault: fault.name.clone(), command: command.to_owned(), how })
    }
}

/// Runs a command to its end, at most for `within`: its exit code (128 and more: a signal) and the end of what it has
/// printed.
async fn execute(command: &str, within: Duration) -> io::Result<(Option<i32>, String)> {
    // A file and not a pipe: what the command leaves running may keep it open.
    let mut output = File::from(memfd_create("output", MemfdFlags::CLOEXEC)?);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    shell.stdout(output.try_clone()?).stderr(output.try_clone()?);
    // So that an interrupt at the terminal is for the drill alone, which mends first.
    shell.process_group(0);
    let mut child = tokio::process::Command::from(shell).spawn()?;
    let exit = match tokio::time::timeout(within, child.wait()).await {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt as _;
            let status = status?;
            Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
        }
        Err(_) => {
            if let Some(group) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait().await?;
            None
        }
    };
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_MAX)))?;
    let mut bytes = Vec::new();
    output.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
    Ok((exit, String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_a_name_and_a_command_and_the_rest_is_usual() {
        let faults =
            parse("[[fault]]\nname = 'db'\nbreak = 'down'\nmend = 'up'\nlasts_s = 3").expect("a fault");
        assert_eq!((faults[0].lasts(), faults[0].times), (Duration::from_secs(3), 1));
        // Nothing is waited for where nothing is to be mended.
        let faults = parse("[[fault]]\nname = 'restart'\nbreak = 'restart'").expect("a fault");
        assert_eq!(faults[0].lasts(), Duration::ZERO);
        assert_eq!(Schedule::Listed(faults).length(), Duration::from_secs(30));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (wrong, why) in [
            ("", "fault"),
            ("fault = []", "no [[fault]]"),
            ("[[fault]]\nname = 'db'", "break"),
            ("[[fault]]\nbreak = 'down'", "name"),
            ("[[fault]]\nname = 'db'\nbreak = ' '", "empty"),
            ("[[fault]]\nname = 'db'\nbreak = 'down'\nlength = 3", "length"),
            ("[[fault]]\nname = 'db'\nbreak = 'down'\nlasts_s = -1", "lasts_s"),
            ("[[fault]]\nname = 'db'\nbreak = 'down'\nsettle_s = nan", "settle_s"),
            ("[[fault]]\nname = 'db'\nbreak = 'down'\ntimes = 0", "times"),
            ("[[fault]", "TOML"),
        ] {
            let found = parse(wrong).expect_err(wrong);
            assert!(found.contains(why), "{wrong:?}: {found}");
        }
    }

    #[test]
    fn the_faults_of_the_lab_make_sense() {
        let faults = parse(include_str!("../../deploy/lab/faults.toml")).expect("faults");
        for host in ["app-1", "app-2", "db-1", "db-2", "rk-1", "rk-2", "primary"] {
            let killed = format!("{host} killed");
            let times = faults.iter().filter(|fault| fault.name == killed).map(|fault| fault.times);
            assert_eq!(times.sum::<u32>(), 3, "{killed}");
        }
        parse(include_str!("../../deploy/lab/soak.toml")).expect("faults");
    }

    #[tokio::test]
    async fn a_command_is_bounded_and_its_output_kept() {
        let minute = Duration::from_secs(60);
        let (exit, output) = execute("echo one; echo two >&2; exit 3", minute).await.expect("a shell");
        assert_eq!((exit, &*output), (Some(3), "one\ntwo"));
        // What is left running is not waited for.
        let (exit, output) = execute("sleep 5 & echo left", Duration::from_secs(4)).await.expect("a shell");
        assert_eq!((exit, &*output), (Some(0), "left"));
        let (exit, _) = execute("sleep 60", Duration::from_millis(50)).await.expect("a shell");
        assert_eq!(exit, None);
    }
}
