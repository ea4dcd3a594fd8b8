//! `holdfast audit`: proves that nothing was lost, sold twice or charged wrongly.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::Stores;
use crate::audit::{Audit, Report};

use super::output::Progress;
use super::{Common, output};

#[derive(Args)]
#[command(
    after_help = "Stop the shop first, or wait until nobody buys: an audit looks at stores at rest. Where several servers
share a gate, it is compared with the ledger, too.

Examples:
  holdfast audit --data-dir ./holdfast-data
  holdfast audit --config shop.toml --history drill.jsonl"
)]
pub struct AuditArgs {
    /// Check what customers of a drill were promised, too
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

pub async fn run(args: AuditArgs, common: Common) -> anyhow::Result<ExitCode> {
    if let Some(history) = &args.history {
        return super::drill::audit(history, &common).await;
    }
    let stores = Stores::open_existing(&common.load(None)?).await?;
    let audit = Audit::of(&stores);
    let mut progress = Progress::new("orders", None, common.json);
    let report = audit.run(|orders| progress.at(orders)).await?;
    progress.finish();
    output::print(common.json, &report, || describe(&report));
    Ok(if report.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let counts = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    line("products", report.products.to_string());
    line("orders", counts(&report.orders));
    line("units sold", report.units_sold.to_string());
    for (currency, minor) in &report.revenue_minor {
        let shown = i64::try_from(*minor)
            .ok()
            .and_then(|minor| Some(crate::domain::Money::new(minor, currency.parse().ok()?).to_string()));
        line("revenue", shown.unwrap_or_else(|| format!("{minor} minor units of {currency}")));
    }
    line("charges", counts(&report.charges));
    line("events", report.events.to_string());
    for (group, lag) in &report.lag {
        line("not compared", format!("{group}, which has {lag} messages still to read"));
    }
    if report.waiting > 0 {
        line("waiting", format!("{} orders, for their customers", report.waiting));
    }
    for saga in &report.stuck {
        line("stuck", format!("{saga}: resume it, POST /api/v1/admin/sagas/{saga}/resume"));
    }
    match &report.broken {
        None => line("audit", "every invariant holds".into()),
        Some(broken) => line("BROKEN", format!("{}: {}", broken.invariant, broken.detail)),
    }
    text
}
