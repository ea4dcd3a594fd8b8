//! `holdfast events`: looks after the event log and those who read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::Stores;
use crate::domain::Timestamp;
use crate::ports::event_log::{EventLog, Group};
use crate::ports::outbox::Position;

use super::output::Progress;
use super::{Common, output};

/// Entries published in one go.
const BATCH: usize = 500;

#[derive(Args)]
#[command(after_help = "In a shop of one process the event log is the ledger itself: stop the shop first.

Examples:
  holdfast events lag
  holdfast events dead-letters --limit 20
  holdfast events resend
  holdfast events publish --from 2026-11-27T08:00:00Z --to 2026-11-27T09:00:00Z
  holdfast events rewind analytics-service")]
pub struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Subcommand)]
enum EventsCommand {
    /// Show how many messages each consumer group has still to read
    Lag,
    /// Show messages that could not be decoded and were put aside
    DeadLetters {
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Put messages that were put aside, and that this version can decode, into the log again
    Resend,
    /// Publish the events of a time again; consumers that have had them take no notice
    Publish {
        /// From this time on, such as 2026-11-27T08:00:00Z
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Up to this time
        #[arg(long, value_name = "TIME")]
        to: String,
    },
    /// Let a consumer group read everything again; what it has had changes nothing. Stop its servers first
    Rewind {
        /// Such as notification-service
        group: String,
    },
}

pub async fn run(args: EventsArgs, common: Common) -> anyhow::Result<ExitCode> {
    let command = args.command.checked()?;
    let stores = Stores::open_existing(&common.load(None)?).await?;
    let log = stores.log.clone().ok_or_else(|| anyhow!("events.url names no event log"))?;
    match command {
        Checked::Lag => lag(&log, common.json).await?,
        Checked::DeadLetters { limit } => dead_letters(&log, limit, common.json).await?,
        Checked::Resend => resend(&log, common.json).await?,
        Checked::Publish { from, to } => publish(&stores, &log, from, to, common.json).await?,
        Checked::Rewind { group } => {
            log.rewind(group).await?;
            output::print(common.json, &json!({ "group": group.as_str() }), || {
                format!("{group} reads everything again when it is started\n")
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command with its arguments understood.
enum Checked {
    Lag,
    DeadLetters { limit: usize },
    Resend,
    Publish { from: Timestamp, to: Timestamp },
    Rewind { group: Group },
}

impl EventsCommand {
    fn checked(self) -> anyhow::Result<Checked> {
        Ok(match self {
            Self::Lag => Checked::Lag,
            Self::DeadLetters { limit } => Checked::DeadLetters { limit },
            Self::Resend => Checked::Resend,
            Self::Publish { from, to } => {
                let (from, to) = (time("--from", &from)?, time("--to", &to)?);
                if from >= to {
                    bail!("--from has to be before --to");
                }
                Checked::Publish { from, to }
            }
            Self::Rewind { group } => {
                let known = Group::ALL.map(Group::as_str).join(", ");
                let group = group.parse();
                Checked::Rewind { group: group.map_err(|_| anyhow!("the consumer groups are {known}"))? }
            }
        })
    }
}

fn time(flag: &str, text: &str) -> anyhow::Result<Timestamp> {
    serde_json::from_value(json!(text))
        .with_context(|| format!("{flag} {text:?} is not a time such as 2026-11-27T08:00:00Z"))
}

async fn lag(log: &Arc<dyn EventLog>, json: bool) -> anyhow::Result<()> {
    let mut lags = BTreeMap::new();
    for group in Group::ALL {
        lags.insert(group.as_str(), log.lag(group).await?);
    }
    output::print(json, &lags, || {
        lags.iter().fold(String::new(), |mut text, (group, lag)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{group:<22} {lag}");
            text
        })
    });
    Ok(())
}

async fn dead_letters(log: &Arc<dyn EventLog>, limit: usize, json: bool) -> anyhow::Result<()> {
    let letters = log.dead_letters(limit).await?;
    output::print(json, &letters, || {
        if letters.is_empty() {
            return "no message was put aside\n".to_owned();
        }
        letters.iter().fold(String::new(), |mut text, letter| {
            let place = letter.place;
            let _ = writeln!(
                text,
                "{} partition {} offset {}, by {}: {} ({} bytes)",
                letter.topic,
                place.partition,
                place.offset,
                letter.group,
                letter.reason,
                letter.payload.len()
            );
            text
        })
    });
    Ok(())
}

async fn resend(log: &Arc<dyn EventLog>, json: bool) -> anyhow::Result<()> {
    let (mut sent, mut left) = (0, 0);
    for letter in log.dead_letters(usize::MAX).await? {
        if log.resend(&letter).await? {
            sent += 1;
        } else {
            left += 1;
        }
    }
    output::print(json, &json!({ "sent": sent, "left": left }), || {
        format!("{sent} messages were sent again; {left} still cannot be decoded\n")
    });
    Ok(())
}

async fn publish(
    stores: &Stores,
    log: &Arc<dyn EventLog>,
    from: Timestamp,
    to: Timestamp,
    json: bool,
) -> anyhow::Result<()> {
    log.prepare().await?;
    let mut progress = Progress::new("events", None, json);
    let (mut position, mut count) = (Position::default(), 0_u64);
    loop {
        let entries = stores.outbox.read_between(from..to, position, BATCH).await?;
        let Some(last) = entries.last() else { break };
        position = last.position;
        let events: Vec<_> = entries.into_iter().flat_map(|entry| entry.events).collect();
        count += events.len() as u64;
        log.publish(events).await?;
        progress.at(count);
    }
    progress.finish();
    output::print(json, &json!({ "events": count }), || format!("{count} events were published\n"));
    Ok(())
}
