//! `GET /api/v1/orders/{id}/live`: one of the customer's own orders, told as it changes until it is settled.

use axum::extract::State;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Customer, LastEventId, OrderPath};
use crate::http::problem::Problem;
use crate::live;

use super::view_order::own_order;

/// Tells where an order stands, now and whenever that changes, until it is settled.
#[utoipa::path(get, path = "/api/v1/orders/{id}/live", tag = "orders",
    params(("id" = uuid::Uuid, Path), ("last-event-id" = Option<String>, Header, description = "What the client has seen")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream",
            description = "Server-sent events `order`. Their data is the order, and `step`: take_payment, wait_for_customer, \
                           undo, stuck or done; after done the stream ends"),
        (status = 204, description = "The client has seen how the order ended: there is nothing to come back for"),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 503, description = "busy: too many live pages are open", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn live_order(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
    LastEventId(last_seen): LastEventId,
) -> Result<Response, Problem> {
    let order = own_order(&shop, user, id).await?;
    live::order_response(&shop, order, last_seen.as_deref()).await
}
