//! Turns away whoever asks for too much, before anything is done for them.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shop;
use super::problem::{Kind, Problem};

/// Who is at the other end of the connection.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Lets a request pass if its address may ask once more.
pub async fn limit(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    if let Some(Peer(peer)) = request.extensions().get() {
        let forwarded = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
        if let Err(pause) = shop.limits.address(*peer, forwarded) {
            return too_many("From this address come more requests than one may send.", pause)
                .into_response();
        }
    }
    next.run(request).await
}

/// The answer to whoever may come back after `pause`.
pub fn too_many(detail: &str, pause: Duration) -> Problem {
    Problem::new(Kind::RateLimited, detail).retry_after(pause)
}
