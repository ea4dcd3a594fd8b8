//! `POST /api/v1/orders/{id}/payment/continue`: a customer comes back from what they had to do for the payment.

use axum::extract::State;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Customer, OrderPath};
use crate::http::problem::{Kind, Problem};
use crate::saga::ContinueAnswer;

use super::create_order::answered;

/// Goes on with an order whose payment needed its customer; answers like the purchase itself.
#[utoipa::path(post, path = "/api/v1/orders/{id}/payment/continue", tag = "orders",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "CANCELLED since", body = crate::http::openapi::Order),
        (status = 201, description = "CONFIRMED", body = crate::http::openapi::Order),
        (status = 202, description = "Still PENDING; next_action says what is left to do, if anything", body = crate::http::openapi::Order),
        (status = 402, description = "payment-declined", body = crate::http::openapi::Problem),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 409, description = "order-failed", body = crate::http::openapi::Problem),
        (status = 502, description = "payment-unknown", body = crate::http::openapi::Problem),
        (status = 503, description = "unavailable", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn continue_payment(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    match shop.engine.continue_payment(id, user).await? {
        ContinueAnswer::Known(answer) => answered(answer, &[]),
        ContinueAnswer::NotFound => Err(Problem::new(Kind::NotFound, "There is no such order.")),
    }
}
