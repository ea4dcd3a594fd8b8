//! Measures how long each route takes to answer, for `/metrics`. A live page counts until its stream begins.

use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};

/// Requests by route, method and status, as a histogram of seconds.
pub const DURATION: &str = "holdfast_http_request_duration_seconds";

/// Stands for all addresses at which there is nothing, of which there is no end.
const NO_ROUTE: &str = "none";

/// Requests that are being answered.
pub(super) const IN_FLIGHT: &str = "holdfast_http_requests_in_flight";

/// Counts a request that was answered within `took`; `route` is as the router knows it.
pub(super) fn count(method: &Method, route: Option<&MatchedPath>, status: StatusCode, took: Duration) {
    let route = route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let (method, status) = (named(method), status.as_u16().to_string());
    metrics::histogram!(DURATION, "route" => route, "method" => method, "status" => status).record(took);
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
fn named(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
