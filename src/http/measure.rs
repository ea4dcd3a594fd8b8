//! Measures how long each route takes to answer, for `/metrics`. A live page counts until its stream begins.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

/// Requests by route, method and status, as a histogram of seconds.
pub const DURATION: &str = "holdfast_http_request_duration_seconds";

/// Stands for all addresses at which there is nothing, of which there is no end.
const NO_ROUTE: &str = "none";

/// Measures a request.
pub async fn measure(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let _in_flight = Present::new("holdfast_http_requests_in_flight");
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let status = response.status().as_u16().to_string();
    metrics::histogram!(DURATION, "route" => route, "method" => method, "status" => status)
        .record(begun.elapsed());
    response
}

/// Something that is there for a while, and counted meanwhile.
pub(super) struct Present(&'static str);

impl Present {
    /// Counts one more under `gauge`.
    pub(super) fn new(gauge: &'static str) -> Self {
        metrics::gauge!(gauge).increment(1.0);
        Self(gauge)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}

/// Clients may invent methods; those are one.
fn method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
