//! `GET /api/v1/admin/analytics`: sales per minute, failures, and the products that sell best.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::domain::{Currency, Money, ProductId, Reason, Timestamp};
use crate::http::Shop;
use crate::http::extract::{Admin, Query};
use crate::http::problem::Problem;
use crate::ports::consumer_store::{Minute, Sums};

use super::json;

/// What is shown when no times are given: the last hour.
const SPAN_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// Longest span, so that an answer stays small.
const SPAN_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

const TOP_DEFAULT: usize = 10;
const TOP_MAX: usize = 1_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ViewAnalytics {
    /// From this time on (RFC 3339); an hour before `to` where it is left out.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Up to the minute of this time (RFC 3339); now where it is left out.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Products that sell best, of each currency, 1 to 1000.
    top: Option<usize>,
}

#[derive(Serialize)]
struct Analytics {
    from: Timestamp,
    to: Timestamp,
    minutes: Vec<MinuteView>,
    failures: Vec<FailureView>,
    top_products: Vec<ProductView>,
}

#[derive(Serialize)]
struct SumsView {
    sales: i64,
    units: i64,
    revenue: Money,
    cancelled_sales: i64,
    cancelled_units: i64,
    cancelled: Money,
}

#[derive(Serialize)]
struct MinuteView {
    minute: Timestamp,
    #[serde(flatten)]
    sums: SumsView,
}

#[derive(Serialize)]
struct FailureView {
    minute: Timestamp,
    reason: Reason,
    orders: i64,
}

#[derive(Serialize)]
struct ProductView {
    product_id: ProductId,
    #[serde(flatten)]
    sums: SumsView,
}

fn view(sums: Sums, currency: Currency) -> SumsView {
    SumsView {
        sales: sums.sales,
        units: sums.units,
        revenue: Money::new(sums.revenue_minor, currency),
        cancelled_sales: sums.cancelled_sales,
        cancelled_units: sums.cancelled_units,
        cancelled: Money::new(sums.cancelled_minor, currency),
    }
}

/// Shows sales per minute and failures of a span of time, and the products that have sold best of all time, by
/// revenue less what was taken back.
#[utoipa::path(get, path = "/api/v1/admin/analytics", tag = "administration", params(ViewAnalytics),
    responses(
        (status = 200, body = crate::http::openapi::Analytics),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn view_analytics(
    State(shop): State<Shop>,
    Admin(_): Admin,
    Query(query): Query<ViewAnalytics>,
) -> Result<Response, Problem> {
    let to = query.to.unwrap_or_else(|| shop.stores.clock.now());
    let from = query.from.unwrap_or_else(|| to.minus(SPAN_DEFAULT));
    if from > to {
        return Err(Problem::invalid("from", "has to be before `to`"));
    }
    if from < to.minus(SPAN_MAX) {
        return Err(Problem::invalid("from", "has to be within 31 days of `to`"));
    }
    let top = query.top.unwrap_or(TOP_DEFAULT);
    if !(1..=TOP_MAX).contains(&top) {
        return Err(Problem::invalid("top", format!("has to be 1 to {TOP_MAX}")));
    }
    let minutes = Minute::of(from)..Minute(Minute::of(to).0 + 1);
    let sales = shop.stores.consumers.sales(minutes, top).await?;
    let minute = |((minute, currency), sums): ((Minute, Currency), Sums)| MinuteView {
        minute: minute.begins(),
        sums: view(sums, currency),
    };
    let failure = |((minute, reason), orders): ((Minute, Reason), i64)| FailureView {
        minute: minute.begins(),
        reason,
        orders,
    };
    let product = |((product_id, currency), sums)| ProductView { product_id, sums: view(sums, currency) };
    let mut top_products: Vec<_> = sales.by_product.into_iter().map(product).collect();
    top_products.sort_by_key(|product| {
        let ProductView { product_id, sums } = product;
        (sums.revenue.currency, std::cmp::Reverse(sums.revenue.minor - sums.cancelled.minor), *product_id)
    });
    let analytics = Analytics {
        from,
        to,
        minutes: sales.by_minute.into_iter().map(minute).collect(),
        failures: sales.failures.into_iter().map(failure).collect(),
        top_products,
    };
    Ok(json(StatusCode::OK, &analytics))
}
