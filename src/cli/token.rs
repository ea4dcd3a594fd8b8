//! `holdfast token`: a token for scripts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use crate::app::Stores;
use crate::auth::{Principal, Tokens};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::UserId;
use crate::ports::clock::SystemClock;
use crate::ports::ledger::Role;

use super::{Common, output};

#[derive(Args)]
#[command(after_help = "Example:
  curl -H \"Authorization: Bearer $(holdfast token --user 7 --role customer)\" http://127.0.0.1:8080/api/v1/orders")]
pub struct TokenArgs {
    /// Id of the user it stands for; accounts of the shop count from ten million
    #[arg(long, value_name = "ID")]
    user: i64,
    /// What it may do
    #[arg(long, value_name = "ROLE", value_enum)]
    role: Role,
}

pub fn run(args: &TokenArgs, common: &Common) -> anyhow::Result<ExitCode> {
    ensure!(args.user > 0, "--user has to be a positive number");
    let tokens = tokens(&common.load(None)?)?;
    let access_token = tokens.issue(Principal { user: UserId(args.user), role: args.role });
    let value = json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": tokens.ttl().as_secs(),
    });
    output::print(common.json, &value, || access_token.clone());
    Ok(ExitCode::SUCCESS)
}

/// Tokens that the shop of this configuration accepts.
pub fn tokens(config: &Config) -> anyhow::Result<Tokens> {
    let directory = DataDir::new(&config.data_dir);
    let secret = match &config.auth.secret {
        Some(secret) => secret.clone(),
        // A secret is made for a shop only, not left in whatever directory was named by mistake.
        None if !directory.has_token_secret() && !Stores::exist(config)? => {
            return Err(DataDirError::Empty { path: config.data_dir.clone() }.into());
        }
        None => directory.token_secret(&SystemClock)?,
    };
    Ok(Tokens::new(&secret, Duration::from_secs(config.auth.token_ttl_s), Arc::new(SystemClock)))
}
