//! `GET /healthz` and `GET /readyz`: for load balancers.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::http::Shop;
use crate::http::problem::{Kind, Problem};
use crate::saga::Part;

/// How long the ledger may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// The process runs.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It runs")))]
pub async fn healthz() -> Response {
    super::json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Purchases can be taken: the ledger commits, the gate answers, and the server is not about to stop.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "It sells"),
        (status = 503, description = "unavailable", body = crate::http::openapi::Problem),
    ))]
pub async fn readyz(State(shop): State<Shop>) -> Result<Response, Problem> {
    if shop.is_stopping() {
        return Err(Problem::new(Kind::Unavailable, "The server is about to stop."));
    }
    // The payment gateway is the same for all servers, and orders of before can be looked at without it.
    if let Some(missing @ (Part::Ledger | Part::Gate)) = shop.engine.missing() {
        return Err(Problem::new(Kind::Unavailable, format!("Nothing can be sold: {missing} is down."))
            .with("missing", missing.as_str()));
    }
    match tokio::time::timeout(READY_WITHIN, shop.stores.ledger.ping()).await {
        Ok(Ok(())) => {
            let in_flight = shop.engine.in_flight();
            Ok(super::json(StatusCode::OK, &json!({ "status": "ready", "orders_on_their_way": in_flight })))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::new(Kind::Unavailable, "The ledger does not answer.")),
    }
}
