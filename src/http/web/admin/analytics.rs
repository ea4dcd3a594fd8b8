//! Sales over time, what sells best and what failed, as the analytics consumer has counted it.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Currency, Money, Reason};
use crate::http::Shop;
use crate::http::extract::Query;
use crate::http::problem::Problem;
use crate::http::web::page;
use crate::http::web::visit::Page;
use crate::ports::consumer_store::{Minute, Sums};

use super::Administrator;
use super::table::why;

/// Products that sell best, of each currency.
const TOP: usize = 10;

/// Bars of the chart.
const BARS: i64 = 60;
const BAR_WIDTH: i64 = 10;
const CHART_HEIGHT: i64 = 160;

/// What can be looked at, in minutes.
const SPANS: [(&str, i64); 3] = [("hour", 60), ("day", 24 * 60), ("week", 7 * 24 * 60)];

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    span: String,
}

#[derive(Template)]
#[template(path = "admin/analytics.html")]
struct AnalyticsPage {
    page: Page,
    section: &'static str,
    spans: Vec<Span>,
    /// How much time a bar stands for.
    bar_label: String,
    bars: Vec<Bar>,
    highest: String,
    from: String,
    to: String,
    totals: Vec<Total>,
    top: Vec<Top>,
    failures: Vec<Failure>,
    chart_width: i64,
    chart_height: i64,
}

struct Span {
    label: String,
    href: String,
    current: bool,
}

struct Bar {
    x: i64,
    y: i64,
    width: i64,
    height: i64,
    label: String,
}

/// The sums of a currency.
struct Total {
    sales: String,
    units: String,
    revenue: String,
    given_back: String,
}

struct Top {
    name: String,
    href: String,
    units: String,
    revenue: String,
}

struct Failure {
    label: String,
    orders: String,
}

/// Shows what was sold.
pub async fn show(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    Query(Wanted { span }): Query<Wanted>,
) -> Result<Response, Problem> {
    let language = visit.language;
    let (word, minutes) = SPANS.into_iter().find(|(word, _)| *word == span).unwrap_or(SPANS[0]);
    let now = shop.stores.clock.now();
    let end = Minute::of(now).0 + 1;
    let begin = end - minutes;
    let sales = shop.stores.consumers.sales(Minute(begin)..Minute(end), TOP).await?;
    let minutes_a_bar = minutes / BARS;
    let mut counts = vec![0_i64; BARS as usize];
    let mut totals: BTreeMap<Currency, Sums> = BTreeMap::new();
    for ((minute, currency), sums) in &sales.by_minute {
        if let Some(count) =
            usize::try_from((minute.0 - begin) / minutes_a_bar).ok().and_then(|bar| counts.get_mut(bar))
        {
            *count += sums.sales;
        }
        *totals.entry(*currency).or_default() += *sums;
    }
    let highest = counts.iter().copied().max().unwrap_or_default();
    let bar = |(place, count): (usize, &i64)| {
        let height = if highest == 0 { 0 } else { (count * CHART_HEIGHT + highest - 1) / highest };
        let place = i64::try_from(place).unwrap_or_default();
        let when = language.moment(Minute(begin + place * minutes_a_bar).begins());
        let label = language.text_with("analytics-bar", [("when", when.into()), ("n", (*count).into())]);
        Bar { x: place * BAR_WIDTH, y: CHART_HEIGHT - height, width: BAR_WIDTH - 2, height, label }
    };
    let bars = counts.iter().enumerate().map(bar).collect();
    let total = |(currency, sums): (&Currency, &Sums)| Total {
        sales: language.number(sums.sales),
        units: language.number(sums.units),
        revenue: language.money(Money::new(sums.revenue_minor, *currency)),
        given_back: language.money(Money::new(sums.cancelled_minor, *currency)),
    };
    let mut failures: BTreeMap<Reason, i64> = BTreeMap::new();
    for ((_, reason), orders) in &sales.failures {
        *failures.entry(*reason).or_default() += orders;
    }
    let failure = |(reason, orders): (Reason, i64)| Failure {
        label: why(language, reason),
        orders: language.number(orders),
    };
    let mut best: Vec<_> = sales.by_product.into_iter().collect();
    best.sort_by_key(|((id, currency), sums)| (*currency, sums.cancelled_minor - sums.revenue_minor, *id));
    let mut top = Vec::new();
    for ((id, currency), sums) in best {
        let product = shop.stores.ledger.product(id).await?;
        top.push(Top {
            name: product.map_or_else(|| id.to_string(), |product| product.name),
            href: super::products::address(id),
            units: language.number(sums.units - sums.cancelled_units),
            revenue: language.money(Money::new(sums.revenue_minor - sums.cancelled_minor, currency)),
        });
    }
    let span = |(known, _): (&str, i64)| Span {
        label: language.text(&format!("span-{known}")),
        href: format!("/admin/analytics?span={known}"),
        current: known == word,
    };
    page(&AnalyticsPage {
        page: visit.page_of("title-analytics"),
        section: "analytics",
        spans: SPANS.map(span).into(),
        bar_label: language.text_with("analytics-a-bar", [("n", minutes_a_bar.into())]),
        bars,
        highest: language.number(highest),
        from: language
            .moment(now.minus(Duration::from_secs(60 * u64::try_from(minutes).unwrap_or_default()))),
        to: language.moment(now),
        totals: totals.iter().map(total).collect(),
        top,
        failures: failures.into_iter().map(failure).collect(),
        chart_width: BARS * BAR_WIDTH,
        chart_height: CHART_HEIGHT,
    })
}
