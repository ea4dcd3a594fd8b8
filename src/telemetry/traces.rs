//! Traces: what was done for an order, from the request through each step to the consumers, as spans of OpenTelemetry.
//!
//! Nothing of it is kept in the sagas: a trace and the span of its request are named by the order (see
//! [`crate::domain::trace`]). What has no room on its way to the collector is left out; nobody waits for it.
//!
//! Sources: OpenTelemetry's semantic conventions for HTTP servers, messaging and CloudEvents; OTLP over HTTP.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::adapters::https::connector;
use crate::config;
use crate::domain::trace::scatter;
use crate::domain::{Event, InstanceId, OrderId, Outcome, Sampling, TraceContext, cloud_event};
use crate::ports::clock;
use crate::ports::event_log::Group;
use crate::ports::saga_watcher::{SagaWatcher, Taken};

use super::request::{self, Request};

/// Spans that wait to be sent.
const ROOM: usize = 16_384;

/// Spans sent in one go.
const BATCH: usize = 1_024;

/// Pause between two goes.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// How long the collector may take, tries included.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How long a server that ends waits for the collector.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// Where OTLP over HTTP takes traces.
const PATH: &str = "/v1/traces";

/// Where spans go; nowhere unless a collector is named.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    sampling: Sampling,
    /// Makes the names of spans differ from those of other servers.
    instance: u64,
    named: AtomicU64,
    scope: InstrumentationScope,
    spans: mpsc::Sender<SpanData>,
    stop: Arc<Notify>,
    sending: Mutex<Option<JoinHandle<()>>>,
}

/// An answered request.
pub struct Answered<'a> {
    pub request: &'a Request,
    pub method: &'static str,
    /// As the router knows it.
    pub route: &'a str,
    pub status: u16,
    pub took: Duration,
    /// Where it stands in the client's own trace.
    pub client: Option<TraceContext>,
}

/// Events that are being published.
pub struct Publishing {
    recorder: Arc<Recorder>,
    began: Instant,
    events: Vec<(TraceContext, TraceContext, About)>,
}

/// What is shown of an event.
struct About {
    id: String,
    kind: &'static str,
    topic: &'static str,
}

/// What is particular about a span.
struct Particulars {
    name: Cow<'static, str>,
    kind: SpanKind,
    status: Status,
    took: Duration,
    attributes: Vec<KeyValue>,
    links: SpanLinks,
}

/// Checks the address of a collector.
///
/// # Errors
/// Says what is wrong; never repeats the address, which may hold a password by mistake.
pub fn check(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
    if !uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return Err("it has to begin with http:// or https://".into());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a password belongs into OTEL_EXPORTER_OTLP_HEADERS".into());
    }
    if uri.query().is_some() {
        return Err("nothing may follow its path".into());
    }
    Ok(())
}

impl Traces {
    /// Starts sending spans of this run of a server to the collector that the settings name, if any.
    ///
    /// # Errors
    /// The settings of the environment (`OTEL_…`) are wrong.
    pub fn start(settings: &config::Traces, instance: InstanceId) -> Result<Self, String> {
        let (Some(url), Some(sampling)) = (&settings.url, settings.sampling()) else {
            return Ok(Self::default());
        };
        let mut exporter = exporter(url).map_err(|error| error.to_string())?;
        exporter.set_resource(
            &Resource::builder()
                .with_service_name("holdfast")
                .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                .with_attribute(KeyValue::new("service.instance.id", instance.0.to_string()))
                .build(),
        );
        let (spans, queue) = mpsc::channel(ROOM);
        let stop = Arc::new(Notify::new());
        let sending = tokio::spawn(send(exporter, queue, Arc::clone(&stop)));
        Ok(Self(Some(Arc::new(Recorder {
            sampling,
            instance: instance.0.as_u64_pair().1,
            named: AtomicU64::new(0),
            scope: InstrumentationScope::builder("holdfast").build(),
            spans,
            stop,
            sending: Mutex::new(Some(sending)),
        }))))
    }

    /// Sends what is left, and nothing after it.
    pub async fn close(&self) {
        let Some(recorder) = &self.0 else { return };
        recorder.stop.notify_one();
        let sending = recorder.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sending) = sending
            && tokio::time::timeout(CLOSED_WITHIN, sending).await.is_err()
        {
            tracing::warn!("the collector of traces did not take the last of them in time");
        }
    }

    /// A request was answered. Those that are about no order are in no trace.
    pub fn answered(&self, answered: &Answered<'_>) {
        let Some(recorder) = &self.0 else { return };
        let Answered { request, method, route, status, took, client } = *answered;
        let Some(order) = request.order() else { return };
        let Some(root) = recorder.root(order) else { return };
        let mut links = SpanLinks::default();
        links.links.extend(client.map(|client| Link::with_context(context(client, true))));
        let particulars = Particulars {
            name: format!("{method} {route}").into(),
            kind: SpanKind::Server,
            status: if status >= 500 { Status::error("") } else { Status::Unset },
            took,
            attributes: vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("http.response.status_code", i64::from(status)),
                KeyValue::new("holdfast.request.id", request.id().to_owned()),
            ],
            links,
        };
        // A retry, and whoever asks about the order later, stands under the request that has begun it.
        if request.has_begun(order) {
            recorder.record(root, None, particulars);
        } else {
            recorder.record(recorder.under(root), Some(root), particulars);
        }
    }

    /// Events are about to be published.
    pub fn publishing(&self, events: &[Event]) -> Option<Publishing> {
        let recorder = self.0.as_ref()?;
        let traced = |event: &Event| {
            let root = recorder.root(event.saga_id)?;
            let context = TraceContext::of_event(event.saga_id, event.sequence, true);
            Some((context, root, About::event(event)))
        };
        let events = events.iter().filter_map(traced).collect();
        Some(Publishing { recorder: Arc::clone(recorder), began: Instant::now(), events })
    }

    /// A group has taken in events, each of which says where it was published, if that is known.
    pub fn taken_in<'a>(
        &self,
        group: Group,
        events: impl Iterator<Item = (&'a Event, Option<TraceContext>)>,
        took: Duration,
    ) {
        let Some(recorder) = &self.0 else { return };
        for (event, publication) in events {
            // Where nobody has published it, as in a shop of one process, the order itself says it.
            let parent = publication.or_else(|| recorder.root(event.saga_id));
            let Some(parent) = parent.filter(|parent| parent.sampled) else { continue };
            let about = About::event(event);
            let mut attributes = about.attributes("process");
            attributes.push(KeyValue::new("messaging.consumer.group.name", group.as_str()));
            let particulars = Particulars {
                name: format!("process {} {}", about.kind, group.as_str()).into(),
                kind: SpanKind::Consumer,
                status: Status::Unset,
                took,
                attributes,
                links: SpanLinks::default(),
            };
            recorder.record(recorder.under(parent), Some(parent), particulars);
        }
    }
}

impl SagaWatcher for Traces {
    fn began(&self, saga: OrderId) {
        request::has_begun(saga);
    }

    fn stepped(&self, taken: Taken<'_>) {
        let Some(recorder) = &self.0 else { return };
        let Taken { step, undone, took, sagas, outcomes } = taken;
        let action = if undone { "undo" } else { "act" };
        let batch = i64::try_from(sagas.len()).unwrap_or(i64::MAX);
        for (saga, outcome) in sagas.iter().zip(outcomes) {
            let Some(root) = recorder.root(saga.id) else { continue };
            let mut attributes = vec![
                KeyValue::new("holdfast.step", step.as_str()),
                KeyValue::new("holdfast.action", action),
                KeyValue::new("holdfast.outcome", outcome.as_str()),
                KeyValue::new("holdfast.batch.size", batch),
                KeyValue::new("holdfast.saga.epoch", i64::from(saga.driver.epoch)),
            ];
            attributes
                .extend(outcome.reason().map(|reason| KeyValue::new("holdfast.reason", reason.as_str())));
            let particulars = Particulars {
                name: if undone { format!("undo {step}").into() } else { step.as_str().into() },
                kind: SpanKind::Internal,
                status: if *outcome == Outcome::Unknown { Status::error("no answer") } else { Status::Unset },
                took,
                attributes,
                links: SpanLinks::default(),
            };
            recorder.record(recorder.under(root), Some(root), particulars);
        }
    }
}

impl Publishing {
    /// They are in the log.
    pub fn done(self) {
        let took = self.began.elapsed();
        for (context, root, about) in self.events {
            let particulars = Particulars {
                name: format!("send {}", about.kind).into(),
                kind: SpanKind::Producer,
                status: Status::Unset,
                took,
                attributes: about.attributes("send"),
                links: SpanLinks::default(),
            };
            self.recorder.record(context, Some(root), particulars);
        }
    }
}

impl About {
    fn event(event: &Event) -> Self {
        let (kind, topic) = (event.body.kind(), event.body.topic().as_str());
        Self { id: cloud_event::id(event), kind, topic }
    }

    fn attributes(&self, operation: &'static str) -> Vec<KeyValue> {
        vec![
            KeyValue::new("messaging.operation.type", operation),
            KeyValue::new("messaging.destination.name", self.topic),
            KeyValue::new("cloudevents.event_id", self.id.clone()),
            KeyValue::new("cloudevents.event_type", format!("{}{}", cloud_event::TYPE_PREFIX, self.kind)),
        ]
    }
}

impl Recorder {
    /// The span under which everything of an order stands, where it is shown at all.
    fn root(&self, order: OrderId) -> Option<TraceContext> {
        self.sampling.takes(order).then(|| TraceContext::of_request(order, true))
    }

    /// A new span of the same trace.
    fn under(&self, parent: TraceContext) -> TraceContext {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        TraceContext { span: scatter(self.instance ^ scatter(number)).max(1), ..parent }
    }

    /// Takes in a span that has just ended.
    fn record(&self, span: TraceContext, parent: Option<TraceContext>, particulars: Particulars) {
        let Particulars { name, kind, status, took, attributes, links } = particulars;
        let end_time = clock::moment();
        let span = SpanData {
            span_context: context(span, false),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span)),
            parent_span_is_remote: false,
            span_kind: kind,
            name,
            start_time: end_time.checked_sub(took).unwrap_or(end_time),
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: self.scope.clone(),
        };
        if self.spans.try_send(span).is_err() {
            count("dropped", 1);
        }
    }
}

fn context(context: TraceContext, is_remote: bool) -> SpanContext {
    let TraceContext { trace, span, sampled } = context;
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, is_remote, TraceState::NONE)
}

fn exporter(url: &str) -> Result<SpanExporter, opentelemetry_otlp::ExporterBuildError> {
    SpanExporter::builder()
        .with_http()
        .with_http_client(HyperClient::new(connector(TAKEN_WITHIN), TAKEN_WITHIN, None))
        .with_endpoint(format!("{}{PATH}", url.trim_end_matches('/')))
        .with_timeout(TAKEN_WITHIN)
        .build()
}

/// Counts spans by what became of them.
fn count(result: &'static str, spans: usize) {
    metrics::counter!("holdfast_trace_spans_total", "result" => result).increment(spans as u64);
}

/// Sends spans until it is told to stop, and then those that are left.
async fn send(exporter: SpanExporter, mut queue: mpsc::Receiver<SpanData>, stop: Arc<Notify>) {
    let mut is_taken = true;
    loop {
        let stops = tokio::select! {
            () = stop.notified() => true,
            () = tokio::time::sleep(SEND_EVERY) => false,
        };
        if stops {
            queue.close();
        }
        while !queue.is_empty() {
            let mut batch = Vec::new();
            let spans = queue.recv_many(&mut batch, BATCH).await;
            match exporter.export(batch).await {
                Ok(()) => {
                    is_taken = true;
                    count("sent", spans);
                }
                Err(error) => {
                    count("failed", spans);
                    if std::mem::take(&mut is_taken) {
                        tracing::warn!(%error, "the collector of traces takes none; they are left out until it does");
                    }
                }
            }
        }
        if stops {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_names_no_collector_is_refused() {
        for good in ["http://localhost:4318", "https://collector.example/otlp/"] {
            assert_eq!(check(good), Ok(()));
        }
        for wrong in ["", "localhost:4318", "ftp://host", "http://me:secret@host", "http://host/?key=secret"]
        {
            let why = check(wrong).expect_err(wrong);
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
