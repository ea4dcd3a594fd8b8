//! `PATCH /api/v1/admin/webhooks/{id}`: changes, enables or disables an endpoint.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Deserializer};

use crate::http::Shop;
use crate::http::extract::{Admin, Json, WebhookPath, no_such_webhook};
use crate::http::problem::Problem;
use crate::ports::webhooks::{EndpointChange, NoticeKind};

use super::create_webhook::{check_description, check_url, wanted};
use super::{WebhookView, json};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    url: Option<String>,
    /// What it wants to be told of; null for everything.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Option<Vec<NoticeKind>>>,
    description: Option<String>,
    /// Enabling forgets the failures so far and sends what has waited.
    enabled: Option<bool>,
}

/// Tells null from nothing.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Changes the fields that are given.
#[utoipa::path(patch, path = "/api/v1/admin/webhooks/{id}", tag = "administration", request_body = ChangeWebhook,
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, body = crate::http::openapi::Webhook),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn change_webhook(
    State(shop): State<Shop>,
    Admin(_): Admin,
    WebhookPath(id): WebhookPath,
    Json(body): Json<ChangeWebhook>,
) -> Result<Response, Problem> {
    let ChangeWebhook { url, events, description, enabled } = body;
    url.as_deref().map_or(Ok(()), check_url)?;
    description.as_deref().map_or(Ok(()), check_description)?;
    let wanted = events.map(wanted).transpose()?;
    let change = EndpointChange { url, description, wanted, enabled };
    let endpoint = shop.stores.webhooks.change_endpoint(id, change).await?.ok_or_else(no_such_webhook)?;
    Ok(json(StatusCode::OK, &WebhookView::of(&endpoint)))
}
