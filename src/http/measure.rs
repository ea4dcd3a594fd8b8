//! Measures how long each route takes to answer, for `/metrics`. A live page counts until its stream begins.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

/// Requests by route, method and status, as a histogram of seconds.
pub const DURATION: &str = "holdfast_http_request_duration_seconds";

/// Upper bounds of the histogram's buckets in seconds: fine where buyers are answered, up to what they wait for at most.
pub const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Stands for all addresses at which there is nothing, of which there is no end.
const NO_ROUTE: &str = "none";

/// Measures a request.
pub async fn measure(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let status = response.status().as_u16().to_string();
    metrics::histogram!(DURATION, "route" => route, "method" => method, "status" => status)
        .record(begun.elapsed());
    response
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
