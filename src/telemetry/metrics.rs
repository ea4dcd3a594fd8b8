//! Every metric that a server shows, with what it means: what is not in this table is not shown under a name of ours.
//! `docs/METRICS.md` is made of it.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

/// A metric.
pub struct Metric {
    /// By Prometheus' rules: unit last, `_total` for what is counted.
    pub name: &'static str,
    pub kind: Kind,
    /// Its labels; each has few values.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy)]
pub enum Kind {
    Counter,
    Gauge,
    /// Counted in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word that Prometheus has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Seconds: fine where buyers are answered, up to what they wait for at most.
pub const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Seconds of what may take a customer's time.
const LONG_SECONDS: [f64; 12] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Seconds of calls that take less than a millisecond.
const SHORT_SECONDS: [f64; 12] =
    [0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0];

/// Pieces of work in one batch.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), labels, help }
}

/// Groups of metrics: each with its heading.
#[rustfmt::skip]
pub const METRICS: &[(&str, &[Metric])] = &[
    ("HTTP", &[
        histogram("holdfast_http_request_duration_seconds", &SECONDS, &["route", "method", "status"],
            "Time until a request was answered; of a live page, until its stream began"),
        gauge("holdfast_http_requests_in_flight", &[], "Requests that are being answered"),
        gauge("holdfast_http_connections", &[], "Open connections"),
        gauge("holdfast_http_connections_max", &[], "Connections that may be open"),
        counter("holdfast_http_rate_limited_total", &["by"],
            "Requests refused with 429, because of their account or their address"),
        gauge("holdfast_live_streams", &["kind"], "Open live pages"),
    ]),
    ("Purchases", &[
        counter("holdfast_purchases_total", &["result"],
            "What buyers were told: sold, pending, refused (sold out, another price), declined (by their bank or \
             themselves), invalid (their mistake), failed (ours), busy"),
        counter("holdfast_sagas_total", &["result", "reason"], "Sagas that have ended, or are stuck"),
        counter("holdfast_sold_units_total", &[], "Units in confirmed orders"),
        counter("holdfast_shop_sales_total", &[],
            "Orders ever confirmed in the whole shop, as analytics has counted them: outlives every restart"),
        counter("holdfast_shop_sold_units_total", &[], "Units in them"),
        counter("holdfast_shop_cancelled_sales_total", &[], "Those among them that were cancelled"),
        histogram("holdfast_saga_duration_seconds", &LONG_SECONDS, &["result"],
            "Time from the buyer's request to the end of the saga"),
        histogram("holdfast_saga_step_duration_seconds", &SECONDS, &["step", "action"],
            "Time that a step took for one batch"),
        counter("holdfast_saga_step_outcomes_total", &["step", "action", "outcome"],
            "What came of steps, saga by saga"),
        histogram("holdfast_saga_batch_size", &SIZES, &["step", "action"], "Sagas in one batch of a step"),
        gauge("holdfast_saga_queue_depth", &["step"], "Sagas that wait for a step"),
        gauge("holdfast_sagas_in_flight", &[], "Sagas on their way in this process"),
        gauge("holdfast_sagas_in_flight_max", &[], "Sagas that may be on their way in this process"),
        gauge("holdfast_unfinished_sagas", &["state"],
            "Sagas of the whole shop that have not ended: open (all of them), waiting (for their customers), stuck"),
        gauge("holdfast_stuck_saga_age_seconds", &[], "How long the oldest stuck saga has been stuck; 0 without one"),
        gauge("holdfast_saga_findings", &[], "Sagas whose events have stopped, or say something else than the ledger"),
    ]),
    ("Stores", &[
        gauge("holdfast_dependency_up", &["dependency"], "Whether ledger, gate and payment gateway answer"),
        gauge("holdfast_db_connections", &["database", "state"],
            "Connections to a database: to each MySQL member, or those that read an SQLite file"),
        gauge("holdfast_db_connections_max", &["database"], "Connections that may be open to it"),
        histogram("holdfast_db_connection_wait_seconds", &SECONDS, &[], "Time that was waited for a connection"),
        counter("holdfast_db_connection_timeouts_total", &[], "Connections that were waited for in vain"),
        histogram("holdfast_db_commit_duration_seconds", &SECONDS, &["database"], "Time that a commit took"),
        histogram("holdfast_db_commit_batch_size", &SIZES, &["database"], "Pieces of work in one commit"),
        counter("holdfast_db_retries_total", &["reason"], "Transactions that were done again, by why"),
        histogram("holdfast_redis_call_duration_seconds", &SHORT_SECONDS, &[], "Time that one call to Redis took"),
        counter("holdfast_lock_acquired_total", &[], "Locks of products that were got"),
        counter("holdfast_lock_contended_total", &[], "Locks that somebody else had at first"),
        counter("holdfast_lock_timeouts_total", &[], "Locks that were not free in time"),
        histogram("holdfast_lock_wait_seconds", &SECONDS, &[], "Time that was waited for a lock"),
        counter("holdfast_cache_requests_total", &["layer", "result"],
            "Questions to the layers of the product cache: every look begins in the process's own"),
    ]),
    ("Truth, measured from the data", &[
        gauge("holdfast_gate_products", &[], "Products of the last comparison of gate and ledger"),
        gauge("holdfast_gate_drifted_products", &[], "Those among them in which gate and ledger differed"),
        gauge("holdfast_gate_drift_units", &[], "Units by which they differed"),
        counter("holdfast_gate_comparisons_total", &[], "Comparisons of gate and ledger"),
        counter("holdfast_gate_mended_units_total", &[], "Units that were put right in the gate"),
        counter("holdfast_gate_mended_holds_total", &[], "Holds that were put right in the gate"),
        counter("holdfast_gate_leaked_holds_total", &[],
            "Holds past their deadline that no order came of, and that were given back"),
        gauge("holdfast_oversold_units", &[],
            "Units in confirmed and pending orders beyond what was ever stocked: 0, always"),
        gauge("holdfast_charged_without_order", &[],
            "Charges that the gateway keeps for an order that is not there, failed or was cancelled: 0, always"),
        gauge("holdfast_books_checked_timestamp_seconds", &[],
            "When the last complete check of orders, stock and charges ended, in seconds since 1970"),
        gauge("holdfast_books_check_duration_seconds", &[], "How long that check took, its pauses included"),
    ]),
    ("Events", &[
        gauge("holdfast_outbox_unsent_entries", &[], "Entries of the outbox that the event log is not known to have"),
        gauge("holdfast_outbox_lag_seconds", &[], "Age of the oldest of them; 0 without one"),
        counter("holdfast_relay_sent_events_total", &[], "Events sent to the event log"),
        counter("holdfast_relay_missed_total", &[], "Entries that were not sent at once, and were found in the outbox"),
        gauge("holdfast_consumer_lag_events", &["group"], "Messages that a consumer group has not taken in yet"),
        gauge("holdfast_event_log_partitions", &["state"],
            "Partitions of the event log: whole, under_replicated, offline; none in one process"),
        counter("holdfast_consumed_events_total", &["group"], "Events that a consumer group has taken in"),
        counter("holdfast_dead_letters_total", &["group", "topic"], "Messages that could not be read, and were put aside"),
        counter("holdfast_mails_total", &["result"], "Mails to customers"),
        counter("holdfast_webhooks_total", &["result"], "Calls to the addresses that administrators have named"),
        counter("holdfast_webhook_endpoints_disabled_total", &["why"], "Such addresses that were given up"),
    ]),
    ("Payments", &[
        counter("holdfast_payment_calls_total", &["result"],
            "Calls to the payment gateway: answered, unanswered, not_sent (while it counts as down)"),
        histogram("holdfast_payment_call_duration_seconds", &SECONDS, &[], "Time that such a call took"),
    ]),
    ("Process", &[
        gauge("holdfast_build_info", &["version"], "1, with the version of the program"),
        counter("holdfast_log_suppressed_total", &["level"],
            "Lines of the log that were left out, because the same place in the program had just written many"),
        counter("holdfast_log_lost_total", &[], "Lines of the log that were lost, because nobody took them"),
        counter("holdfast_trace_spans_total", &["result"], "Spans of traced orders, by whether the collector has them"),
        gauge("holdfast_runtime_workers", &["runtime"], "Threads that run tasks"),
        gauge("holdfast_runtime_tasks", &["runtime"], "Tasks that have not ended"),
        gauge("holdfast_runtime_queue_depth", &["runtime"], "Tasks that wait in the common queue"),
    ]),
];

/// Every metric.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().flat_map(|(_, metrics)| *metrics)
}

/// A recorder with the buckets of the histograms.
pub(super) fn builder() -> Result<PrometheusBuilder, BuildError> {
    all().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(bounds) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
        }
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

/// What is counted in a store begins where it was, not at 0.
const OF_A_STORE: &str = "holdfast_shop_";

/// Tells the recorder what each metric means. What nobody has counted yet is shown as 0, so that its first one is seen
/// as a change.
pub(super) fn describe() {
    for metric in all() {
        match metric.kind {
            Kind::Counter => {
                metrics::describe_counter!(metric.name, metric.help);
                if metric.labels.is_empty() && !metric.name.starts_with(OF_A_STORE) {
                    metrics::counter!(metric.name).absolute(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
