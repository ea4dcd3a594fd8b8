//! `POST /api/v1/admin/products/{id}/stock`: adds units or takes them away, with a reason.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Digest, Product, ProductId, StockReason, UserId};
use crate::http::Shop;
use crate::http::extract::{Admin, IdempotencyKey, Json, ProductPath, text};
use crate::http::problem::{Kind, Problem};
use crate::ports::ledger::{AdjustError, Adjustment};

use super::create_product::STOCK_CHANGE_MAX;
use super::{AdminProduct, json};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// Units that come (positive) or go (negative), not 0.
    pub delta: i64,
    /// In the administrator's words, for the stock log: "restock", "return", "write-off".
    pub reason: String,
}

/// Adds units or takes available ones away.
#[utoipa::path(post, path = "/api/v1/admin/products/{id}/stock", tag = "administration", request_body = AdjustStock,
    params(("id" = i64, Path), ("Idempotency-Key" = String, Header)),
    responses(
        (status = 200, body = crate::http::openapi::AdminProduct),
        (status = 404, description = "not-found", body = crate::http::openapi::Problem),
        (status = 409, description = "out-of-stock: fewer are available", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request, idempotency-key-reused", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn adjust_stock(
    State(shop): State<Shop>,
    Admin(user): Admin,
    ProductPath(product): ProductPath,
    key: IdempotencyKey,
    Json(body): Json<AdjustStock>,
) -> Result<Response, Problem> {
    let product = adjust(&shop, user, product, &key, body).await?;
    Ok(json(StatusCode::OK, &AdminProduct::from(&product)))
}

/// Checks a change of stock, and makes it, once for each key of this administrator.
///
/// # Errors
/// Names what is not acceptable, or says why nothing was changed.
pub async fn adjust(
    shop: &Shop,
    user: UserId,
    product: ProductId,
    key: &IdempotencyKey,
    AdjustStock { delta, reason }: AdjustStock,
) -> Result<Product, Problem> {
    if delta == 0 || !(-STOCK_CHANGE_MAX..=STOCK_CHANGE_MAX).contains(&delta) {
        let range = format!("has to be -{STOCK_CHANGE_MAX} to {STOCK_CHANGE_MAX} and not 0");
        return Err(Problem::invalid("/delta", range));
    }
    text("/reason", &reason, 1, 200)?;
    if StockReason::is_reserved_word(&reason) {
        return Err(Problem::invalid("/reason", "is a word that the stock log uses itself"));
    }
    let digest = Digest::of(&[&product.0.to_le_bytes(), &delta.to_le_bytes(), reason.as_bytes()]);
    let adjustment = Adjustment {
        product,
        delta,
        reason,
        key: key.digest("stock", user),
        body: digest,
        at: shop.stores.clock.now(),
    };
    match shop.stock_room.adjust_stock(adjustment).await {
        Ok(adjusted) => Ok(adjusted.product),
        Err(AdjustError::NotFound) => Err(Problem::new(Kind::NotFound, "There is no such product.")),
        Err(AdjustError::TooFew { available }) => {
            Err(Problem::new(Kind::OutOfStock, format!("Only {available} units can be taken away."))
                .with("available", &available))
        }
        Err(AdjustError::TooMany) => {
            Err(Problem::invalid("/delta", "the stock would be too large to be counted"))
        }
        Err(AdjustError::KeyReused) => {
            Err(Problem::new(Kind::IdempotencyKeyReused, "This key was used for another change of stock."))
        }
        Err(AdjustError::Unknown(error)) => Err(error.into()),
    }
}
