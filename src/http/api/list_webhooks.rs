//! `GET /api/v1/admin/webhooks`: the addresses that are told of orders.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::Admin;
use crate::http::problem::Problem;

use super::{Page, WebhookView, json};

/// Lists the endpoints of webhooks, oldest first, without their secrets.
#[utoipa::path(get, path = "/api/v1/admin/webhooks", tag = "administration",
    responses((status = 200, body = crate::http::openapi::WebhookPage)), security(("token" = [])))]
pub async fn list_webhooks(State(shop): State<Shop>, Admin(_): Admin) -> Result<Response, Problem> {
    let endpoints = shop.stores.webhooks.endpoints().await?;
    let items: Vec<_> = endpoints.iter().map(WebhookView::of).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}
