//! Streams as answers over HTTP, for whatever handler has found out who asks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::domain::{Order, ProductId};
use crate::http::Shop;
use crate::http::problem::{Kind, Problem};

use super::Slot;
use super::order_feed::Opened;
use super::topics::Frames;

/// Pause between two signs of life, from which everybody on the way sees that the stream is not dead.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// A comment, which browsers take no notice of.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// The longest pause before a browser comes back after its stream has ended. Each is told its own, from half of it on:
/// thousands that a restart has cut off do not come back in the same instant.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// The stream of a product's stock: an event with the present figure at once, and one with each later one.
///
/// # Errors
/// There is no such product, there are too many streams, or the stores do not answer.
pub async fn stock_response(shop: &Shop, id: ProductId) -> Result<Response, Problem> {
    let slot = slot(shop, "stock")?;
    let frames = shop.live.stock.open(id).await?;
    let frames = frames.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such product."))?;
    Ok(event_stream(Body::from_stream(events(frames, retry(shop), slot))))
}

/// The stream of an order, until it is settled. The caller has made sure that it may be seen. `last_seen` is the id of
/// the last event that the client has had: where nothing can come after it the answer is 204, and browsers stop asking.
///
/// # Errors
/// There are too many streams, or the ledger does not answer.
pub async fn order_response(
    shop: &Shop,
    order: Arc<Order>,
    last_seen: Option<&str>,
) -> Result<Response, Problem> {
    let slot = slot(shop, "order")?;
    match shop.live.orders.open(order, last_seen).await? {
        Opened::Stream(frames) => Ok(event_stream(Body::from_stream(events(frames, retry(shop), slot)))),
        Opened::Settled(frame) if last_seen == Some(&*frame.id) => Ok(StatusCode::NO_CONTENT.into_response()),
        Opened::Settled(frame) => Ok(event_stream(frame.bytes.into())),
    }
}

fn slot(shop: &Shop, kind: &'static str) -> Result<Slot, Problem> {
    if shop.is_stopping() {
        return Err(Problem::new(Kind::Unavailable, "The server is about to stop."));
    }
    let slot = shop.live.slot(kind);
    slot.ok_or_else(|| Problem::new(Kind::Busy, "As many live pages are open as this server can serve."))
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // For proxies that would wait for more of it.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// How long this client is to wait before it comes back.
fn retry(shop: &Shop) -> Bytes {
    let pause = shop.stores.clock.jittered(RETRY_MAX);
    format!("retry: {}\n\n", pause.as_millis()).into()
}

struct Reader {
    frames: Frames,
    /// What comes before the first event.
    begin: Option<Bytes>,
    heartbeat: Interval,
    _slot: Slot,
}

/// What one client is sent.
fn events(frames: Frames, begin: Bytes, slot: Slot) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { frames, begin: Some(begin), heartbeat, _slot: slot };
    stream::unfold(reader, async |mut reader| {
        if let Some(begin) = reader.begin.take() {
            return Some((Ok(begin), reader));
        }
        let bytes = tokio::select! {
            changed = reader.frames.changed() => {
                changed.ok()?;
                reader.frames.borrow_and_update().bytes.clone()
            }
            _ = reader.heartbeat.tick() => HEARTBEAT,
        };
        Some((Ok(bytes), reader))
    })
}
