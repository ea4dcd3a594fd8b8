//! `holdfast drill`: breaks a shop on purpose while customers buy, and proves afterwards that nothing was lost.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::{BuildError, Stores};
use crate::auth::Tokens;
use crate::config::Config;
use crate::data_dir::DataDirError;
use crate::drill::check::{self, Findings, Promise};
use crate::drill::customers::{self, Crowd, Habits};
use crate::drill::faults::{self, Breaker, Schedule};
use crate::drill::figures::{self, Figures};
use crate::drill::history::{Header, Promises, Recorder};
use crate::load::{Target, Trust};
use crate::ports::clock::{Clock as _, SystemClock};
use crate::shutdown;

use super::output::Progress;
use super::{Common, output, token};

/// How long the shop may take afterwards to come to rest, and its background to compare and repeat.
const REST: Duration = Duration::from_secs(120);

/// Pause before a check that could not be carried out is tried again.
const CHECK_PAUSE: Duration = Duration::from_secs(2);

/// Tokens outlive the load by this much.
const TOKENS_OUTLIVE: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Args)]
#[command(after_help = "Examples:
  holdfast drill --target https://10.77.0.100 --insecure --config target/lab/holdfast.toml \\
    --faults deploy/lab/faults.toml --history drill.jsonl --report drill.md
  holdfast drill --target http://127.0.0.1:8080 --for 60 --history calm.jsonl
The products are created with an administrator's token made from the secret in --data-dir or --config. docs/DRILL.md
describes the files.")]
pub struct DrillArgs {
    /// The running shop, http or https
    #[arg(long, value_name = "URL")]
    target: String,
    /// What to break and how to mend it; without it nothing is broken
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Where to write down what happens
    #[arg(long, value_name = "FILE")]
    history: PathBuf,
    /// Certificates (PEM) of the authorities to believe, instead of the public ones
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any certificate
    #[arg(long)]
    insecure: bool,
    /// Requests a second: 80 % views, 20 % purchases
    #[arg(long, value_name = "RATE", default_value_t = 100.0)]
    rate: f64,
    /// Customers that buy in turn
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    buyers: u64,
    /// Write the table into this file, in Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// For what customers buy and which fault comes when; chosen and told when left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A random fault every so many seconds, instead of each in turn
    #[arg(long, value_name = "S", requires = "faults", requires = "lasts")]
    every: Option<f64>,
    /// Seconds in all, with --every or without faults
    #[arg(long = "for", value_name = "S", id = "lasts")]
    lasts: Option<f64>,
    /// Milliseconds that a view may take
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    view_timeout: u64,
    /// Milliseconds that each attempt of a purchase may take
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    purchase_timeout: u64,
    /// Seconds after which a customer gives up
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    give_up: f64,
}

/// What a drill has shown.
#[derive(Serialize)]
struct Drilled {
    figures: Figures,
    /// None: it could not be checked here.
    findings: Option<Findings>,
    not_checked: Option<String>,
    /// Why the faults ended early.
    fault_failed: Option<String>,
}

pub async fn run(args: DrillArgs, common: Common) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| {
        let bytes = SystemClock.secret();
        // Few digits are easier to type again.
        u64::from(u32::from_le_bytes(*bytes.first_chunk().expect("32 bytes")))
    });
    let schedule = schedule(&args, seed)?;
    let habits = habits(&args, seed, schedule.length())?;
    let trust = match &args.ca {
        Some(file) => Trust::Authority(file.clone()),
        None if args.insecure => Trust::Anyone,
        None => Trust::Public,
    };
    let target = Target::parse_trusting(&args.target, &trust).await?;
    let mut config = common.load(None)?;
    // A token has to last as long as the drill.
    let tokens_last = (schedule.length() * 2 + TOKENS_OUTLIVE).as_secs();
    config.auth.token_ttl_s = config.auth.token_ttl_s.max(tokens_last);
    let tokens = token::tokens(&config)?;
    let cannot_write = |path: &Path| format!("{} cannot be written", path.display());
    if let Some(report) = &args.report {
        writable(report).with_context(|| cannot_write(report))?;
    }
    let file = writable(&args.history).with_context(|| cannot_write(&args.history))?;
    let header = customers::prepare(&target, &args.target, &tokens, &habits).await?;
    file.set_len(0).with_context(|| cannot_write(&args.history))?;
    if !common.json {
        let length = schedule.length().as_secs_f64();
        eprintln!("holdfast: seed {seed}, about {length:.0} s at {} requests/s", args.rate);
    }
    let fault_failed = drive(&args, schedule, &target, &header, habits, &tokens, file, common.json).await?;

    let figures = figures::read(&args.history)?;
    let checked = check_here(&config, &args.history, common.json).await;
    let (findings, not_checked, check_failed) = match checked {
        Ok(Checked::Yes(findings)) => (Some(*findings), None, None),
        Ok(Checked::No(why)) => (None, Some(why), None),
        Err(error) => (None, Some(format!("not checked: {error:#}")), Some(error)),
    };
    let drilled = Drilled { figures, findings, not_checked, fault_failed };
    if let Some(report) = &args.report {
        std::fs::write(report, drilled.markdown()).with_context(|| cannot_write(report))?;
    }
    output::print(common.json, &drilled, || drilled.text());
    if drilled.findings.as_ref().is_some_and(|findings| !findings.are_clean()) {
        return Ok(ExitCode::FAILURE);
    }
    match (drilled.fault_failed, check_failed) {
        (Some(why), _) => Err(anyhow!(why)),
        (None, Some(error)) => Err(error.context("the history was not checked")),
        (None, None) => Ok(ExitCode::SUCCESS),
    }
}

/// Opens a file for writing, before anything is done for which there would be no place. What is in it stays for now.
fn writable(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(false).open(path)
}

fn schedule(args: &DrillArgs, seed: u64) -> anyhow::Result<Schedule> {
    let lasts = match args.lasts {
        Some(lasts) => {
            ensure!((1.0..=86_400.0).contains(&lasts), "--for has to be between 1 and 86400");
            Some(Duration::from_secs_f64(lasts))
        }
        None => None,
    };
    let Some(file) = &args.faults else {
        let lasts = lasts.context("without --faults, --for has to say how long")?;
        return Ok(Schedule::Calm(lasts));
    };
    let faults = faults::read(file)?;
    match (args.every, lasts) {
        (Some(every), Some(lasts)) => {
            ensure!((1.0..=86_400.0).contains(&every), "--every has to be between 1 and 86400");
            let every = Duration::from_secs_f64(every);
            ensure!(every <= lasts, "--every cannot be longer than --for");
            Ok(Schedule::Soak { faults, every, lasts, seed })
        }
        (None, Some(_)) => bail!("--for belongs to --every: without it each fault comes as often as it says"),
        (_, None) => Ok(Schedule::Listed(faults)),
    }
}

fn habits(args: &DrillArgs, seed: u64, length: Duration) -> anyhow::Result<Habits> {
    ensure!((1.0..=100_000.0).contains(&args.rate), "--rate has to be between 1 and 100000");
    ensure!((1..=1_000_000).contains(&args.buyers), "--buyers has to be between 1 and 1000000");
    for (name, ms) in [("--view-timeout", args.view_timeout), ("--purchase-timeout", args.purchase_timeout)] {
        ensure!((1..=600_000).contains(&ms), "{name} has to be between 1 and 600000");
    }
    ensure!((0.0..=3_600.0).contains(&args.give_up), "--give-up has to be between 0 and 3600");
    Ok(Habits {
        rate_per_second: args.rate,
        customers: args.buyers,
        view_timeout: Duration::from_millis(args.view_timeout),
        purchase_timeout: Duration::from_millis(args.purchase_timeout),
        give_up: Duration::from_secs_f64(args.give_up),
        seed,
        length,
    })
}

#[expect(clippy::too_many_arguments, reason = "each is another part of a drill")]
/// Lets customers in and carries the faults out; says why the faults ended early.
async fn drive(
    args: &DrillArgs,
    schedule: Schedule,
    target: &Target,
    header: &Header,
    habits: Habits,
    tokens: &Tokens,
    file: File,
    json: bool,
) -> anyhow::Result<Option<String>> {
    let cannot_write = || format!("{} cannot be written", args.history.display());
    let stop_requested = shutdown::requested().context("cannot listen for signals")?;
    let (recorder, writing) = Recorder::begin(file, header).with_context(cannot_write)?;
    let working = Crowd::start(target, header.clone(), habits, tokens, recorder.clone());
    let (stop, stopped) = watch::channel(false);
    let announce: fn(&str) = if json { |_| () } else { |what| eprintln!("holdfast: {what}") };
    let breaker = Breaker { recorder: recorder.clone(), stop: stopped, announce };
    let breaking = tokio::spawn(async move { breaker.run(&schedule).await });
    tokio::pin!(breaking);
    let (interrupted, broken) = tokio::select! {
        broken = &mut breaking => (false, broken),
        () = stop_requested => {
            eprintln!("holdfast: ends early; what is broken is mended first");
            let _ = stop.send(true);
            (true, breaking.await)
        }
        () = recorder.failed() => {
            let _ = stop.send(true);
            (true, breaking.await)
        }
    };
    let broken = broken.context("the faults have stopped by themselves")?;
    working.close(interrupted || broken.is_err()).await?;
    // The customers who are still inside have the last copies.
    drop(recorder);
    let written = tokio::task::spawn_blocking(|| writing.join()).await.ok().and_then(Result::ok);
    written.context("the history has stopped by itself")?.with_context(cannot_write)?;
    Ok(broken.err().map(|error| error.to_string()))
}

/// Whether a history could be checked on this machine, now.
enum Checked {
    Yes(Box<Findings>),
    No(String),
}

/// Checks a history that was just made. The stores of one process can be opened when it has ended only; those of a
/// cluster may not be back yet.
async fn check_here(config: &Config, history: &Path, json: bool) -> anyhow::Result<Checked> {
    let (header, promises) = check::read_promises(history)?;
    let until = Instant::now() + REST;
    loop {
        let error = match check_once(config, &header, &promises, json).await {
            Ok(findings) => return Ok(Checked::Yes(Box::new(findings))),
            Err(error) => error,
        };
        if let Some(BuildError::DataDir(DataDirError::InUse { .. })) = error.downcast_ref() {
            let file = history.display();
            let why = format!("not checked here: stop the shop and run holdfast audit --history {file}");
            return Ok(Checked::No(why));
        }
        if Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(CHECK_PAUSE).await;
    }
}

async fn check_once(
    config: &Config,
    header: &Header,
    promises: &Promises,
    json: bool,
) -> anyhow::Result<Findings> {
    let stores = Stores::open_existing(config).await?;
    check::at_rest(&stores, header, REST).await?;
    checked(&stores, header, promises, REST, json).await
}

/// `holdfast audit --history`: checks a history against the stores of a shop at rest.
pub async fn audit(history: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let (header, promises) = check::read_promises(history)?;
    let stores = Stores::open_existing(&common.load(None)?).await?;
    let findings = checked(&stores, &header, &promises, Duration::ZERO, common.json).await?;
    output::print(common.json, &findings, || describe(&findings));
    Ok(if findings.are_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn checked(
    stores: &Stores,
    header: &Header,
    promises: &Promises,
    patience: Duration,
    json: bool,
) -> anyhow::Result<Findings> {
    let mut progress = Progress::new("orders", None, json);
    let findings = check::check(stores, header, promises, patience, |orders| progress.at(orders)).await?;
    progress.finish();
    Ok(findings)
}

impl Drilled {
    fn text(&self) -> String {
        let mut text = self.figures.text();
        text.push('\n');
        match &self.findings {
            Some(findings) => text.push_str(&describe(findings)),
            None => text.push_str(self.not_checked.as_deref().unwrap_or_default()),
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("# Drill\n\n{}\n", self.figures.markdown());
        match &self.findings {
            Some(findings) => {
                let _ = writeln!(text, "```\n{}```", describe(findings));
            }
            None => {
                let _ = writeln!(text, "{}", self.not_checked.as_deref().unwrap_or_default());
            }
        }
        if let Some(why) = &self.fault_failed {
            let _ = writeln!(text, "\nThe faults ended early: {why}");
        }
        text
    }
}

/// Counts of broken promises, with examples, and what the audit says.
fn describe(findings: &Findings) -> String {
    let Findings { purchases, acknowledged, orders, .. } = findings;
    let mut text = format!(
        "checked      {purchases} purchases, {acknowledged} acknowledged, {orders} orders in the ledger\n"
    );
    let counts = [Promise::Lost, Promise::Duplicated, Promise::Oversold, Promise::ChargedWithoutOrder]
        .map(|promise| format!("{} {}", findings.count(promise), promise.name().replace('-', " ")));
    let _ = writeln!(text, "promises     {}", counts.join(", "));
    for (promise, broken) in findings.broken.iter().filter(|(_, broken)| broken.count > 0) {
        let _ = writeln!(text, "BROKEN       {}: {}", promise.name(), broken.count);
        for example in &broken.examples {
            let _ = writeln!(text, "             {example}");
        }
    }
    match &findings.audit.broken {
        None => text.push_str("audit        every invariant holds\n"),
        Some(broken) => {
            let _ = writeln!(text, "BROKEN       {}: {}", broken.invariant, broken.detail);
        }
    }
    text
}
