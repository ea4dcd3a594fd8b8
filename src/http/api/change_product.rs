//! `PATCH /api/v1/admin/products/{id}`: changes what describes a product.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Money, Product, ProductChange, ProductId};
use crate::http::Shop;
use crate::http::extract::{Admin, Json, Object, ProductPath};
use crate::http::problem::Problem;

use super::create_product::{check_description, problem};
use super::{AdminProduct, json};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeProduct {
    name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    #[schema(value_type = Option<crate::http::openapi::Money>)]
    price: Option<Object<Money>>,
    /// The version that was read; when given and not current, nothing changes. Every sale is a new
    /// version, so leave it out to change a price while the product sells.
    version: Option<i64>,
}

/// Changes the fields that are given.
#[utoipa::path(patch, path = "/api/v1/admin/products/{id}", tag = "administration", request_body = ChangeProduct,
    params(("id" = i64, Path)),
    responses(
        (status = 200, body = crate::http::openapi::AdminProduct),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 409, description = "version-conflict", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn change_product(
    State(shop): State<Shop>,
    Admin(_): Admin,
    ProductPath(id): ProductPath,
    Json(body): Json<ChangeProduct>,
) -> Result<Response, Problem> {
    let ChangeProduct { name, description, category, price, version } = body;
    let price = price.map(|Object(price)| price);
    let change = ProductChange { name, description, category, price, version };
    let product = change_checked(&shop, id, change).await?;
    Ok(json(StatusCode::OK, &AdminProduct::from(&product)))
}

/// Checks a change, and makes it.
///
/// # Errors
/// Names the first field that is not acceptable, or says why nothing was changed.
pub async fn change_checked(shop: &Shop, id: ProductId, change: ProductChange) -> Result<Product, Problem> {
    let ProductChange { name, description, category, price, .. } = &change;
    check_description(name.as_deref(), description.as_deref(), category.as_deref(), *price)?;
    shop.stock_room.change_product(id, change).await.map_err(problem)
}
