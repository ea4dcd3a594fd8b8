//! Logs: to standard error, as text for people or as JSON for machines, an event a line.
//!
//! No log holds up a sale. Lines wait in a bounded queue for the thread that writes them; what comes too often is left
//! out, counted, and said so; what finds no room because nobody takes the log is lost and counted.

use std::collections::HashMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Log, LogFormat};

use super::request;

/// Lines that wait to be written.
const ROOM: usize = 8_192;

/// Pause between two looks for what was left out.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes what waits when it is dropped: to be kept until the process ends.
#[must_use]
pub struct Logs {
    _writing: Option<WorkerGuard>,
}

/// Starts logging for this process, inside of a runtime; the first call wins.
///
/// # Errors
/// The level is neither a level nor a filter.
pub fn start(log: &Log) -> Result<Logs, String> {
    let filter =
        EnvFilter::try_new(&log.level).map_err(|error| format!("configuration: log.level: {error}"))?;
    let is_terminal = std::io::stderr().is_terminal();
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(ROOM)
        .thread_name("logs")
        .finish(std::io::stderr());
    let lost = writer.error_counter();
    let limiter = Limiter::new(log.per_second_max);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_terminal);
    let lines = match log.format {
        LogFormat::Text => lines.event_format(Text::new(is_terminal)).boxed(),
        LogFormat::Auto if is_terminal => lines.event_format(Text::new(is_terminal)).boxed(),
        LogFormat::Auto | LogFormat::Json => lines.event_format(Json).boxed(),
    };
    let started = Registry::default().with(lines).with(limiter.clone()).with(filter).try_init();
    // Only tests start it twice.
    if started.is_err() {
        return Ok(Logs { _writing: None });
    }
    tokio::spawn(tell(limiter, lost));
    Ok(Logs { _writing: Some(guard) })
}

/// Says now and then what is not in the log.
async fn tell(limiter: Limiter, lost: ErrorCounter) {
    let mut known = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (place, events) in limiter.left_out() {
            let (file, line) = (place.file().unwrap_or_default(), place.line().unwrap_or_default());
            let of = level(place);
            tracing::warn!(events, of, file, line, "an event came too often and was left out");
        }
        let all = lost.dropped_lines();
        if all > known {
            metrics::counter!("holdfast_log_lost_total").absolute(all as u64);
            tracing::warn!(lines = all - known, "lines of the log were lost because nobody took them");
            known = all;
        }
    }
}

/// Lets so many events of each place in the code through in a second.
#[derive(Clone)]
struct Limiter {
    per_second_max: u32,
    began: Instant,
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
}

/// A place in the code that logs.
struct Place {
    metadata: &'static Metadata<'static>,
    second: u64,
    /// Let through in that second.
    shown: u32,
    /// Left out since somebody asked.
    left_out: u64,
}

impl Limiter {
    fn new(per_second_max: u32) -> Self {
        Self { per_second_max, began: Instant::now(), places: Arc::default() }
    }

    /// Whether an event of this place may be shown now.
    fn admits(&self, metadata: &'static Metadata<'static>) -> bool {
        let second = self.began.elapsed().as_secs();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Place { metadata, second, shown: 0, left_out: 0 };
        let place = places.entry(metadata.callsite()).or_insert_with(new);
        if place.second != second {
            (place.second, place.shown) = (second, 0);
        }
        let is_shown = place.shown < self.per_second_max;
        if is_shown {
            place.shown += 1;
        } else {
            place.left_out += 1;
        }
        is_shown
    }

    /// The places of which events were left out since the last call, with their number.
    fn left_out(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = places.values_mut().filter(|place| place.left_out > 0);
        left_out.map(|place| (place.metadata, std::mem::take(&mut place.left_out))).collect()
    }
}

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let is_shown = self.admits(event.metadata());
        if !is_shown {
            let level = level(event.metadata());
            metrics::counter!("holdfast_log_suppressed_total", "level" => level).increment(1);
        }
        is_shown
    }
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What is known of the request at hand, as fields of an event.
fn of_request() -> Vec<(&'static str, String)> {
    let known = request::present(|request| {
        let order = request.order().map(|order| ("order_id", order.to_string()));
        [Some(("request_id", request.id().to_owned())), order].into_iter().flatten().collect()
    });
    known.unwrap_or_default()
}

/// Lines for people.
struct Text(Format<Full>);

impl Text {
    fn new(is_terminal: bool) -> Self {
        // Colours are for people; in a file they are noise that hides words from a search.
        Self(Format::default().with_ansi(is_terminal))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.trim_end())?;
        for (name, value) in of_request() {
            write!(writer, " {name}={value}")?;
        }
        writeln!(writer)
    }
}

/// Lines for machines: one object each, whose members are the event's fields and what is known of its request.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Members::default();
        event.record(&mut members);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        members.0.insert("timestamp".into(), time.into());
        members.0.insert("level".into(), event.metadata().level().as_str().into());
        members.0.entry("target").or_insert(event.metadata().target().into());
        for (name, value) in of_request() {
            members.0.entry(name).or_insert(value.into());
        }
        writeln!(writer, "{}", Value::Object(members.0))
    }
}

#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, field: &Field, value: Value) {
        // Libraries that know only the older way of logging have their place in fields of these names.
        let name = match field.name() {
            "log.target" => "target",
            name if name.starts_with("log.") => return,
            name => name,
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::ports::clock::{Clock as _, SystemClock};
    use crate::telemetry::request::Request;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().expect("nobody panics").clone();
            String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_logs_too_often_is_heard_so_often_and_no_more() {
        let (kept, limiter) = (Kept::default(), Limiter::new(10));
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).event_format(Json);
        let subscriber = Registry::default().with(lines).with(limiter.clone());
        let _here = tracing::subscriber::set_default(subscriber);
        let storm = |events: u32| (0..events).for_each(|number| tracing::warn!(number, "a storm"));
        storm(1_000);
        tracing::warn!("another place");
        assert_eq!(kept.lines().len(), 11);
        let left_out = limiter.left_out();
        assert_eq!(left_out.iter().map(|(_, events)| events).collect::<Vec<_>>(), [&990]);
        assert_eq!(left_out[0].0.file(), Some(file!()));
        assert!(limiter.left_out().is_empty(), "it is told once");
        tokio::time::advance(Duration::from_secs(1)).await;
        storm(4);
        assert_eq!(kept.lines().len(), 15);
    }

    #[tokio::test]
    async fn a_line_says_to_which_request_and_order_it_belongs() {
        let order = SystemClock.new_order_id();
        let saga = SystemClock.new_order_id();
        let told = async |format: LogFormat| {
            let kept = Kept::default();
            let writer = kept.clone();
            let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
            let lines = match format {
                LogFormat::Json => lines.event_format(Json).boxed(),
                LogFormat::Auto | LogFormat::Text => lines.event_format(Text::new(false)).boxed(),
            };
            let _here = tracing::subscriber::set_default(Registry::default().with(lines));
            tracing::info!(units = 3, price = 2.5, %saga, "nobody's");
            let answer = async {
                request::is_about(order);
                tracing::info!("somebody's \"own\"\nline");
            };
            Request::new("the-request").answer(answer).await;
            kept.lines()
        };
        let lines = told(LogFormat::Json).await;
        let json = |line: &str| serde_json::from_str::<Value>(line).expect("an object a line");
        let (first, second) = (json(&lines[0]), json(&lines[1]));
        assert_eq!((&first["units"], &first["price"]), (&3.into(), &2.5.into()));
        assert_eq!((&first["level"], &first["message"]), (&"INFO".into(), &"nobody's".into()));
        assert_eq!(first["saga"], saga.to_string());
        assert_eq!(first["target"], module_path!());
        assert!(first["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{first}");
        assert_eq!(first.get("request_id"), None);
        assert_eq!(second["request_id"], "the-request");
        assert_eq!(second["order_id"], order.to_string());
        assert_eq!(second["message"], "somebody's \"own\"\nline");
        assert_eq!(lines.len(), 2);
        let lines = told(LogFormat::Text).await;
        assert!(lines[0].ends_with(&format!("nobody's units=3 price=2.5 saga={saga}")), "{lines:?}");
        let last = lines.last().expect("a line");
        assert!(last.ends_with(&format!("request_id=the-request order_id={order}")), "{lines:?}");
    }
}
