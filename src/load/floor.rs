//! The floor under every figure: the same HTTP stack with a handler that does nothing, measured by the same generator.
//! What the shop does not reach of it is the shop's own work; what lies above it is beyond this machine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::answer::Kind;
use super::client::{Request, Target};
use super::report::Report;
use super::run::{Pace, Plan, RequestSource, RunError, Until, run};

/// Answers `GET /` with 204 and nothing else, until dropped. To be comparable it is to run in a process and on a
/// runtime like the shop's.
///
/// # Errors
/// What [`axum::serve()`] says.
pub async fn serve_empty(listener: TcpListener) -> io::Result<()> {
    axum::serve(listener, Router::new().route("/", get(async || StatusCode::NO_CONTENT))).await
}

/// Measures what [`serve_empty`] at `target` answers over this many connections, in a closed loop; the answers are
/// [`Answer::Other`](super::Answer::Other).
///
/// # Errors
/// As [`run`].
pub async fn measure(
    target: Target,
    connections: usize,
    warm_up: Duration,
    duration: Duration,
) -> Result<Report, RunError> {
    let plan = Plan {
        target,
        pace: Pace::Closed,
        warm_up,
        until: Until::Elapsed(duration),
        timeout: TIMEOUT,
        finished: Arc::default(),
    };
    run(plan, vec![Root; connections]).await
}

/// Nothing is done for an answer, so one that takes this long never comes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for `/` for ever.
#[derive(Clone)]
struct Root;

impl RequestSource for Root {
    fn next(&mut self, request: &mut Request) -> Option<Kind> {
        request.begin("GET", "/").end();
        Some(Kind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Answer;

    #[tokio::test]
    async fn the_floor_is_measured_without_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::from(listener.local_addr().unwrap());
        tokio::spawn(serve_empty(listener));
        let report = measure(target, 4, Duration::from_millis(20), Duration::from_millis(100)).await.unwrap();
        assert!(report.count(Answer::Other) > 0);
        assert_eq!(report.count(Answer::Other), report.requests);
        assert!((0.1..0.2).contains(&report.elapsed_s), "{}", report.elapsed_s);
    }
}
