//! `holdfast gateway`: the simulated payment gateway as a service of its own.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use crate::adapters::gateway::SimulatedGateway;
use crate::app::gateway_file;
use crate::data_dir::DataDir;
use crate::http::gateway::{self, GatewayService};
use crate::ports::clock::SystemClock;
use crate::{shutdown, telemetry};

use super::{Common, output};

#[derive(Args)]
#[command(
    after_help = "A shop uses it with payments.url = \"http://HOST:PORT\". It takes no real money, keeps its records in a
file of the data directory, and misbehaves as payments.faults says. With payments.secret only shops that
know the secret are served.

Example:
  holdfast gateway --data-dir /var/lib/holdfast-gateway --listen 127.0.0.1:8090"
)]
pub struct GatewayArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

pub async fn run(args: GatewayArgs, common: Common) -> anyhow::Result<ExitCode> {
    let config = common.load(None)?;
    let _logs = telemetry::start(&config).map_err(|why| anyhow!(why))?;
    let listen = args.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let stop = shutdown::requested().context("cannot listen for signals")?;
    DataDir::new(&config.data_dir).create()?;
    let file = gateway_file(&config)?;
    let gateway = SimulatedGateway::open(&file, Arc::new(SystemClock), config.payments.faults)?;
    let pages = match &*config.payments.challenge_base {
        "" => format!("http://{address}"),
        base => base.to_owned(),
    };
    let gateway = Arc::new(gateway.with_challenges_at(&pages));
    let value = json!({ "gateway": format!("http://{address}"), "file": file.display().to_string() });
    output::print(common.json, &value, || {
        format!("The gateway answers at http://{address}\n  records     {}\n", file.display())
    });
    let service = GatewayService { gateway, secret: config.payments.secret, limits: config.server };
    gateway::serve(listener, service, stop).await;
    Ok(ExitCode::SUCCESS)
}
