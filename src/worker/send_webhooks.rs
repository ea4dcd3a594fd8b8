//! Tells the endpoints of the shop's owners of orders, each event until it was taken or tried often enough.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::consumers::{BackOff, webhooks};
use crate::domain::Timestamp;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;
use crate::ports::webhooks::{
    Delivery, ENDPOINTS_MAX, Endpoint, EndpointId, EndpointState, Health, Outcome, Settled, WebhookAnswer,
    WebhookSender, WebhookStore,
};

/// Pause when there is nothing to send, and between two looks for new endpoints.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Requests to one endpoint at once.
pub const AT_ONCE: usize = 8;

/// How long nobody else tries a delivery that somebody tries; longer than a try can take.
pub const LEASE: Duration = Duration::from_secs(60);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Pauses before the second try and those after it, in seconds; each is cut by up to a half. After the last one the
/// delivery has failed.
const PAUSES_S: [u64; 12] = [
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];

/// Times that a delivery is tried.
pub const TRIES_MAX: usize = PAUSES_S.len() + 1;

/// An endpoint may ask for a pause as long as the longest one.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * HOUR);

/// How long deliveries can be looked at and replayed.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * HOUR);

/// Pause between two sweeps, and deliveries that one transaction deletes.
const SWEEP_EVERY: Duration = Duration::from_secs(HOUR);
const SWEEP: usize = 1_000;

const GONE: u16 = 410;

/// What webhooks are sent with.
pub struct Webhooks {
    pub store: Arc<dyn WebhookStore>,
    pub ledger: Arc<dyn Ledger>,
    pub sender: Arc<dyn WebhookSender>,
    pub clock: Arc<dyn Clock>,
}

/// Runs for ever. Each endpoint is served by itself, so that a slow one holds up nobody else; all of it ends with this
/// task, so that nobody uses the stores after it.
pub async fn run(webhooks: Arc<Webhooks>) {
    let (found, enabled) = mpsc::channel(ENDPOINTS_MAX);
    tokio::join!(webhooks.look(found), webhooks.serve_all(enabled));
}

/// What came of a try, and what it tells of the endpoint.
type Tried = (Settled, Health);

impl Webhooks {
    /// Sends what is due to an endpoint, up to [`AT_ONCE`] deliveries; returns how many were tried, or `None` where it
    /// is not enabled.
    ///
    /// # Errors
    /// Store or ledger do not answer. What was tried and is not settled is tried again.
    pub async fn send_due(&self, id: EndpointId) -> Result<Option<usize>, Unavailable> {
        // Read anew each time: address and secret may be others by now.
        let endpoint = self.store.endpoint(id).await?;
        let Some(endpoint) = endpoint.filter(|endpoint| endpoint.state == EndpointState::Enabled) else {
            return Ok(None);
        };
        let due = self.store.due_deliveries(id, self.clock.now(), LEASE, AT_ONCE).await?;
        if due.is_empty() {
            return Ok(Some(0));
        }
        let tried = join_all(due.iter().map(|delivery| self.deliver(&endpoint, delivery))).await;
        let (mut settled, mut healths, mut unavailable) = (Vec::new(), Vec::new(), None);
        for tried in tried {
            match tried {
                Ok((outcome, health)) => {
                    settled.push(outcome);
                    healths.push(health);
                }
                Err(error) => unavailable = Some(error),
            }
        }
        let health = [Health::Gone, Health::Works, Health::Fails];
        let health = health.into_iter().find(|health| healths.contains(health)).unwrap_or(Health::Unasked);
        let disabled = self.store.settle_deliveries(id, settled, health, self.clock.now()).await?;
        if let Some(why) = disabled {
            tracing::warn!(endpoint = %id, why = why.as_str(), "an endpoint of webhooks is disabled");
            metrics::counter!("holdfast_webhook_endpoints_disabled_total", "why" => why.as_str())
                .increment(1);
        }
        unavailable.map_or(Ok(Some(due.len())), Err)
    }

    /// Looks for enabled endpoints, and deletes what is too old.
    async fn look(&self, found: mpsc::Sender<EndpointId>) {
        let mut back_off = BackOff::new(Arc::clone(&self.clock));
        let mut next_sweep = Instant::now();
        loop {
            match self.store.endpoints().await {
                Ok(endpoints) => {
                    back_off.reset();
                    let enabled = |endpoint: &&Endpoint| endpoint.state == EndpointState::Enabled;
                    for endpoint in endpoints.iter().filter(enabled) {
                        // Whoever serves ends with this one.
                        let _ = found.send(endpoint.id).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the endpoints of webhooks cannot be read");
                    back_off.pause().await;
                }
            }
            if Instant::now() >= next_sweep {
                match self.sweep().await {
                    Ok(SWEEP) => {}
                    Ok(_) => next_sweep = Instant::now() + SWEEP_EVERY,
                    Err(error) => tracing::warn!(%error, "old webhooks could not be swept"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Serves each endpoint that is found, side by side.
    async fn serve_all(&self, mut found: mpsc::Receiver<EndpointId>) {
        let (mut served, mut serving) = (HashSet::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                Some(id) = found.recv() => {
                    if served.insert(id) {
                        serving.push(self.serve(id));
                    }
                }
                Some(id) = serving.next() => {
                    served.remove(&id);
                }
                else => return,
            }
        }
    }

    /// Serves an endpoint as long as it is enabled; returns which it was.
    async fn serve(&self, id: EndpointId) -> EndpointId {
        let mut back_off = BackOff::new(Arc::clone(&self.clock));
        loop {
            match self.send_due(id).await {
                Ok(None) => return id,
                Ok(Some(0)) => {
                    back_off.reset();
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(Some(_)) => back_off.reset(),
                Err(error) => {
                    tracing::warn!(endpoint = %id, %error, "webhooks could not be sent");
                    back_off.pause().await;
                }
            }
        }
    }

    /// Deletes what is too old.
    async fn sweep(&self) -> Result<usize, Unavailable> {
        self.store.sweep_deliveries(self.clock.now().minus(KEPT_FOR), SWEEP).await
    }

    async fn deliver(&self, endpoint: &Endpoint, delivery: &Delivery) -> Result<Tried, Unavailable> {
        let notice = &delivery.notice;
        let events = self.ledger.events_of(notice.saga).await?;
        let event = events.iter().find(|event| event.sequence == notice.sequence);
        let event = event.ok_or_else(|| {
            Unavailable(format!(
                "there is a webhook for event {} of order {}, which is not there",
                notice.sequence, notice.saga
            ))
        })?;
        let request = webhooks::request(endpoint, notice.kind, event, self.clock.now());
        let answer = self.sender.send(request).await;
        let (outcome, health) = match answer {
            Ok(WebhookAnswer { status: status @ 200..=299, .. }) => {
                (Outcome::Delivered { status }, Health::Works)
            }
            Ok(WebhookAnswer { status, retry_after }) => {
                let health = if status == GONE { Health::Gone } else { Health::Fails };
                let wish = retry_after.and_then(|text| retry_after_of(&text, self.clock.now()));
                let error = format!("the endpoint answered {status}");
                (self.again_or_failed(delivery.attempts, wish, Some(status), error), health)
            }
            Err(Unavailable(error)) => {
                (self.again_or_failed(delivery.attempts, None, None, error), Health::Fails)
            }
        };
        let result = match &outcome {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Again { .. } => "again",
            Outcome::Failed { .. } => "failed",
        };
        metrics::counter!("holdfast_webhooks_total", "result" => result).increment(1);
        Ok((Settled { saga: notice.saga, sequence: notice.sequence, outcome }, health))
    }

    fn again_or_failed(
        &self,
        attempts: u32,
        wish: Option<Duration>,
        status: Option<u16>,
        error: String,
    ) -> Outcome {
        let before = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(pause_s) = PAUSES_S.get(before) else {
            return Outcome::Failed { status, error };
        };
        let pause = self.clock.jittered(Duration::from_secs(*pause_s));
        let at = self.clock.now().plus(pause.max(wish.unwrap_or_default()));
        Outcome::Again { at, status, error }
    }
}

/// The pause that a header `Retry-After` asks for: seconds, or a date.
fn retry_after_of(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(date.saturating_sub(now.0)).unwrap_or_default())
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_a_pause_is_seconds_or_a_date_and_never_longer_than_a_day() {
        let now = Timestamp(1_445_412_480_000 - 90_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999", Some(86_400)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(90)),
            ("Wed, 21 Oct 2014 07:28:00 GMT", None),
            ("Tue, 21 Oct 2014 07:28:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after_of(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
