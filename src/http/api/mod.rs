//! The HTTP API, one file an operation.

pub mod adjust_stock;
pub mod cancel_order;
pub mod change_product;
pub mod continue_payment;
pub mod create_order;
pub mod create_product;
pub mod health;
pub mod list_events;
pub mod list_findings;
pub mod list_notifications;
pub mod list_orders;
pub mod list_products;
pub mod list_sagas;
pub mod login;
pub mod metrics;
pub mod register;
pub mod resume_saga;
pub mod stripe_webhook;
pub mod view_analytics;
pub mod view_order;
pub mod view_product;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use crate::domain::{NextAction, Order, OrderId, Product};

/// A JSON answer.
fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("answers are plain data");
    raw_json(status, body.into())
}

/// An answer that is JSON already.
fn raw_json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
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
    updated_at: crate::domain::Timestamp,
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

/// A page of items with the cursor of the next one.
#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}
