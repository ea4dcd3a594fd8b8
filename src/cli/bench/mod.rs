//! `holdfast bench`: how fast a shop sells and shows.
//!
//! With `--target` it puts a load on a running shop. Without, it measures this machine: it starts a
//! shop of its own, and beside every figure of it the ceilings of the same minute, because figures
//! of different minutes cannot be compared on a shared machine.

mod ceilings;
mod child;
mod sources;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::load::{Answer, Pace, Plan, Report, Target, Until, floor, run};

use super::output::Progress;
use super::{Common, output, token};
use child::{Child, Usage};
use sources::{Goods, Load, Source};

/// How long a request may wait for its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(after_help = "Examples:
  holdfast bench                                            this machine, with its ceilings
  holdfast bench --target http://127.0.0.1:8080             sales of one product, closed loop
  holdfast bench --target http://127.0.0.1:8080 --load mixed --rate 6000 --connections 1000
With --target, the products to sell are created with an administrator's token made from the secret in
--data-dir or --config.")]
pub struct BenchArgs {
    /// A running shop; without it, a shop is started for the measurement
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// What to ask for; mixed is 80 % views and 20 % sales
    #[arg(long, value_enum, default_value = "sales", requires = "target")]
    load: LoadKind,
    /// Requests a second by the clock instead of as fast as answers come
    #[arg(long, value_name = "RATE", requires = "target")]
    rate: Option<f64>,
    /// Products to sell
    #[arg(long, value_name = "N", default_value_t = 1, requires = "target")]
    products: usize,
    /// Units of each product
    #[arg(long, value_name = "UNITS", default_value_t = 1_000_000_000, requires = "target")]
    stock: i64,
    /// Connections; several numbers are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,64,256,1024")]
    connections: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Customers that buy in turn: so many that none of them buys too often
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    users: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadKind {
    Sales,
    Views,
    Mixed,
}

/// One measurement.
#[derive(Serialize)]
struct Figure {
    what: String,
    connections: usize,
    report: Report,
    /// What the server process used meanwhile, where it is ours to ask.
    server: Option<Usage>,
}

pub async fn run_command(args: BenchArgs, common: Common) -> anyhow::Result<ExitCode> {
    ensure!(
        args.seconds > 0.0 && args.seconds <= 86_400.0,
        "--seconds has to be more than 0 and at most 86400"
    );
    ensure!(args.users > 0, "--users has to be at least 1");
    ensure!(args.products > 0, "--products has to be at least 1");
    ensure!(args.stock >= 0, "--stock cannot be negative");
    // Before there are products to sell.
    ensure!(
        args.rate.is_none_or(|rate| (0.001..=1e9).contains(&rate)),
        "--rate has to be between 0.001 and 1000000000"
    );
    ensure!(args.connections.iter().all(|n| *n > 0), "--connections are at least 1 each");
    match &args.target {
        Some(target) => against(&args, &common, target).await,
        None => whole_machine(&args, &common).await,
    }
}

async fn against(args: &BenchArgs, common: &Common, target: &str) -> anyhow::Result<ExitCode> {
    let target = Target::parse(target).await?;
    let tokens = token::tokens(&common.load(None)?)?;
    let goods = Goods::create(&target, &tokens, args.products, args.stock, args.users).await?;
    let pace = args.rate.map_or(Pace::Closed, |rate_per_second| Pace::Open { rate_per_second });
    let (what, load) = match args.load {
        LoadKind::Sales => ("sales", Load::Sales),
        LoadKind::Views => ("views", Load::Views),
        LoadKind::Mixed => ("80 % views", Load::Mixed),
    };
    let mut figures = Vec::new();
    for connections in &args.connections {
        figures.push(measure(args, common, what, &target, &goods, load, pace, *connections, None).await?);
    }
    output::print(common.json, &figures, || {
        figures
            .iter()
            .map(|figure| format!("{}\n{}", figure.what, figure.report))
            .collect::<Vec<_>>()
            .join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

/// The figures of this machine.
#[derive(Serialize)]
struct Machine {
    /// Rows of 400 bytes written straight into SQLite, 512 a transaction, as durable as the ledger.
    sqlite_rows_per_second: f64,
    figures: Vec<Figure>,
    /// For each number of connections: rates divided by the empty handler's.
    ratios: Vec<Ratios>,
}

#[derive(Serialize)]
struct Ratios {
    connections: usize,
    empty_handler_per_second: f64,
    hot_sales_ratio: f64,
    spread_sales_ratio: f64,
    views_ratio: f64,
    hot_sales_p99_ms: f64,
}

async fn whole_machine(args: &BenchArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let scratch = Scratch::create()?;
    let sqlite = ceilings::sqlite_rows_per_second(&scratch.0, Duration::from_secs_f64(args.seconds))?;
    let floor_child = Child::floor().await?;
    let shop_child = Child::shop(&scratch.0).await?;
    let floor_target = Target::parse(floor_child.url()).await?;
    let shop = Target::parse(shop_child.url()).await?;
    let tokens = token::tokens(&Common { data_dir: Some(scratch.0.clone()), ..common.clone() }.load(None)?)?;
    let hot = Goods::create(&shop, &tokens, 1, args.stock, args.users).await?;
    let spread = Goods::create(&shop, &tokens, 1_000, args.stock, args.users).await?;

    let mut figures = Vec::new();
    let mut ratios = Vec::new();
    for &connections in &args.connections {
        let length = Duration::from_secs_f64(args.seconds);
        let before = floor_child.usage()?;
        let report = floor::measure(floor_target.clone(), connections, warm_up(args), length).await?;
        let server = Some(floor_child.usage()?.since(&before));
        figures.push(Figure { what: "empty handler".into(), connections, report, server });
        for (what, goods, load) in [
            ("sales of one product", &hot, Load::Sales),
            ("sales of 1,000 products", &spread, Load::Sales),
            ("views", &spread, Load::Views),
        ] {
            let child = Some(&shop_child);
            let figure =
                measure(args, common, what, &shop, goods, load, Pace::Closed, connections, child).await?;
            figures.push(figure);
        }
        ratios.push(ratios_of(connections, &figures[figures.len() - 4..]));
    }
    let machine = Machine { sqlite_rows_per_second: sqlite, figures, ratios };
    output::print(common.json, &machine, || describe(&machine));
    Ok(ExitCode::SUCCESS)
}

fn warm_up(args: &BenchArgs) -> Duration {
    Duration::from_secs_f64((args.seconds / 5.0).min(2.0))
}

#[expect(clippy::too_many_arguments, reason = "each names one thing that differs between measurements")]
async fn measure(
    args: &BenchArgs,
    common: &Common,
    what: &str,
    target: &Target,
    goods: &Arc<Goods>,
    load: Load,
    pace: Pace,
    connections: usize,
    child: Option<&Child>,
) -> anyhow::Result<Figure> {
    let finished = Arc::new(AtomicU64::new(0));
    let plan = Plan {
        target: target.clone(),
        pace,
        warm_up: warm_up(args),
        until: Until::Elapsed(Duration::from_secs_f64(args.seconds)),
        timeout: TIMEOUT,
        finished: Arc::clone(&finished),
    };
    let sources: Vec<Source> = (0..connections).map(|index| Source::new(goods, load, index)).collect();
    let before = child.map(Child::usage).transpose()?;
    let mut progress = Progress::new("requests", None, common.json);
    let running = run(plan, sources);
    tokio::pin!(running);
    let report = loop {
        tokio::select! {
            report = &mut running => break report?,
            () = tokio::time::sleep(Duration::from_millis(500)) => progress.at(finished.load(Ordering::Relaxed)),
        }
    };
    progress.finish();
    let server = match (child, before) {
        (Some(child), Some(before)) => Some(child.usage()?.since(&before)),
        _ => None,
    };
    Ok(Figure { what: what.into(), connections, report, server })
}

/// From the figures of one number of connections: empty handler, hot, spread, views.
fn ratios_of(connections: usize, figures: &[Figure]) -> Ratios {
    let rate = |index: usize, answer| {
        let answers = &figures[index].report.answers;
        answers.get(&answer).map_or(0.0, |answers| answers.per_second)
    };
    let empty = rate(0, Answer::Other);
    let p99 = figures[1].report.answers.get(&Answer::Sale).map_or(0, |answers| answers.latency_us.p99);
    Ratios {
        connections,
        empty_handler_per_second: empty,
        hot_sales_ratio: rate(1, Answer::Sale) / empty,
        spread_sales_ratio: rate(2, Answer::Sale) / empty,
        views_ratio: rate(3, Answer::View) / empty,
        hot_sales_p99_ms: p99 as f64 / 1000.0,
    }
}

fn describe(machine: &Machine) -> String {
    let mut text =
        format!("raw SQLite: {:.0} rows/s of 400 bytes, 512 a commit\n\n", machine.sqlite_rows_per_second);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:>6}  {:<24} {:>10} {:>9} {:>9} {:>9} {:>8} {:>12} {:>9}",
        "conns", "what", "answers/s", "p50 ms", "p99 ms", "p99.9 ms", "others", "server µs", "server MB"
    );
    for figure in &machine.figures {
        let main = figure.report.answers.iter().max_by_key(|(_, answers)| answers.count);
        let Some((_, answers)) = main else { continue };
        let latency = answers.latency_us;
        let ms = |us: u64| us as f64 / 1000.0;
        let (cpu, memory) = figure.server.as_ref().map_or((0.0, 0), |server| {
            // Processor time of the warm-up is in it, requests of the warm-up are not.
            (server.cpu_s * 1e6 / figure.report.requests.max(1) as f64, server.memory_bytes >> 20)
        });
        let _ = writeln!(
            text,
            "{:>6}  {:<24} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>8} {:>12.1} {:>9}",
            figure.connections,
            figure.what,
            answers.per_second,
            ms(latency.p50),
            ms(latency.p99),
            ms(latency.p99_9),
            figure.report.requests - answers.count,
            cpu,
            memory
        );
    }
    let _ = writeln!(text, "\nOf the empty handler's rate in the same minute:");
    let _ = writeln!(text, "{:>6} {:>12} {:>12} {:>8}", "conns", "one product", "1,000", "views");
    for ratios in &machine.ratios {
        let _ = writeln!(
            text,
            "{:>6} {:>12.3} {:>12.3} {:>8.3}",
            ratios.connections, ratios.hot_sales_ratio, ratios.spread_sales_ratio, ratios.views_ratio
        );
    }
    text
}

/// Serves the empty handler, for the measurement of another process.
pub async fn run_floor() -> anyhow::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    println!("{}", serde_json::json!({ "shop": format!("http://{}", listener.local_addr()?) }));
    floor::serve_empty(listener).await?;
    Ok(ExitCode::SUCCESS)
}

/// A directory on the disk that a shop would use, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> anyhow::Result<Self> {
        let path = PathBuf::from(format!("holdfast-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}
