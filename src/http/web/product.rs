//! The page of one product, whose stock counts down while one looks.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::http::Shop;
use crate::http::extract::ProductPath;
use crate::http::problem::{Kind, Problem};

use super::basket::UNITS_MAX;
use super::catalogue::{self, FEW_MAX, Level, ShownProduct};
use super::visit::{Page, Visit};
use super::{assets, page};

#[derive(Template)]
#[template(path = "product.html")]
struct ProductPage {
    page: Page,
    id: i64,
    sku: String,
    name: String,
    description: String,
    category: String,
    category_href: String,
    price: String,
    available: i64,
    level: &'static str,
    stock_label: String,
    as_of: String,
    quantity_max: u32,
    picture: &'static str,
    live_href: String,
    few_max: i64,
}

/// Shows a product.
pub async fn show(
    State(shop): State<Shop>,
    visit: Visit,
    ProductPath(id): ProductPath,
) -> Result<Response, Problem> {
    let product = ShownProduct::find(&shop, id).await?;
    let product = product.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such product."))?;
    let language = visit.language;
    page(&ProductPage {
        page: visit.page(product.name.clone()),
        id: product.id,
        category_href: catalogue::address(&product.category, "", None),
        price: product.price(language),
        available: product.available,
        level: Level::of(product.available).word(),
        stock_label: product.stock_label(language),
        as_of: language.clock(product.as_of),
        quantity_max: u32::try_from(product.available.max(1)).unwrap_or(UNITS_MAX).min(UNITS_MAX),
        picture: assets::picture(&product.sku),
        live_href: format!("/api/v1/products/{}/live", product.id),
        few_max: FEW_MAX,
        sku: product.sku,
        name: product.name,
        description: product.description,
        category: product.category,
    })
}
