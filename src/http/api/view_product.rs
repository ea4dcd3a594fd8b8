//! `GET /api/v1/products/{id}`: a product with what is left of it.

use axum::extract::State;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::ProductPath;
use crate::http::problem::{Kind, Problem};

use super::shared_json;

/// Shows a product.
#[utoipa::path(get, path = "/api/v1/products/{id}", tag = "products", params(("id" = i64, Path)),
    responses(
        (status = 200, body = crate::http::openapi::Product),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
    ))]
pub async fn view_product(
    State(shop): State<Shop>,
    ProductPath(id): ProductPath,
) -> Result<Response, Problem> {
    let product = shop.catalog.view(id).await?;
    let product = product.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such product."))?;
    Ok(shared_json(product))
}
