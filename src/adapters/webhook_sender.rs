//! [`WebhookSender`] over HTTP, with TLS or without.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::adapters::https::connector;
use crate::ports::Unavailable;
use crate::ports::webhooks::{WebhookAnswer, WebhookRequest, WebhookSender};

/// For connecting, sending and the answer together, as the specification recommends.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Bytes of an answer's body that are read, only so that the connection can be used again.
const BODY_MAX: usize = 16 * 1024;

/// Idle connections are closed before a usual server closes them.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Idle connections to one host.
const IDLE_CONNECTIONS_MAX: usize = 8;

const AGENT: &str = concat!("Holdfast/", env!("CARGO_PKG_VERSION"));

/// Sends requests to anybody's endpoints.
pub struct HttpWebhookSender {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    within: Duration,
}

impl Default for HttpWebhookSender {
    fn default() -> Self {
        Self::with_time_limit(ANSWER_WITHIN)
    }
}

impl HttpWebhookSender {
    /// One that waits for so long for an answer.
    pub fn with_time_limit(within: Duration) -> Self {
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector(within));
        Self { http, within }
    }
}

#[async_trait]
impl WebhookSender for HttpWebhookSender {
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer, Unavailable> {
        let until = Instant::now() + self.within;
        let WebhookRequest { url, id, timestamp_s, signature, body } = request;
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Unavailable(explained(&error)))?;
        let response = match timeout_at(until, self.http.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Unavailable(explained(&error))),
            Err(_) => return Err(Unavailable("no answer in time".into())),
        };
        let answer = answer(&response);
        // The head has said all; what comes of the rest is of no interest.
        let _ = timeout_at(until, Limited::new(response.into_body(), BODY_MAX).collect()).await;
        Ok(answer)
    }
}

fn answer(response: &Response<Incoming>) -> WebhookAnswer {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    WebhookAnswer { status: response.status().as_u16(), retry_after: retry_after.map(str::to_owned) }
}

/// An error with its causes. None of them has the address in it.
fn explained(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
