//! `GET /api/v1/admin/sagas/findings`: sagas that have stopped, or whose events contradict the ledger.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::http::Shop;
use crate::http::extract::{Admin, Query, page_size};
use crate::http::problem::Problem;

use super::{Page, json};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListFindings {
    /// Items, 1 to 100.
    limit: Option<usize>,
}

/// Lists what is wrong with sagas, as far as their events tell, newest first.
#[utoipa::path(get, path = "/api/v1/admin/sagas/findings", tag = "administration", params(ListFindings),
    responses((status = 200, body = crate::http::openapi::FindingPage)), security(("token" = [])))]
pub async fn list_findings(
    State(shop): State<Shop>,
    Admin(_): Admin,
    Query(query): Query<ListFindings>,
) -> Result<Response, Problem> {
    let items = shop.stores.consumers.findings(page_size(query.limit)?).await?;
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}
