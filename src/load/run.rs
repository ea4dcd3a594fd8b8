//! Runs a load: closed loops, which show what a server can do, and open loops, which show how it feels.

use std::convert::Infallible;
use std::io;
use std::ops::RangeInclusive;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::{Answer, Kind};
use super::client::{Connection, Request, Response, Target};
use super::report::{Cause, Report, Tally};

/// How many connections are opened at a time; a listener's backlog holds them all.
const OPENING_MAX: usize = 64;

/// How long a closed loop rests after a request without an answer, so that it does not spin while the server is away.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(20);

/// How late a request of an open loop may be sent after the end, so that a late timer is not taken for a server that
/// is behind.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Requests of an open loop that are due within this time are due together, at its beginning. It bounds how often the
/// generator wakes up, which at high rates would cost the server more than the requests do.
const GRAIN: Duration = Duration::from_micros(200);

/// How much later than asked for Linux wakes a thread unless told otherwise. The pacer asks for that much earlier, and
/// sleeps again when that was too early.
const TIMER_SLACK: Duration = Duration::from_micros(50);

/// The rates of an open loop that make sense, in requests per second.
const RATES: RangeInclusive<f64> = 0.001..=1e9;

/// Makes the requests of one connection. Each connection has its own, so that none waits for another.
pub trait RequestSource: Send + 'static {
    /// Renders the next request and says what it is for; `None` when there are no more. It is called ahead of time:
    /// the request made last is never sent when the run ends first.
    fn next(&mut self, request: &mut Request) -> Option<Kind>;

    /// Is told how the request made last ended; without a `response` there was none.
    fn answered(&mut self, answer: Answer, response: Option<&Response<'_>>) {
        let _ = (answer, response);
    }
}

/// When the next request of a connection is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the answer to the last one is there.
    Closed,
    /// By the clock, evenly spread over time, each over the connection that has been free for longest: one that waits
    /// for its answer keeps nobody else waiting. Where all of them do, a request is sent as soon as one is free, and
    /// its latency counts from when it should have been sent.
    Open {
        /// The rate of all connections together, in requests per second.
        rate_per_second: f64,
    },
}

/// When a run ends; the time and the requests of the warm-up come on top. It always ends when the sources have no
/// more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this time; answers to requests sent by then are waited for.
    Elapsed(Duration),
    /// After this many requests, over all connections.
    Requests(u64),
    /// When the sources have no more requests.
    Exhausted,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// How fast.
    pub pace: Pace,
    /// How long requests are sent before they are measured.
    pub warm_up: Duration,
    /// How long.
    pub until: Until,
    /// How long a request may wait for its answer.
    pub timeout: Duration,
    /// Counts finished requests, those of the warm-up as well, for whoever wants to show progress.
    pub finished: Arc<AtomicU64>,
}

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is nobody to send requests.
    #[error("a load needs at least one connection")]
    NoConnections,
    /// There is no such rate.
    #[error("a rate of {0} requests per second is not between {min} and {max}", min = RATES.start(), max = RATES.end())]
    Rate(f64),
    /// The server was not there from the start. Once a run has begun, this is counted as an error instead.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the socket says.
        source: io::Error,
    },
}

/// Opens one connection for each of the `sources`, sends their requests as planned, and reports.
///
/// # Errors
/// When the plan is impossible or the server cannot be reached at the start.
pub async fn run<S: RequestSource>(plan: Plan, sources: Vec<S>) -> Result<Report, RunError> {
    let connections = sources.len();
    if connections == 0 {
        return Err(RunError::NoConnections);
    }
    let rate = match plan.pace {
        Pace::Closed => None,
        Pace::Open { rate_per_second } if RATES.contains(&rate_per_second) => Some(rate_per_second),
        Pace::Open { rate_per_second } => return Err(RunError::Rate(rate_per_second)),
    };
    let ready = open(&plan, connections)
        .await
        .map_err(|source| RunError::Connect { host: plan.target.host().to_owned(), source })?;

    let started = Instant::now();
    let measured_from = started + plan.warm_up;
    let window = Arc::new(Window {
        measured_from,
        ends: match plan.until {
            Until::Elapsed(duration) => Some(measured_from + duration),
            Until::Requests(_) | Until::Exhausted => None,
        },
        tickets: AtomicU64::new(match plan.until {
            Until::Requests(count) => count,
            Until::Elapsed(_) | Until::Exhausted => u64::MAX,
        }),
        finished: plan.finished,
    });
    let schedule = rate.map(|rate| Schedule::new(started, rate, plan.warm_up, plan.until));
    let line = Arc::new(Line { due: Semaphore::new(0), next: AtomicU64::new(0) });

    let mut tasks = JoinSet::new();
    for (connection, source) in ready.into_iter().zip(sources) {
        let pacing = match schedule {
            None => Pacing::Closed,
            Some(schedule) => Pacing::Open { schedule, line: Arc::clone(&line) },
        };
        let driver = Driver {
            connection,
            request: Request::new(&plan.target),
            source,
            window: Arc::clone(&window),
            pacing,
        };
        tasks.spawn(driver.drive());
    }
    // The end of this function, however it comes about, drops the sender and so ends the pacer.
    let (_running, stop) = mpsc::channel();
    if let Some(schedule) = schedule {
        thread::spawn(move || schedule.release(&line, connections, &stop));
    }

    let mut sum = Tally::default();
    while let Some(outcome) = tasks.join_next().await {
        match outcome {
            Ok(tally) => sum.add(tally),
            Err(error) => panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(sum.report(connections, rate))
}

/// Opens all connections before the clock starts, a few at a time.
async fn open(plan: &Plan, count: usize) -> io::Result<Vec<Connection>> {
    let mut opening = JoinSet::new();
    let mut ready = Vec::with_capacity(count);
    for index in 0..count {
        if index >= OPENING_MAX
            && let Some(opened) = opening.join_next().await
        {
            ready.push(opened.map_err(io::Error::other)??);
        }
        let (target, timeout) = (plan.target.clone(), plan.timeout);
        opening.spawn(async move { Connection::open(&target, timeout).await });
    }
    while let Some(opened) = opening.join_next().await {
        ready.push(opened.map_err(io::Error::other)??);
    }
    Ok(ready)
}

/// What all connections of a run share.
#[derive(Debug)]
struct Window {
    measured_from: Instant,
    ends: Option<Instant>,
    /// How many requests a closed loop may still send; each connection takes one at a time, so that all of them are
    /// busy to the end.
    tickets: AtomicU64,
    finished: Arc<AtomicU64>,
}

impl Window {
    fn take_ticket(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.tickets.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// When the requests of an open loop are due: request n of the run at `started + n / rate`, give or take a grain.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    started: Instant,
    rate_per_second: f64,
    /// The number of the first request after the warm-up.
    measured_from: u64,
    /// How many requests there are, those of the warm-up included.
    total: u64,
}

impl Schedule {
    fn new(started: Instant, rate_per_second: f64, warm_up: Duration, until: Until) -> Self {
        // A float becomes the nearest integer that exists, which for an absurd product is as good as endless.
        let due_within = |time: Duration| (time.as_secs_f64() * rate_per_second).ceil() as u64;
        let measured_from = due_within(warm_up);
        let total = match until {
            Until::Elapsed(duration) => due_within(warm_up + duration),
            Until::Requests(count) => measured_from.saturating_add(count),
            Until::Exhausted => u64::MAX,
        };
        Self { started, rate_per_second, measured_from, total }
    }

    fn due(&self, index: u64) -> Instant {
        let grains = (index as f64 / (self.rate_per_second * GRAIN.as_secs_f64())).floor();
        self.started + GRAIN.mul_f64(grains)
    }

    /// Lets requests out when they are due, and at the end all connections go home.
    ///
    /// It wants a thread of its own, because the timers of tokio are a millisecond wide: they would add themselves to
    /// each latency.
    fn release(&self, line: &Line, connections: usize, stop: &mpsc::Receiver<Infallible>) {
        let mut index = 0;
        while index < self.total {
            let due = self.due(index);
            loop {
                let wait = due.saturating_duration_since(Instant::now());
                let sleep = wait.checked_sub(TIMER_SLACK).unwrap_or(wait);
                if stop.recv_timeout(sleep) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                if wait.is_zero() {
                    break;
                }
            }
            let together = (index..self.total).take_while(|index| self.due(*index) <= due).count();
            line.due.add_permits(together);
            index += together as u64;
        }
        line.due.add_permits(connections);
    }
}

/// Requests that are due and wait for a connection, and connections that wait for a request.
#[derive(Debug)]
struct Line {
    /// Those that are due and nobody has taken yet, and in the end one more for each connection.
    due: Semaphore,
    /// The number, in the schedule of the run, of the next one to be taken.
    next: AtomicU64,
}

/// What tells one connection when to send.
#[derive(Debug)]
enum Pacing {
    Closed,
    Open { schedule: Schedule, line: Arc<Line> },
}

/// When a request is, or should be, sent.
struct Start {
    intended: Instant,
    /// Whether the warm-up is over.
    measured: bool,
}

/// One connection at work.
struct Driver<S> {
    connection: Connection,
    request: Request,
    source: S,
    window: Arc<Window>,
    pacing: Pacing,
}

impl<S: RequestSource> Driver<S> {
    async fn drive(mut self) -> Tally {
        let mut tally = Tally::default();
        // The request is made before its time has come, so that making it is not part of the latency.
        while let Some(kind) = self.source.next(&mut self.request) {
            let Some(start) = self.next_start(&mut tally).await else { break };
            let outcome = self.connection.send(self.request.as_bytes()).await;
            let finished = Instant::now();
            let (answer, cause) = match &outcome {
                Ok(response) => (Answer::classify(kind, response), Cause::Status(response.status)),
                Err(error) => (Answer::Error, Cause::Io(error.kind())),
            };
            self.source.answered(answer, outcome.as_ref().ok());
            let unanswered = outcome.is_err();

            if start.measured {
                tally.record(answer, finished.saturating_duration_since(start.intended));
                if answer == Answer::Error {
                    tally.record_cause(cause);
                }
                tally.elapsed = finished.saturating_duration_since(self.window.measured_from);
            }
            self.window.finished.fetch_add(1, Ordering::Relaxed);
            if unanswered && matches!(self.pacing, Pacing::Closed) {
                tokio::time::sleep(UNANSWERED_PAUSE).await;
            }
        }
        tally
    }

    /// Waits until the next request is to be sent; `None` when the run is over.
    async fn next_start(&mut self, tally: &mut Tally) -> Option<Start> {
        let Window { measured_from, ends, .. } = *self.window;
        match &self.pacing {
            Pacing::Closed => {
                let now = Instant::now();
                let over = ends.is_some_and(|end| now >= end);
                let measured = now >= measured_from;
                (!over && (!measured || self.window.take_ticket()))
                    .then_some(Start { intended: now, measured })
            }
            Pacing::Open { schedule, line } => loop {
                line.due.acquire().await.ok()?.forget();
                let index = line.next.fetch_add(1, Ordering::Relaxed);
                if index >= schedule.total {
                    return None;
                }
                let measured = index >= schedule.measured_from;
                // What a server that is behind leaves of the warm-up would take time from what is measured.
                if !measured && Instant::now() >= measured_from {
                    continue;
                }
                if ends.is_none_or(|end| Instant::now() < end + LATE_MAX) {
                    return Some(Start { intended: schedule.due(index), measured });
                }
                tally.unsent += u64::from(measured);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::routing::get;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Views `/`, at most `left` times.
    struct Views {
        left: usize,
        answered: Arc<AtomicU64>,
    }

    impl RequestSource for Views {
        fn next(&mut self, request: &mut Request) -> Option<Kind> {
            self.left = self.left.checked_sub(1)?;
            request.begin("GET", "/").end();
            Some(Kind::View)
        }

        fn answered(&mut self, answer: Answer, response: Option<&Response<'_>>) {
            assert_eq!(answer == Answer::View, response.is_some_and(|response| response.status == 200));
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn views(connections: usize) -> Vec<Views> {
        (0..connections).map(|_| Views { left: usize::MAX, answered: Arc::default() }).collect()
    }

    fn plan(target: &Target, pace: Pace, until: Until) -> Plan {
        Plan {
            target: target.clone(),
            pace,
            warm_up: Duration::ZERO,
            until,
            timeout: Duration::from_secs(5),
            finished: Arc::default(),
        }
    }

    async fn serve(app: Router) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::from(listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        target
    }

    async fn serve_at_once() -> Target {
        serve(Router::new().route("/", get(async || "ok"))).await
    }

    async fn serve_after(pause: Duration) -> Target {
        let answer = async move || {
            tokio::time::sleep(pause).await;
            "ok"
        };
        serve(Router::new().route("/", get(answer))).await
    }

    /// Stalls once, on the first request.
    async fn serve_with_stall(stall: Duration) -> Target {
        let answer = async move |State(stalled): State<Arc<AtomicBool>>| {
            if !stalled.swap(true, Ordering::Relaxed) {
                tokio::time::sleep(stall).await;
            }
            "ok"
        };
        serve(Router::new().route("/", get(answer)).with_state(Arc::default())).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_loop_shows_a_stall_in_the_requests_behind_it() {
        let stall = Duration::from_millis(400);
        let until = Until::Requests(50);

        // 40 of the 50 requests are due during the stall, so the median waits for half of it.
        let target = serve_with_stall(stall).await;
        let open = run(plan(&target, Pace::Open { rate_per_second: 100.0 }, until), views(1)).await.unwrap();
        let latency_us = open.answers[&Answer::View].latency_us;
        assert!((390_000..600_000).contains(&latency_us.max), "{latency_us:?}");
        assert!(latency_us.p90 > 300_000, "{latency_us:?}");
        assert!((100_000..250_000).contains(&latency_us.p50), "{latency_us:?}");

        // Another connection serves whoever comes meanwhile.
        let target = serve_with_stall(stall).await;
        let open = run(plan(&target, Pace::Open { rate_per_second: 100.0 }, until), views(2)).await.unwrap();
        let latency_us = open.answers[&Answer::View].latency_us;
        assert!((390_000..600_000).contains(&latency_us.max), "{latency_us:?}");
        assert!(latency_us.p90 < 100_000, "{latency_us:?}");

        // A closed loop omits them: one request is slow.
        let target = serve_with_stall(stall).await;
        let closed = run(plan(&target, Pace::Closed, until), views(1)).await.unwrap();
        let latency_us = closed.answers[&Answer::View].latency_us;
        assert!((390_000..600_000).contains(&latency_us.max), "{latency_us:?}");
        assert!(latency_us.p90 < 100_000, "{latency_us:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_loop_keeps_its_rate_over_all_connections() {
        let target = serve_after(Duration::from_millis(5)).await;
        let until = Until::Elapsed(Duration::from_millis(500));
        let report =
            run(plan(&target, Pace::Open { rate_per_second: 300.0 }, until), views(7)).await.unwrap();
        assert_eq!((report.count(Answer::View), report.requests, report.unsent), (150, 150, 0));
        assert!((0.49..0.7).contains(&report.elapsed_s), "{}", report.elapsed_s);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_that_a_slow_server_leaves_no_time_for_are_reported() {
        let target = serve_after(Duration::from_millis(50)).await;
        let mut plan =
            plan(&target, Pace::Open { rate_per_second: 200.0 }, Until::Elapsed(Duration::from_millis(300)));
        plan.warm_up = Duration::from_millis(300);
        let report = run(plan, views(2)).await.unwrap();
        // 60 of the warm-up and 60 others were due; two connections answer at most 40 a second.
        assert_eq!(report.requests + report.unsent, 60, "{report}");
        assert!(report.unsent > 20, "{report}");
        // What was left of the warm-up is not sent instead of them.
        assert!(report.requests > 4, "{report}");
    }

    #[tokio::test]
    async fn the_number_of_requests_is_exact_and_the_warm_up_is_not_among_them() {
        let target = serve_after(Duration::from_millis(2)).await;
        for pace in [Pace::Closed, Pace::Open { rate_per_second: 9000.0 }] {
            let mut plan = plan(&target, pace, Until::Requests(100));
            // It ends within a grain of the schedule, just before a request that is due at that grain's beginning.
            plan.warm_up = Duration::from_micros(50_100);
            let finished = Arc::clone(&plan.finished);
            let report = run(plan, views(8)).await.unwrap();
            assert_eq!((report.count(Answer::View), report.requests), (100, 100), "{pace:?}");
            assert!(finished.load(Ordering::Relaxed) > 110, "{pace:?}: the warm-up sends requests too");
        }
    }

    #[tokio::test]
    async fn a_run_ends_when_its_sources_do_and_tells_them_each_answer() {
        let target = serve_at_once().await;
        for pace in [Pace::Closed, Pace::Open { rate_per_second: 2000.0 }] {
            let answered = Arc::<AtomicU64>::default();
            let sources =
                [3, 0, 5].map(|left| Views { left, answered: Arc::clone(&answered) }).into_iter().collect();
            let report = run(plan(&target, pace, Until::Exhausted), sources).await.unwrap();
            assert_eq!((report.count(Answer::View), report.requests), (8, 8), "{pace:?}");
            assert_eq!(answered.load(Ordering::Relaxed), 8, "{pace:?}");
        }
    }

    #[tokio::test]
    async fn answers_are_counted_apart_and_errors_by_their_cause() {
        let calls = Arc::<AtomicU64>::default();
        let answer =
            async |State(calls): State<Arc<AtomicU64>>| match calls.fetch_add(1, Ordering::Relaxed) % 4 {
                0 | 1 => "ok".into_response(),
                2 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(),
                _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
        let target = serve(Router::new().route("/", get(answer)).with_state(calls)).await;
        let report = run(plan(&target, Pace::Closed, Until::Requests(40)), views(3)).await.unwrap();
        let counts = [Answer::View, Answer::Busy, Answer::Error].map(|answer| report.count(answer));
        assert_eq!(counts, [20, 10, 10]);
        assert_eq!(report.errors, [("status 500".to_owned(), 10)].into());
    }

    #[tokio::test]
    async fn a_server_that_goes_away_is_an_error_and_one_that_never_was_stops_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::from(listener.local_addr().unwrap());
        // Takes one request, then is gone.
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.read_u8().await.unwrap();
        });
        let report = run(plan(&target, Pace::Closed, Until::Requests(4)), views(1)).await.unwrap();
        assert_eq!(report.count(Answer::Error), 4, "{report}");
        assert_eq!(report.errors.get("connection refused"), Some(&3), "{report}");

        let error = run(plan(&target, Pace::Closed, Until::Requests(4)), views(1)).await.unwrap_err();
        assert!(matches!(error, RunError::Connect { .. }), "{error}");
    }

    #[tokio::test]
    async fn impossible_plans_are_refused() {
        let target = serve_at_once().await;
        let error = run(plan(&target, Pace::Closed, Until::Exhausted), views(0)).await.unwrap_err();
        assert!(matches!(error, RunError::NoConnections));
        for rate_per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9] {
            let error = run(plan(&target, Pace::Open { rate_per_second }, Until::Exhausted), views(1)).await;
            assert!(matches!(error, Err(RunError::Rate(_))), "{rate_per_second}");
        }
    }
}
