//! `DELETE /api/v1/admin/webhooks/{id}`: an address is told of nothing more.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::Shop;
use crate::http::extract::{Admin, WebhookPath, no_such_webhook};
use crate::http::problem::Problem;

/// Deletes an endpoint of webhooks with everything that waits for it. A request that is under way may still arrive.
#[utoipa::path(delete, path = "/api/v1/admin/webhooks/{id}", tag = "administration",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn delete_webhook(
    State(shop): State<Shop>,
    Admin(_): Admin,
    WebhookPath(id): WebhookPath,
) -> Result<StatusCode, Problem> {
    let was_there = shop.stores.webhooks.delete_endpoint(id).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_webhook()) }
}
