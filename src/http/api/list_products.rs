//! `GET /api/v1/products`: the catalogue, in pages.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::ProductId;
use crate::http::Shop;
use crate::http::extract::{Query, page_size, text};
use crate::http::problem::Problem;
use crate::ports::ledger::ProductQuery;

use super::shared_json;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListProducts {
    /// Part of a name or SKU, in any case.
    q: Option<String>,
    category: Option<String>,
    /// Items of a page, 1 to 100.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
}

/// Lists products in id order.
#[utoipa::path(get, path = "/api/v1/products", tag = "products", params(ListProducts),
    responses((status = 200, body = crate::http::openapi::ProductPage)))]
pub async fn list_products(
    State(shop): State<Shop>,
    Query(query): Query<ListProducts>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit)?;
    if let Some(words) = &query.q {
        text("q", words, 0, 200)?;
    }
    let query = ProductQuery {
        text: query.q.filter(|words| !words.is_empty()),
        category: query.category,
        after: query.cursor.map(ProductId),
        limit,
    };
    let (items, last) = shop.catalog.list(&query).await?;
    let next = last.filter(|_| items.len() == limit);
    let next = next.map(|id| format!(r#","next_cursor":"{id}""#)).unwrap_or_default();
    Ok(shared_json(format!(r#"{{"items":[{}]{next}}}"#, items.join(",")).into()))
}
