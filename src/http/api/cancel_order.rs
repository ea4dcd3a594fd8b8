//! `POST /api/v1/orders/{id}/cancel`: a customer takes an order back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Customer, OrderPath};
use crate::http::problem::{Kind, Problem};
use crate::saga::CancelAnswer;

use super::{json, located};

/// Takes an order back: the money is refunded and the units are in stock again.
#[utoipa::path(post, path = "/api/v1/orders/{id}/cancel", tag = "orders",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "CANCELLED", body = crate::http::openapi::Order),
        (status = 202, description = "The wish is recorded and will be carried out", body = crate::http::openapi::Order),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 409, description = "not-cancellable", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn cancel_order(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    match shop.engine.cancel_order(id, user).await? {
        CancelAnswer::Done(order) => Ok(json(StatusCode::OK, &*order)),
        CancelAnswer::Recorded(order) => Ok(located(StatusCode::ACCEPTED, &order)),
        CancelAnswer::NotPossible(order) => {
            Err(Problem::new(Kind::NotCancellable, "The order failed before.").with("order", &*order))
        }
        CancelAnswer::NotFound => Err(Problem::new(Kind::NotFound, "There is no such order.")),
    }
}
