//! `POST /api/v1/payments/stripe/webhook`: what Stripe tells of payments. Only a hint: what is true is asked.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::adapters::gateway::stripe_signature::{SignatureError, verify};
use crate::http::Shop;
use crate::http::extract::{from_json, read_body};
use crate::http::problem::{Kind, Problem};

/// What ends a customer's part, one way or the other.
const ENDINGS: [&str; 3] =
    ["payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled"];

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: EventObject,
}

#[derive(Deserialize)]
struct EventObject {
    metadata: Option<EventMetadata>,
}

#[derive(Deserialize)]
struct EventMetadata {
    order_id: Option<String>,
}

/// Takes a signed message of Stripe's.
#[utoipa::path(post, path = "/api/v1/payments/stripe/webhook", tag = "operation",
    request_body(content = String, content_type = "application/json", description = "An event of Stripe's"),
    params(("Stripe-Signature" = String, Header, description = "t=…,v1=…")),
    responses(
        (status = 200, description = "Received"),
        (status = 400, description = "signature-invalid, malformed-json", body = crate::http::openapi::Problem),
        (status = 503, description = "unavailable: to be sent again", body = crate::http::openapi::Problem),
        (status = 404, description = "not-found: this shop takes no messages of Stripe's", body = crate::http::openapi::Problem),
    ))]
pub async fn stripe_webhook(
    State(shop): State<Shop>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secret = shop.config.payments.webhook_secret.as_ref();
    let secret =
        secret.ok_or_else(|| Problem::new(Kind::NotFound, "This shop takes no messages of Stripe's."))?;
    let body = read_body(body, &shop.config.server).await?;
    let refused = |error: SignatureError| {
        tracing::warn!(%error, "a message that claims to be Stripe's was refused");
        Problem::new(Kind::SignatureInvalid, error.to_string())
    };
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let signature = signature.ok_or_else(|| refused(SignatureError::Malformed))?;
    verify(signature, &body, secret, shop.stores.clock.now()).map_err(refused)?;
    let event: Event = from_json(&body)?;
    let order = event.data.object.metadata.and_then(|metadata| metadata.order_id?.parse().ok());
    if let (Some(order), true) = (order, ENDINGS.contains(&&*event.kind)) {
        // The saga, if it waits for its customer, asks the gateway again now instead of at its next look. Where
        // that is not possible now, Stripe sends the message again.
        tracing::debug!(order_id = %order, kind = event.kind, "Stripe tells of a payment");
        shop.engine.nudge(order).await?;
    }
    Ok(super::json(StatusCode::OK, &json!({ "received": true })))
}
