//! The shop as administrators see it: what it sells at this moment, its products, orders, sums and accounts.
//!
//! One file a page, like the pages of the shop; [`table`] has what several of them show.

mod analytics;
mod dashboard;
mod import;
mod orders;
mod products;
mod table;
mod users;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::domain::UserId;
use crate::http::Shop;
use crate::http::extract::is_administrator;
use crate::http::problem::{Kind, Problem};

use super::visit::{SignedIn, Visit};

/// The pages of the administration.
pub fn pages() -> Router<Shop> {
    Router::new()
        .route("/admin", get(dashboard::show))
        .route("/admin/live", get(dashboard::live))
        .route("/admin/products", get(products::list))
        .route("/admin/products/new", get(products::new).post(products::create))
        .route("/admin/products/import", get(import::show).post(import::import))
        .route("/admin/products/{id}", get(products::show).post(products::change))
        .route("/admin/products/{id}/stock", post(products::adjust_stock))
        .route("/admin/orders", get(orders::list))
        .route("/admin/orders/{id}", get(orders::show))
        .route("/admin/orders/{id}/resume", post(orders::resume))
        .route("/admin/analytics", get(analytics::show))
        .route("/admin/users", get(users::list))
        .route("/admin/users/{id}/role", post(users::change_role))
}

/// Whoever is signed in as an administrator, and still is one.
pub struct Administrator(pub Visit, pub UserId);

impl FromRequestParts<Shop> for Administrator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Response> {
        let SignedIn(visit, user) = SignedIn::from_request_parts(parts, shop).await?;
        match is_administrator(shop, visit.principal, parts.method.is_safe()).await {
            Ok(true) => Ok(Self(visit, user)),
            Err(error) => Err(Problem::from(error).into_response()),
            Ok(false) => {
                Err(Problem::new(Kind::Forbidden, "Only administrators may do this.").into_response())
            }
        }
    }
}
