//! The consumer groups: each takes the events in once and makes something of them.
//!
//! What goes wrong for a while stops a group until it works again; only what cannot be decoded is put aside.

pub mod analytics;
pub mod coordination;
pub mod inventory;
pub mod letters;
pub mod notification;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::Event;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::consumer_store::{ConsumerStore, Meaning};
use crate::ports::event_log::{DeadLetter, EventLog, Group, Message, Subscription};
use crate::telemetry::Traces;

/// Messages taken in at once.
const BATCH: usize = 500;

/// How long to wait for messages in one go.
const LISTEN: Duration = Duration::from_millis(500);

/// How long a group reads on without being able to say how far it is, before it begins anew.
const UNSAID_MAX: Duration = Duration::from_secs(30);

/// Pause after the first failure; it doubles up to the second one.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A group rests so many times as long as it has worked, while many are buying, but not longer than this.
const RESTS: u32 = 60;
const REST_MAX: Duration = Duration::from_millis(1_500);

/// Makes something of events.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Takes events in; those that it had before change nothing.
    async fn take_in(&self, events: Vec<Event>) -> Result<(), Unavailable>;
}

/// A group whose effects are all in the consumer store.
pub struct Stored {
    pub group: Group,
    pub meaning: Meaning,
    pub store: Arc<dyn ConsumerStore>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Consumer for Stored {
    async fn take_in(&self, events: Vec<Event>) -> Result<(), Unavailable> {
        self.store.take_in(self.group, events, self.meaning, self.clock.now()).await.map(drop)
    }
}

/// Lets buyers go first, where consumers work on the processors that sell.
#[derive(Clone)]
pub struct Courtesy(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Courtesy {
    /// Nobody has to be let go first.
    pub fn none() -> Self {
        Self(None)
    }

    /// `busy` says whether many are buying.
    pub fn to_buyers(busy: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(busy)))
    }

    /// Pauses after work that took so long.
    async fn rest(&self, worked: Duration) {
        if self.0.as_ref().is_some_and(|busy| busy()) {
            tokio::time::sleep(worked.saturating_mul(RESTS).min(REST_MAX)).await;
        }
    }
}

/// Runs a group for ever.
pub async fn run(
    group: Group,
    consumer: Arc<dyn Consumer>,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    courtesy: Courtesy,
    traces: Traces,
) {
    let mut back_off = BackOff::new(clock);
    loop {
        match log.subscribe(group).await {
            Ok(mut subscription) => {
                let (courtesy, traces) = (&courtesy, &traces);
                let reading = Reading { group, consumer: &*consumer, log: &*log, courtesy, traces };
                let Err(error) = reading.run(&mut *subscription, &mut back_off).await;
                tracing::warn!(%group, %error, "reading the event log was interrupted");
            }
            Err(error) => tracing::warn!(%group, %error, "the event log cannot be read"),
        }
        back_off.pause().await;
    }
}

struct Reading<'a> {
    group: Group,
    consumer: &'a dyn Consumer,
    log: &'a dyn EventLog,
    courtesy: &'a Courtesy,
    traces: &'a Traces,
}

impl Reading<'_> {
    /// Reads until the log does not answer.
    async fn run(
        &self,
        subscription: &mut dyn Subscription,
        back_off: &mut BackOff,
    ) -> Result<std::convert::Infallible, Unavailable> {
        let Self { group, consumer, log, courtesy, traces } = *self;
        let mut unsaid_since = None;
        loop {
            let messages = subscription.next(BATCH, LISTEN).await?;
            back_off.reset();
            let began = Instant::now();
            let mut events = Vec::with_capacity(messages.len());
            let mut publications = Vec::with_capacity(messages.len());
            for message in messages {
                match message.content {
                    Ok(event) => {
                        events.push(event);
                        publications.push(message.publication);
                    }
                    Err(_) => bury(group, log, message, back_off).await,
                }
            }
            let count = events.len() as u64;
            while let Err(error) = take_in(consumer, &events).await {
                tracing::warn!(%group, %error, "events could not be taken in; they are tried again");
                back_off.pause().await;
            }
            back_off.reset();
            traces.taken_in(group, events.iter().zip(publications), began.elapsed());
            metrics::counter!("holdfast_consumed_events_total", "group" => group.as_str()).increment(count);
            // Also what was of no interest to the group is behind it now. While that cannot be said it reads on: what
            // it is given twice has no second effect.
            match subscription.commit().await {
                Ok(()) => unsaid_since = None,
                Err(error) => {
                    let since: Instant = *unsaid_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > UNSAID_MAX {
                        return Err(error);
                    }
                    tracing::debug!(%group, %error, "the event log was not told how far the group has read");
                    back_off.pause().await;
                }
            }
            if count > 0 {
                courtesy.rest(began.elapsed()).await;
            }
        }
    }
}

async fn take_in(consumer: &dyn Consumer, events: &[Event]) -> Result<(), Unavailable> {
    if events.is_empty() { Ok(()) } else { consumer.take_in(events.to_vec()).await }
}

/// Puts a message aside that cannot be decoded.
async fn bury(group: Group, log: &dyn EventLog, message: Message, back_off: &mut BackOff) {
    let Message { topic, place, content: Err((reason, payload)), .. } = message else { return };
    tracing::error!(%group, topic = topic.as_str(), ?place, %reason, "a message is put aside");
    let (group, reason) = (group.to_string(), reason.to_string());
    let letter = DeadLetter { topic: topic.as_str(), place, group, reason, payload };
    while let Err(error) = log.bury(letter.clone()).await {
        tracing::warn!(%error, "a message could not be put aside; it is tried again");
        back_off.pause().await;
    }
    metrics::counter!("holdfast_dead_letters_total", "group" => letter.group, "topic" => letter.topic)
        .increment(1);
}

/// Pauses that grow while nothing works.
pub struct BackOff {
    clock: Arc<dyn Clock>,
    next: Duration,
}

impl BackOff {
    /// One that begins with a short pause.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, next: PAUSE }
    }

    /// Something works.
    pub fn reset(&mut self) {
        self.next = PAUSE;
    }

    /// Waits.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.clock.jittered(self.next)).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
    }
}
