//! `POST /api/v1/admin/webhooks/{id}/replay`: tells an endpoint again what happened in a time.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::http::Shop;
use crate::http::extract::{Admin, Json, WebhookPath, no_such_webhook};
use crate::http::problem::Problem;
use crate::ports::webhooks::{REPLAY_MAX, Replay};

use super::json;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWebhook {
    /// Events from this time on (RFC 3339).
    #[schema(value_type = String)]
    from: Timestamp,
    /// Events before this time (RFC 3339); all up to now where it is left out.
    #[schema(value_type = Option<String>)]
    to: Option<Timestamp>,
}

#[derive(Serialize)]
struct Replayed {
    deliveries: u64,
}

/// Sends the deliveries of a time again, whatever became of them, and those that were skipped while the endpoint was
/// disabled. Each has the same `webhook-id` as before.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/replay", tag = "administration", request_body = ReplayWebhook,
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 202, body = crate::http::openapi::ReplayedWebhook),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn replay_webhook(
    State(shop): State<Shop>,
    Admin(_): Admin,
    WebhookPath(id): WebhookPath,
    Json(ReplayWebhook { from, to }): Json<ReplayWebhook>,
) -> Result<Response, Problem> {
    let (store, now) = (&shop.stores.webhooks, shop.stores.clock.now());
    let to = to.unwrap_or_else(|| now.plus(Duration::from_millis(1)));
    if from >= to {
        let named = "has to be before `to`, which is now where it is left out";
        return Err(Problem::invalid("/from", named));
    }
    store.endpoint(id).await?.ok_or_else(no_such_webhook)?;
    match store.replay(id, from..to, now).await? {
        Replay::Waiting(deliveries) => Ok(json(StatusCode::ACCEPTED, &Replayed { deliveries })),
        Replay::TooMany => {
            let detail = format!("has more than {REPLAY_MAX} deliveries until `to`; replay a part of it");
            Err(Problem::invalid("/from", detail))
        }
    }
}
