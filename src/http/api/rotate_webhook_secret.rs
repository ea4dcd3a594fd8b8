//! `POST /api/v1/admin/webhooks/{id}/secret`: gives an endpoint another secret.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::{Admin, WebhookPath, no_such_webhook};
use crate::http::problem::Problem;
use crate::ports::webhooks::WebhookSecret;

use super::{WebhookView, json};

/// Makes another secret, which is shown in this answer and never again. For a day requests are signed with the one before,
/// too.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/secret", tag = "administration",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, body = crate::http::openapi::WebhookWithSecret),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn rotate_webhook_secret(
    State(shop): State<Shop>,
    Admin(_): Admin,
    WebhookPath(id): WebhookPath,
) -> Result<Response, Problem> {
    let clock = &shop.stores.clock;
    let secret = WebhookSecret(clock.secret());
    let endpoint = shop.stores.webhooks.rotate_secret(id, secret, clock.now()).await?;
    let endpoint = endpoint.ok_or_else(no_such_webhook)?;
    Ok(json(StatusCode::OK, &WebhookView::with_secret(&endpoint)))
}
