//! A collector of traces for one test: takes OTLP over HTTP, and keeps what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The run of a server that has sent it.
    pub server: String,
    pub name: String,
    pub kind: SpanKind,
    /// Ids in hexadecimal digits; an empty parent is none.
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// The traces that it refers to.
    pub links: Vec<String>,
    pub began_ns: u64,
    pub ended_ns: u64,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Default)]
struct Kept {
    spans: Vec<Seen>,
    bytes: Vec<u8>,
}

/// The collector.
pub struct Collector {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let kept = Arc::<Mutex<Kept>>::default();
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { url, kept, serving }
    }

    /// Every span that came.
    pub fn spans(&self) -> Vec<Seen> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    /// The trace of an order, in the order in which its spans began.
    pub fn trace(&self, order: &str) -> Vec<Seen> {
        let trace = order.replace('-', "");
        let mut spans = self.spans();
        spans.retain(|span| span.trace == trace);
        spans.sort_by_key(|span| span.began_ns);
        spans
    }

    /// Whether a word stands anywhere in what came.
    pub fn was_told(&self, word: &str) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.windows(word.len()).any(|bytes| bytes == word.as_bytes())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(kept): State<Arc<Mutex<Kept>>>, headers: HeaderMap, body: Bytes) -> Response {
    const PROTOBUF: &str = "application/x-protobuf";
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(request) = ExportTraceServiceRequest::decode(&*body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.bytes.extend_from_slice(&body);
    for resource in request.resource_spans {
        let about = attributes(resource.resource.unwrap_or_default().attributes);
        assert_eq!(about["service.name"], "holdfast");
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            kept.spans.push(seen(about["service.instance.id"].clone(), span));
        }
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
}

fn seen(server: String, span: Span) -> Seen {
    Seen {
        server,
        kind: span.kind(),
        name: span.name,
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        links: span.links.into_iter().map(|link| hex::encode(link.trace_id)).collect(),
        began_ns: span.start_time_unix_nano,
        ended_ns: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("no attribute of ours is {other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}
