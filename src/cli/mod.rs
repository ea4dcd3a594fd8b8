//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 the answer is no (a broken invariant, a failed check), 2 the command could
//! not be carried out; then one plain line on standard error says why.

mod audit;
mod bench;
mod doctor;
mod drill;
mod events;
mod gateway;
mod import;
mod output;
mod replay;
mod serve;
mod token;

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{Config, Flags, Role, ServerFlags};

/// Sells things that run out: never a unit twice, never an order lost.
#[derive(Parser)]
#[command(name = "holdfast", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  holdfast                                     start the shop in ./holdfast-data
  holdfast --listen 0.0.0.0:80                 start it for everybody
  holdfast import catalogue.csv                fill it
  holdfast token --user 7 --role customer      a token for scripts
  holdfast audit                               prove that nothing is lost";

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// Where the shop is kept
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// A file of settings; config.default.toml explains them
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Answer in JSON, for machines
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start the shop (also without a command)
    Serve(serve::ServeArgs),
    /// Fill a shop with products from a file
    Import(import::ImportArgs),
    /// Send the invoices of a real day through a running shop
    Replay(replay::ReplayArgs),
    /// Measure how fast a shop sells and shows
    Bench(bench::BenchArgs),
    #[command(hide = true)]
    BenchFloor,
    /// Prove that nothing was lost, sold twice or charged wrongly
    Audit(audit::AuditArgs),
    /// Break a shop on purpose while customers buy, and prove that nothing was lost
    Drill(drill::DrillArgs),
    /// Look after the event log and those who read it
    Events(events::EventsArgs),
    /// Print a token for scripts
    Token(token::TokenArgs),
    /// Check the machine, the settings and the stores
    Doctor(doctor::DoctorArgs),
    /// Start the simulated payment gateway, for shops that reach it over HTTP
    Gateway(gateway::GatewayArgs),
}

impl Common {
    /// All layers of settings.
    fn load(&self, listen: Option<SocketAddr>) -> anyhow::Result<Config> {
        self.load_with_roles(listen, Vec::new())
    }

    /// The same, with the roles of a server where they are given.
    fn load_with_roles(&self, listen: Option<SocketAddr>, roles: Vec<Role>) -> anyhow::Result<Config> {
        let server = listen.map(|listen| ServerFlags { listen });
        let roles = (!roles.is_empty()).then(|| roles.into_iter().collect());
        let flags = Flags { data_dir: self.data_dir.clone(), roles, server };
        Ok(Config::load(self.config.as_deref(), &flags)?)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli).unwrap_or_else(|error| refused(&format!("{error:#}"))),
        // Help was asked for, or the version.
        Err(answer) if !answer.use_stderr() => answer.exit(),
        Err(error) => {
            // What is wrong is the first paragraph; hints and usage follow.
            let text = error.render().to_string();
            let wrong = text.split("\n\n").next().unwrap_or_default();
            refused(&format!("{} (see --help)", wrong.trim_start_matches("error: ").trim_end()))
        }
    }
}

/// One plain line, whatever the causes say.
fn refused(why: &str) -> ExitCode {
    eprintln!("holdfast: {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
    ExitCode::from(2)
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let common = cli.common;
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(args, common),
        Command::Import(args) => block_on(import::run(args, common)),
        Command::Replay(args) => block_on(replay::run(args, common)),
        Command::Bench(args) => block_on(bench::run_command(args, common)),
        Command::BenchFloor => block_on(bench::run_floor()),
        Command::Audit(args) => block_on(audit::run(args, common)),
        Command::Drill(args) => block_on(drill::run(args, common)),
        Command::Events(args) => block_on(events::run(args, common)),
        Command::Token(args) => token::run(&args, &common),
        Command::Doctor(args) => block_on(doctor::run(args, common)),
        Command::Gateway(args) => block_on(gateway::run(args, common)),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    runtime("holdfast", processors())?.block_on(command)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Threads of this name that run tasks.
fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.enable_all().thread_name(name).worker_threads(threads).build();
    built.context("the runtime cannot be started")
}
