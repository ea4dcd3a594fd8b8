//! `GET /api/v1/orders/{id}/events`: the history of an order.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Customer, OrderPath};
use crate::http::problem::Problem;

use super::view_order::own_order;
use super::{Page, json};

/// Lists the events of an order in sequence.
#[utoipa::path(get, path = "/api/v1/orders/{id}/events", tag = "orders", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, body = crate::http::openapi::EventPage),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn list_events(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    own_order(&shop, user, id).await?;
    let items = shop.stores.ledger.events_of(id).await?;
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}
