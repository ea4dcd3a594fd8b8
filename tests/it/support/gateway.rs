//! `holdfast gateway` in this process, on a port of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::gateway::{Faults, HttpGateway, Patience, SimulatedGateway};
use holdfast::config::{Config, Flags};
use holdfast::http::gateway::{GatewayService, serve};
use holdfast::ports::clock::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Patient enough for a slow machine; a test that wants more or less says so.
pub const PATIENCE: Patience = Patience {
    timeout: Duration::from_secs(10),
    calls_max: 256,
    failures_max: 1_000,
    down_for: Duration::from_millis(20),
};

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Gateway {
    /// Serves the records in `file` at an address of its own.
    pub async fn start(file: &Path, faults: Faults, secret: Option<&str>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), file, faults, secret).await
    }

    /// Serves the records in `file` at this address.
    pub async fn start_at(address: SocketAddr, file: &Path, faults: Faults, secret: Option<&str>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let gateway = SimulatedGateway::open(file, Arc::new(SystemClock), faults).expect("the file opens");
        let limits = Config::load(None, &Flags::default()).expect("the defaults are good").server;
        let secret = secret.map(|secret| secret.to_owned().into());
        let service = GatewayService { gateway: Arc::new(gateway), secret, limits };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let stopped = async {
                // A test that is over drops the sender.
                let _ = stopped.await;
            };
            serve(listener, service, stopped).await;
        });
        Self { address, stop, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A shop's view of it.
    pub fn client(&self, secret: Option<&str>, patience: Patience) -> HttpGateway {
        let secret = secret.map(|secret| secret.to_owned().into());
        HttpGateway::new(self.url(), secret, patience).expect("a client")
    }

    /// Stops it, requests on their way answered.
    pub async fn stop(self) {
        drop(self.stop);
        self.server.await.expect("it ends without a panic");
    }
}
