//! Connections: bounded in number, in the size of what they send and in the time they take.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config;

use super::measure::Present;
use super::rate_limit::Peer;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// How long a client may take nothing of what is sent to it before it counts as gone: those that vanish without a word
/// would otherwise keep their live pages open for a quarter of an hour.
const TAKES_NOTHING_MAX: Duration = Duration::from_secs(30);

/// Pause after the system refused to accept, for example because it ran out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `stop` resolves, then lets requests on their way finish.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: &config::Server,
    stop: impl Future<Output = ()>,
) {
    serve_with(listener, TowerToHyperService::new(routes), limits, stop).await;
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers are small and complete: waiting for more to send only delays them.
    stream.set_nodelay(true)?;
    let patience_ms = u32::try_from(TAKES_NOTHING_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, patience_ms)?)
}

/// The same for anything that answers requests. Where it fails to, the connection ends without an answer.
pub async fn serve_with<S>(
    listener: TcpListener,
    service: S,
    limits: &config::Server,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<axum::body::Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_headers(HEADERS_MAX)
        .max_buf_size(limits.head_max_bytes);
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    metrics::gauge!("holdfast_http_connections_max").set(limits.connections_max as f64);
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accept = async {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            io::Result::Ok((permit, stream, peer))
        };
        let (permit, stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection was gone at once");
            continue;
        }
        let present = Present::new("holdfast_http_connections");
        let (service, peer) = (service.clone(), Peer(peer.ip()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop((permit, present));
        });
    }
    drop(listener);
    let patience = Duration::from_millis(limits.stop_within_ms);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut");
    }
}
