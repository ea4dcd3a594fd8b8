//! `GET /api/v1/products/{id}/live`: what is left of a product, told as it changes.

use axum::extract::State;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::ProductPath;
use crate::http::problem::Problem;
use crate::live;

/// Tells what is left of a product, now and whenever that changes, a few times a second at most.
#[utoipa::path(get, path = "/api/v1/products/{id}/live", tag = "products", params(("id" = i64, Path)),
    responses(
        (status = 200, body = String, content_type = "text/event-stream",
            description = "Server-sent events `stock`, with data such as {\"available\":3,\"as_of\":\"2026-01-01T00:00:00.000Z\"}"),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 503, description = "busy: too many live pages are open", body = crate::http::openapi::Problem),
    ))]
pub async fn live_product(
    State(shop): State<Shop>,
    ProductPath(id): ProductPath,
) -> Result<Response, Problem> {
    live::stock_response(&shop, id).await
}
