//! `POST /api/v1/admin/sagas/{id}/resume`: takes a stuck saga up again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Admin, OrderPath};
use crate::http::problem::{Kind, Problem};

use super::located;

/// Takes a stuck saga up again; follow Location to see how it ends.
#[utoipa::path(post, path = "/api/v1/admin/sagas/{id}/resume", tag = "administration",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 202, body = crate::http::openapi::Order),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 409, description = "not-stuck", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn resume_saga(
    State(shop): State<Shop>,
    Admin(_): Admin,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    let order = shop.stores.ledger.order(id).await?;
    let order = order.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such saga."))?;
    if !shop.engine.resume(id).await? {
        return Err(Problem::new(Kind::NotStuck, "The saga is not stuck."));
    }
    Ok(located(StatusCode::ACCEPTED, &order))
}
