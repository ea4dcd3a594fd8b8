//! `GET /api/v1/orders/{id}/notifications`: the mails about an order.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::consumers::letters;
use crate::domain::Timestamp;
use crate::http::Shop;
use crate::http::extract::{Customer, OrderPath};
use crate::http::problem::Problem;
use crate::ports::consumer_store::{MailKind, MailState};

use super::view_order::own_order;
use super::{Page, json};

#[derive(Serialize)]
struct NotificationView {
    kind: MailKind,
    state: MailState,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    subject: String,
    text: String,
}

/// Lists what the customer was told about an order, oldest first.
#[utoipa::path(get, path = "/api/v1/orders/{id}/notifications", tag = "orders", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, body = crate::http::openapi::NotificationPage),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn list_notifications(
    State(shop): State<Shop>,
    Customer(user): Customer,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    let order = own_order(&shop, user, id).await?;
    let mails = shop.stores.consumers.mails_of(id).await?;
    let view = |mail| {
        let letter = letters::write(&mail, &order, "", "");
        let (kind, state, created_at, sent_at) = (mail.kind, mail.state, mail.created_at, mail.sent_at);
        NotificationView { kind, state, created_at, sent_at, subject: letter.subject, text: letter.text }
    };
    let items: Vec<_> = mails.into_iter().map(view).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}
