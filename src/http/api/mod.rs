//! The HTTP API, one file an operation.

pub mod adjust_stock;
pub mod cancel_order;
pub mod change_product;
pub mod change_webhook;
pub mod continue_payment;
pub mod create_order;
pub mod create_product;
pub mod create_webhook;
pub mod delete_webhook;
pub mod health;
pub mod list_events;
pub mod list_findings;
pub mod list_notifications;
pub mod list_orders;
pub mod list_products;
pub mod list_sagas;
pub mod list_webhook_deliveries;
pub mod list_webhooks;
pub mod live_order;
pub mod live_product;
pub mod login;
pub mod metrics;
pub mod register;
pub mod replay_webhook;
pub mod resume_saga;
pub mod rotate_webhook_secret;
pub mod stripe_webhook;
pub mod view_analytics;
pub mod view_order;
pub mod view_product;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use crate::consumers::webhooks;
use crate::domain::{NextAction, Order, OrderId, Product, Timestamp};
use crate::ports::webhooks::{Disabled, Endpoint, EndpointId, EndpointState, Wanted};

/// A JSON answer.
fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("answers are plain data");
    raw_json(status, body.into())
}

/// An answer that is JSON already.
fn raw_json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// How long caches on the way may show products: a second, three more while they fetch them anew, and an hour while
/// nothing answers. Products say themselves as of when they are.
const SHARED_VIEW: &str = "max-age=1, stale-while-revalidate=3, stale-if-error=3600";

/// Products as anybody may see them, in JSON.
fn shared_json(body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, SHARED_VIEW)];
    (StatusCode::OK, headers, body).into_response()
}

/// An order as its customer sees it.
#[derive(Serialize)]
struct OrderView<'a> {
    #[serde(flatten)]
    order: &'a Order,
    /// What the customer has to do before the payment can be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<NextAction>,
}

/// An order, with its address.
fn located(status: StatusCode, order: &Order) -> Response {
    located_with(status, order, None)
}

/// The same, and what its customer has to do.
fn located_with(status: StatusCode, order: &Order, next_action: Option<NextAction>) -> Response {
    let mut response = json(status, &OrderView { order, next_action });
    let location = location(order.id).parse().expect("a UUID fits into a header");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn location(id: OrderId) -> String {
    format!("/api/v1/orders/{id}")
}

/// A product as administrators see it.
#[derive(Serialize)]
struct AdminProduct<'a> {
    id: crate::domain::ProductId,
    sku: &'a str,
    name: &'a str,
    description: &'a str,
    category: &'a str,
    price: crate::domain::Money,
    available: i64,
    stock: i64,
    reserved: i64,
    version: i64,
    updated_at: Timestamp,
}

impl<'a> From<&'a Product> for AdminProduct<'a> {
    fn from(product: &'a Product) -> Self {
        Self {
            id: product.id,
            sku: &product.sku,
            name: &product.name,
            description: &product.description,
            category: &product.category,
            price: product.price,
            available: product.available(),
            stock: product.stock,
            reserved: product.reserved,
            version: product.version,
            updated_at: product.updated_at,
        }
    }
}

/// An endpoint of webhooks as administrators see it.
#[derive(Serialize)]
struct WebhookView<'a> {
    id: EndpointId,
    url: &'a str,
    description: &'a str,
    /// Null for everything.
    events: &'a Wanted,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_because: Option<Disabled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    created_at: Timestamp,
    /// Only in the answer to whoever had it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl<'a> WebhookView<'a> {
    fn of(endpoint: &'a Endpoint) -> Self {
        let disabled_because = match endpoint.state {
            EndpointState::Enabled => None,
            EndpointState::Disabled(why) => Some(why),
        };
        Self {
            id: endpoint.id,
            url: &endpoint.url,
            description: &endpoint.description,
            events: &endpoint.wanted,
            enabled: disabled_because.is_none(),
            disabled_because,
            failing_since: endpoint.failing_since,
            created_at: endpoint.created_at,
            secret: None,
        }
    }

    fn with_secret(endpoint: &'a Endpoint) -> Self {
        Self { secret: Some(webhooks::shown(&endpoint.secret)), ..Self::of(endpoint) }
    }
}

/// A page of items with the cursor of the next one.
#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}
