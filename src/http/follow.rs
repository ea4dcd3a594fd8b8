//! Follows a request from its arrival to its answer: gives it a name, by which logs and its client know it, measures it,
//! and shows it among what else is done for its order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::domain::TraceContext;
use crate::telemetry::request;
use crate::telemetry::traces::Answered;

use super::Shop;
use super::measure::{self, Present};

/// Names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name that a request may come with.
const ID_MAX: usize = 64;

/// Says where a request stands in its client's trace. Source: W3C Trace Context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Counts the requests that came without a name.
static NAMED: AtomicU64 = AtomicU64::new(0);

/// Follows a request.
pub async fn follow(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _in_flight = Present::new(measure::IN_FLIGHT);
    let named = given_name(request.headers()).map(str::to_owned);
    let named = named.unwrap_or_else(|| new_name(&shop));
    let known = request::Request::new(named);
    let client = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok());
    let client = client.and_then(TraceContext::parse);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let answer = async {
        let response = next.run(request).await;
        let took = began.elapsed();
        measure::count(&method, route.as_ref(), response.status(), took);
        let (route, status) = (route.as_ref().map_or("", MatchedPath::as_str), response.status().as_u16());
        // The address itself may say more than a log should know.
        tracing::debug!(%method, route, status, ?took, "a request was answered");
        // What only looks at an order is no part of its story.
        if method == Method::POST {
            let request = &*known;
            shop.traces.answered(&Answered { request, method: "POST", route, status, took, client });
        }
        response
    };
    let mut response = Arc::clone(&known).answer(answer).await;
    if let Ok(name) = HeaderValue::from_str(known.id()) {
        response.headers_mut().insert(REQUEST_ID, name);
    }
    response
}

/// A name that no other request has, on any server. It is no secret: random ones would be a call to the system each.
fn new_name(shop: &Shop) -> String {
    let (_, server) = shop.engine.instance().0.as_u64_pair();
    format!("{server:016x}{:016x}", NAMED.fetch_add(1, Ordering::Relaxed))
}

/// The name that a request came with, if it can stand in logs: that of the client, or of the load balancer.
fn given_name(headers: &HeaderMap) -> Option<&str> {
    let name = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    ((1..=ID_MAX).contains(&name.len()) && name.bytes().all(is_plain)).then_some(name)
}
