//! `GET /metrics`: figures for Prometheus.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::telemetry;

/// Figures of this process in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "Figures in the text format of Prometheus", content_type = "text/plain")))]
pub async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::figures()).into_response()
}
