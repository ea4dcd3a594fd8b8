//! `POST /api/v1/admin/products`: adds a product.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Money, NewProduct, Product};
use crate::http::Shop;
use crate::http::extract::{Admin, Json, Object, text};
use crate::http::problem::{Kind, Problem};
use crate::ports::ledger::ProductError;

use super::{AdminProduct, json};

/// Units of one product in one change of stock.
pub const STOCK_CHANGE_MAX: i64 = 1_000_000_000;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// 1 to 64 characters, no other product's.
    sku: String,
    name: String,
    description: String,
    category: Option<String>,
    #[schema(value_type = crate::http::openapi::Money)]
    price: Object<Money>,
    /// Opening stock in units.
    stock: i64,
}

/// Adds a product.
#[utoipa::path(post, path = "/api/v1/admin/products", tag = "administration", request_body = CreateProduct,
    responses(
        (status = 201, body = crate::http::openapi::AdminProduct),
        (status = 409, description = "sku-taken", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn create_product(
    State(shop): State<Shop>,
    Admin(_): Admin,
    Json(body): Json<CreateProduct>,
) -> Result<Response, Problem> {
    let CreateProduct { sku, name, description, category, price: Object(price), stock } = body;
    let product = NewProduct { sku, name, description, category: category.unwrap_or_default(), price, stock };
    let created = create(&shop, product).await?;
    Ok(json(StatusCode::CREATED, &AdminProduct::from(&created)))
}

/// Checks a product, and adds it.
///
/// # Errors
/// Names the first field that is not acceptable, or says why it was not added.
pub async fn create(shop: &Shop, product: NewProduct) -> Result<Product, Problem> {
    let NewProduct { sku, name, description, category, price, stock } = &product;
    text("/sku", sku, 1, 64)?;
    check_description(Some(name), Some(description), Some(category), Some(*price))?;
    if !(0..=STOCK_CHANGE_MAX).contains(stock) {
        return Err(Problem::invalid("/stock", format!("has to be 0 to {STOCK_CHANGE_MAX}")));
    }
    let created = shop.stock_room.create_products(vec![product]).await.map_err(problem)?;
    Ok(created.into_iter().next().expect("one product was created"))
}

/// Checks what describes a product.
///
/// # Errors
/// Names the first field that is not acceptable.
pub fn check_description(
    name: Option<&str>,
    description: Option<&str>,
    category: Option<&str>,
    price: Option<Money>,
) -> Result<(), Problem> {
    name.map_or(Ok(()), |name| text("/name", name, 1, 200))?;
    description.map_or(Ok(()), |description| text("/description", description, 0, 4_000))?;
    category.map_or(Ok(()), |category| text("/category", category, 0, 64))?;
    match price {
        Some(price) if price.minor < 0 => Err(Problem::invalid("/price/amount", "cannot be negative")),
        _ => Ok(()),
    }
}

/// The answer to a product that was not created or changed.
pub fn problem(error: ProductError) -> Problem {
    match error {
        ProductError::NotFound => Problem::new(Kind::NotFound, "There is no such product."),
        ProductError::SkuTaken(sku) => Problem::new(Kind::SkuTaken, format!("The SKU {sku:?} is taken.")),
        ProductError::VersionConflict { current } => {
            Problem::new(Kind::VersionConflict, format!("The product is at version {current}."))
                .with("version", &current)
        }
        ProductError::Unknown(error) => error.into(),
    }
}
