//! `holdfast doctor`: what is wrong, and what to do about it.

use std::process::ExitCode;

use clap::Args;

use crate::doctor;
use crate::ports::examination::Verdict;

use super::{Common, output};

#[derive(Args)]
#[command(
    long_about = "Check the machine, the settings and the stores

One line each: ok, warn or FAIL, what was looked at, what was found, and what to do. Looks at the configuration, the \
quorums of MySQL, Redis and Kafka, their versions, clocks and what they keep when power is lost, the connections to the \
database and their encryption, the payment gateway, the address, the disk and the open files. Changes no setting. \
`serve` looks at the stores as well, and refuses to start with settings that lose orders.",
    after_help = "Exit code 0: all well, or warnings only; 1: something has to be done, and its line says what.

Examples:
  holdfast doctor --config shop.toml
  holdfast doctor --config shop.toml --json"
)]
pub struct DoctorArgs {}

pub async fn run(_: DoctorArgs, common: Common) -> anyhow::Result<ExitCode> {
    let findings = match common.load(None) {
        Err(error) => vec![doctor::wrong_setting(&format!("{error:#}"))],
        Ok(config) => doctor::examine(&config).await,
    };
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    output::print(common.json, &findings, || {
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
