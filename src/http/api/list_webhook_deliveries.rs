//! `GET /api/v1/admin/webhooks/{id}/deliveries`: what an endpoint was told, and what is still to be.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::consumers::webhooks::message_id;
use crate::domain::{OrderId, Timestamp};
use crate::http::Shop;
use crate::http::extract::{Admin, Query, WebhookPath, no_such_webhook, page_size};
use crate::http::problem::Problem;
use crate::ports::webhooks::{Delivery, DeliveryCursor, DeliveryState, NoticeKind};

use super::{Page, json};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListWebhookDeliveries {
    /// waiting, delivered, failed, or skipped: it came while the endpoint was disabled.
    state: Option<String>,
    /// Items of a page, 1 to 100.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize)]
struct DeliveryView<'a> {
    /// The header `webhook-id`.
    id: String,
    order_id: OrderId,
    r#type: NoticeKind,
    timestamp: Timestamp,
    state: DeliveryState,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a Delivery> for DeliveryView<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        let Delivery { notice, state, attempts, due_at, delivered_at, status, error } = delivery;
        Self {
            id: message_id(notice.saga, notice.sequence),
            order_id: notice.saga,
            r#type: notice.kind,
            timestamp: notice.at,
            state: *state,
            attempts: *attempts,
            next_attempt_at: (*state == DeliveryState::Waiting).then_some(*due_at),
            delivered_at: *delivered_at,
            status: *status,
            error: error.as_deref(),
        }
    }
}

/// Lists the deliveries to an endpoint of the last 30 days, newest first.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}/deliveries", tag = "administration",
    params(("id" = uuid::Uuid, Path), ListWebhookDeliveries),
    responses(
        (status = 200, body = crate::http::openapi::WebhookDeliveryPage),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn list_webhook_deliveries(
    State(shop): State<Shop>,
    Admin(_): Admin,
    WebhookPath(id): WebhookPath,
    Query(query): Query<ListWebhookDeliveries>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit)?;
    let state: Option<DeliveryState> = query.state.as_deref().map(str::parse).transpose().map_err(|_| {
        let words = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
        Problem::invalid("state", format!("has to be one of {words}"))
    })?;
    let before: Option<DeliveryCursor> = query
        .cursor
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Problem::invalid("cursor", "is not one that this shop gave"))?;
    let store = &shop.stores.webhooks;
    store.endpoint(id).await?.ok_or_else(no_such_webhook)?;
    let deliveries = store.deliveries(id, state, before, limit).await?;
    let full = deliveries.len() == limit;
    let next_cursor = deliveries.last().filter(|_| full).map(|delivery| {
        let notice = delivery.notice;
        DeliveryCursor { at: notice.at, saga: notice.saga, sequence: notice.sequence }.to_string()
    });
    let items: Vec<_> = deliveries.iter().map(DeliveryView::from).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}
