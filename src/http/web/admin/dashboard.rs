//! A sale while it runs. The page has the figures of the moment; its script draws what has been and what comes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::watch;

use crate::dashboard::{Standing, Tick};
use crate::http::Shop;
use crate::http::extract::{LastEventId, is_administrator};
use crate::http::problem::Problem;
use crate::http::web::page;
use crate::http::web::texts::Language;
use crate::http::web::visit::{Page, Visit};

use super::Administrator;

/// Ticks after which it is looked whether whoever watches may still.
const CHECK_EVERY: u32 = 15;

/// From here on milliseconds are shown without decimals; the script does the same.
const LONG_MS: f64 = 100.0;

/// A sign of life for those between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Template)]
#[template(path = "admin/dashboard.html")]
struct DashboardPage {
    page: Page,
    section: &'static str,
    figures: Vec<Figure>,
    charts: [Chart; 4],
    standing: Standing,
}

/// A number that is shown large.
struct Figure {
    name: &'static str,
    label: String,
    value: String,
}

/// A chart, and the lines that it has.
struct Chart {
    label: String,
    /// What numbers on it are: of a second, milliseconds, percent.
    unit: &'static str,
    lines: Vec<Line>,
}

struct Line {
    name: &'static str,
    label: String,
}

/// Shows how the sale goes.
pub async fn show(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
) -> Result<Response, Problem> {
    let language = visit.language;
    let tick = shop.dashboard.watch().borrow().clone();
    let chart = |key: &str, unit, names: &[&'static str]| Chart {
        label: language.text(key),
        unit,
        lines: names.iter().map(|name| Line { name, label: words(language, "line", name) }).collect(),
    };
    page(&DashboardPage {
        page: visit.page_of("title-dashboard"),
        section: "dashboard",
        figures: figures(language, tick.as_ref()),
        charts: [
            chart("chart-purchases", "rate", &["sales", "sold_out", "declined", "failed"]),
            chart("chart-latency", "ms", &["p50_ms", "p95_ms", "p99_ms"]),
            chart("chart-views", "rate", &["views"]),
            chart("chart-cache", "percent", &["cache_hit_rate"]),
        ],
        standing: shop.dashboard.standing().await,
    })
}

/// The words for a figure in one of the places where it is shown.
fn words(language: Language, place: &str, name: &str) -> String {
    language.text(&format!("{place}-{}", name.replace('_', "-")))
}

/// The numbers of the last second, as the script writes them, too.
fn figures(language: Language, tick: Option<&Tick>) -> Vec<Figure> {
    let rate = |count: fn(&Tick) -> u64| {
        let rate = tick.map(|tick| count(tick) as f64 * 1_000.0 / tick.ms.max(1) as f64);
        language.number(rate.unwrap_or_default().round() as i64)
    };
    let none = || "–".to_owned();
    let ms = |value: Option<f64>| match value {
        None => none(),
        // Of long times nobody reads the parts.
        Some(ms) if ms >= LONG_MS => language.number(ms.round() as i64),
        Some(ms) => language.decimal(ms),
    };
    let percent = |part: Option<f64>| part.map_or_else(none, |part| language.decimal(part * 100.0));
    let values = [
        ("sales", rate(|tick| tick.sales)),
        ("sold_out", rate(|tick| tick.sold_out)),
        ("busy", rate(|tick| tick.busy)),
        ("views", rate(|tick| tick.views)),
        ("p50_ms", ms(tick.and_then(|tick| tick.p50_ms))),
        ("p95_ms", ms(tick.and_then(|tick| tick.p95_ms))),
        ("p99_ms", ms(tick.and_then(|tick| tick.p99_ms))),
        ("cache_hit_rate", percent(tick.and_then(|tick| tick.cache_hit_rate))),
        ("servers", language.number(tick.map_or(0, |tick| tick.servers as i64))),
    ];
    values
        .into_iter()
        .map(|(name, value)| Figure { name, label: words(language, "figure", name), value })
        .collect()
}

/// What the script is told.
#[derive(Serialize)]
struct Now<'a> {
    ticks: &'a [Tick],
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Arc<Standing>>,
}

/// Tells the last five minutes at once, or what has come since `Last-Event-ID`, and then each second.
pub async fn live(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    LastEventId(last_seen): LastEventId,
) -> Response {
    let last_seen = last_seen.and_then(|id| id.parse().ok()).unwrap_or(i64::MIN);
    let (newest, standing) = (shop.dashboard.watch(), shop.dashboard.watch_standing());
    let events = told(Reader { shop, visit, newest, standing, last_seen, turn: 0 });
    // Proxies that would wait for more of it are told not to.
    let headers = [("cache-control", "no-store"), ("x-accel-buffering", "no")];
    (headers, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
}

struct Reader {
    shop: Shop,
    visit: Visit,
    newest: watch::Receiver<Option<Tick>>,
    standing: watch::Receiver<Arc<Standing>>,
    last_seen: i64,
    turn: u32,
}

fn told(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(reader, async |mut reader| {
        if reader.turn > 0 {
            reader.newest.changed().await.ok()?;
        }
        let is_checked = reader.turn % CHECK_EVERY == CHECK_EVERY - 1;
        let is_over = reader.shop.is_stopping()
            || is_checked
                && !is_administrator(&reader.shop, reader.visit.principal, true).await.unwrap_or(true);
        if is_over {
            return None;
        }
        reader.newest.mark_unchanged();
        let mut ticks = reader.shop.dashboard.ticks();
        ticks.retain(|tick| tick.at.0 > reader.last_seen);
        reader.last_seen = ticks.last().map_or(reader.last_seen, |tick| tick.at.0);
        let is_news = reader.standing.has_changed().unwrap_or_default();
        let standing = is_news.then(|| Arc::clone(&reader.standing.borrow_and_update()));
        reader.turn = reader.turn.wrapping_add(1);
        let now = Now { ticks: &ticks, standing };
        let event = Event::default().id(reader.last_seen.to_string()).event("tick");
        let event = event.json_data(now).unwrap_or_else(|_| Event::default().comment("nothing"));
        Some((Ok(event), reader))
    })
}
