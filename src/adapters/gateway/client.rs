//! Calls to a payment gateway over HTTP: pooled connections, a time limit for each call, a bound on calls
//! under way, and a breaker that answers at once while the other side is down.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::adapters::https::connector;
use crate::ports::Unavailable;

use super::breaker::Breaker;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Idle connections are closed before a usual server closes them.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// How patiently a gateway is called.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For one call, connecting included.
    pub timeout: Duration,
    /// Calls under way at once; further ones wait, within their time.
    pub calls_max: usize,
    /// Failures in a row after which the gateway counts as down.
    pub failures_max: u32,
    /// Pause until it is asked whether it is back.
    pub down_for: Duration,
}

/// What stands at the other end.
pub struct Peer {
    /// Such as `https://api.example`, checked by [`base`].
    pub base: String,
    /// Sent with every request.
    pub bearer: Option<SecretString>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Where it says that it works.
    pub health: &'static str,
}

/// A client of one gateway.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    headers: HeaderMap,
    health: &'static str,
    patience: Patience,
    calls: Semaphore,
    breaker: Breaker,
}

/// A body to send.
pub struct Body {
    pub content_type: &'static str,
    pub bytes: Bytes,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// The body as what it has to be.
    ///
    /// # Errors
    /// It is something else, so the answer says nothing.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Unavailable> {
        let wrong = |error| Unavailable(format!("an answer {} that cannot be read: {error}", self.status));
        serde_json::from_slice(&self.body).map_err(wrong)
    }

    /// Whether the other side cannot answer anything, or nothing that we ask.
    fn is_none(&self) -> bool {
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
        self.status.is_server_error() || refused.contains(&self.status)
    }

    /// An answer that says nothing about what was asked.
    pub fn unexpected(&self) -> Unavailable {
        Unavailable(format!("the payment gateway answered {}", self.status))
    }
}

/// The base of a URL that names a server and nothing more, without a slash at its end.
///
/// # Errors
/// Says what is wrong; never repeats the URL, which may hold a password by mistake.
pub fn base(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
    let scheme = uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    let scheme = scheme.ok_or("it has to begin with http:// or https://")?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return Err("it names no host".into());
    }
    if authority.contains('@') {
        return Err("a secret belongs into payments.secret".into());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("nothing may follow host and port".into());
    }
    Ok(format!("{scheme}://{authority}"))
}

impl Client {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// The secret has characters that cannot be sent.
    pub fn new(peer: Peer, patience: Patience) -> Result<Self, String> {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(patience.calls_max)
            .build(connector(patience.timeout));
        let mut headers: HeaderMap = peer.headers.into_iter().collect();
        if let Some(secret) = peer.bearer {
            let value = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret()));
            let mut value = value.map_err(|_| "payments.secret has to be visible ASCII characters")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self(Arc::new(Inner {
            http,
            base: peer.base,
            headers,
            health: peer.health,
            calls: Semaphore::new(patience.calls_max),
            breaker: Breaker::new(patience.failures_max, patience.down_for),
            patience,
        })))
    }

    /// Whether the gateway is known not to answer.
    pub fn is_down(&self) -> bool {
        !self.0.breaker.is_closed()
    }

    /// Asks whether it works.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        let answer = self.call(Method::GET, self.0.health, &[], None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.unexpected()) }
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// There is no answer, or one that says that the gateway answers nothing to us. While it is down nothing is
    /// sent.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Body>,
    ) -> Result<Answer, Unavailable> {
        let (answer, has_opened) = self.0.call(method, path, headers, body).await;
        if let (Err(error), true) = (&answer, has_opened) {
            tracing::warn!(%error, "the payment gateway does not answer; it counts as down until it does");
            tokio::spawn(watch(Arc::downgrade(&self.0), self.0.patience.down_for));
        }
        answer
    }
}

/// Asks a gateway that is down again and again whether it is back, so that no buyer has to find out.
async fn watch(inner: Weak<Inner>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        if !inner.breaker.is_closed() {
            // What comes of it is written down by the breaker.
            let _ = inner.call(Method::GET, inner.health, &[], None).await;
        }
        if inner.breaker.is_closed() {
            tracing::info!("the payment gateway answers again");
            return;
        }
    }
}

impl Inner {
    /// The answer, and whether its lack has opened the breaker.
    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Body>,
    ) -> (Result<Answer, Unavailable>, bool) {
        let count = |result: &'static str| {
            metrics::counter!("holdfast_payment_calls_total", "result" => result).increment(1);
        };
        let Some(leave) = self.breaker.enter() else {
            count("not_sent");
            return (Err(Unavailable("the payment gateway is down".into())), false);
        };
        let begun = Instant::now();
        let answer =
            tokio::time::timeout(self.patience.timeout, self.send(method, path, headers, body)).await;
        metrics::histogram!("holdfast_payment_call_duration_seconds").record(begun.elapsed());
        count(if matches!(&answer, Ok(Ok(answer)) if !answer.is_none()) { "answered" } else { "unanswered" });
        match answer {
            Ok(Ok(answer)) if !answer.is_none() => {
                leave.succeeded();
                (Ok(answer), false)
            }
            Ok(Ok(answer)) => (Err(answer.unexpected()), leave.failed()),
            Ok(Err(error)) => (Err(error), leave.failed()),
            Err(_) => (Err(Unavailable("no answer in time".into())), leave.failed()),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Body>,
    ) -> Result<Answer, Unavailable> {
        let closed = |_| Unavailable("the client is closed".into());
        let _under_way = self.calls.acquire().await.map_err(closed)?;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(all) = request.headers_mut() {
            all.extend(self.headers.clone());
            all.extend(headers.iter().cloned());
            if let Some(body) = &body {
                all.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
            }
        }
        let bytes = body.map(|body| body.bytes).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|error| explained(&error))?;
        let response = self.http.request(request).await.map_err(|error| explained(&error))?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| explained(&*error))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// An error with its causes. None of them has the address or a header in it.
fn explained(error: &(dyn Error + 'static)) -> Unavailable {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    Unavailable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_server_and_nothing_more() {
        assert_eq!(base("http://127.0.0.1:8090").as_deref(), Ok("http://127.0.0.1:8090"));
        assert_eq!(base("https://pay.example/").as_deref(), Ok("https://pay.example"));
        for wrong in [
            "http://",
            "http://:80",
            "ftp://host",
            "host:80",
            "/path",
            "http://h/x",
            "http://h/?a",
            "http://me:pw@h",
        ] {
            let why = base(wrong).expect_err(wrong);
            assert!(!why.contains("pw"), "{why}");
        }
    }
}
