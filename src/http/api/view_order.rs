//! `GET /api/v1/orders/{id}`: one of the customer's own orders.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::domain::{Order, OrderId, OrderStatus, UserId};
use crate::http::Shop;
use crate::http::extract::{Customer, OrderPath};
use crate::http::problem::{Kind, Problem};

use super::{OrderView, json};

/// Shows an order.
#[utoipa::path(get, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, body = crate::http::openapi::Order),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn view_order(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    let order = own_order(&shop, user, id).await?;
    let next_action = match order.status {
        OrderStatus::Pending => shop.stores.ledger.next_actions(&[id]).await?.remove(&id),
        _ => None,
    };
    Ok(json(StatusCode::OK, &OrderView { order: &order, next_action }))
}

/// An order of `user`; somebody else's is as good as none.
///
/// # Errors
/// There is none, or the ledger does not answer.
pub async fn own_order(shop: &Shop, user: UserId, id: OrderId) -> Result<Arc<Order>, Problem> {
    let order = shop.stores.ledger.order(id).await?.filter(|order| order.user_id == user);
    order.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such order."))
}
