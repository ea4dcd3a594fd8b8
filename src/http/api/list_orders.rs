//! `GET /api/v1/orders`: the customer's own orders, newest first.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::OrderStatus;
use crate::http::Shop;
use crate::http::extract::{Customer, Query, page_size};
use crate::http::problem::Problem;

use super::{OrderView, Page, json};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOrders {
    /// Items of a page, 1 to 100.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists one's own orders.
#[utoipa::path(get, path = "/api/v1/orders", tag = "orders", params(ListOrders),
    responses((status = 200, body = crate::http::openapi::OrderPage)), security(("token" = [])))]
pub async fn list_orders(
    State(shop): State<Shop>,
    Customer(user): Customer,
    Query(query): Query<ListOrders>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit)?;
    let before = query.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| Problem::invalid("cursor", "is not one that this shop gave"))?;
    let orders = shop.stores.ledger.orders_of(user, before, limit).await?;
    let pending = orders.iter().filter(|order| order.status == OrderStatus::Pending);
    let pending: Vec<_> = pending.map(|order| order.id).collect();
    let mut actions = match pending.is_empty() {
        true => Default::default(),
        false => shop.stores.ledger.next_actions(&pending).await?,
    };
    let full = orders.len() == limit;
    let next_cursor = orders.last().filter(|_| full).map(|order| order.id.to_string());
    let items: Vec<_> =
        orders.iter().map(|order| OrderView { order, next_action: actions.remove(&order.id) }).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}
