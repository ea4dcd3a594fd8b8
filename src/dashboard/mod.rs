//! What administrators see of a sale while it runs.
//!
//! Once a second every server reads its own metrics ([`figures`]) and tells the others, and each of them adds up what
//! all have said. So any server shows the whole shop, and needs nothing but itself for it. What has to be asked of the
//! stores ([`standing`]) is asked only while somebody looks.

mod figures;
mod standing;

pub use standing::{Sources, Standing};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::domain::{InstanceId, ProductId, Timestamp};
use crate::ports::clock::Clock;
use crate::ports::live::{Figures, LiveUpdates, Report};
use crate::saga::Engine;
use crate::telemetry;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks that are kept: five minutes.
const KEPT: usize = 300;

/// Looks over which quantiles are taken, so that they do not jump.
const QUANTILES_OVER: usize = 10;

/// Looks over which products count as selling now.
const SELLING_OVER: usize = 60;

/// A server that has said nothing for so long is gone, and one that has said nothing for longer does not come back: until
/// then it goes on from where it was counted.
const SILENT_MAX: Duration = Duration::from_secs(5);
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Pause between two looks at the stores.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Products of a report.
const SOLD_MAX: usize = 50;

/// Products that are shown.
const SELLING_MAX: usize = 8;

/// What the shop did in about a second.
#[derive(Clone, Debug, Serialize)]
pub struct Tick {
    pub at: Timestamp,
    /// How long it was.
    pub ms: u64,
    pub servers: usize,
    pub sales: u64,
    pub units: u64,
    pub sold_out: u64,
    pub declined: u64,
    pub failed: u64,
    /// Sent away: too much was going on, or something did not answer.
    pub busy: u64,
    pub views: u64,
    /// Purchases' answers, in milliseconds, over the last ten ticks.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Part of the looks at products that the caches have answered.
    pub cache_hit_rate: Option<f64>,
}

/// The figures of the whole shop, second by second.
pub struct Dashboard {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    live: Option<Arc<dyn LiveUpdates>>,
    sources: Sources,
    state: Mutex<State>,
    newest: watch::Sender<Option<Tick>>,
    standing: watch::Sender<Arc<Standing>>,
}

#[derive(Default)]
struct State {
    servers: HashMap<InstanceId, Server>,
    sold: HashMap<ProductId, u64>,
    /// The newest last.
    ticks: VecDeque<Tick>,
    figures: VecDeque<Figures>,
    selling: VecDeque<HashMap<ProductId, u64>>,
}

/// What has been heard of a server.
struct Server {
    heard_at: Instant,
    newest: Figures,
    /// What is in the ticks already.
    counted: Figures,
}

impl Dashboard {
    /// A dashboard of what `engine`'s server counts, of what others say over `live`, and of what `sources` know.
    pub fn new(
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        live: Option<Arc<dyn LiveUpdates>>,
        sources: Sources,
    ) -> Self {
        let (newest, standing) = (watch::Sender::new(None), watch::Sender::default());
        Self { engine, clock, live, sources, state: Mutex::default(), newest, standing }
    }

    /// Starts looking, and listening to the others.
    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let mut tasks =
            vec![tokio::spawn(Arc::clone(self).look()), tokio::spawn(Arc::clone(self).keep_asking())];
        if let Some(live) = &self.live {
            let (dashboard, mut reports) = (Arc::clone(self), live.listen_to_reports());
            tasks.push(tokio::spawn(async move {
                while let Some(report) = reports.next().await {
                    dashboard.hear(report);
                }
            }));
        }
        tasks
    }

    /// The last five minutes, oldest first.
    pub fn ticks(&self) -> Vec<Tick> {
        self.state().ticks.iter().cloned().collect()
    }

    /// The newest tick, and each later one.
    pub fn watch(&self) -> watch::Receiver<Option<Tick>> {
        self.newest.subscribe()
    }

    /// How things stand, and each later standing. They are asked for as long as somebody has one of these.
    pub fn watch_standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// How things stand now.
    pub async fn standing(&self) -> Standing {
        self.sources.ask(self.best()).await
    }

    async fn keep_asking(self: Arc<Self>) {
        loop {
            if self.standing.receiver_count() > 0 {
                self.standing.send_replace(Arc::new(self.standing().await));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// The products that sold most in the last minute, with their units.
    fn best(&self) -> Vec<(ProductId, u64)> {
        let mut sums: BTreeMap<ProductId, u64> = BTreeMap::new();
        for sold in &self.state().selling {
            for (product, units) in sold {
                *sums.entry(*product).or_default() += units;
            }
        }
        let mut best: Vec<_> = sums.into_iter().collect();
        best.sort_by_key(|(product, units)| (std::cmp::Reverse(*units), *product));
        best.truncate(SELLING_MAX);
        best
    }

    async fn look(self: Arc<Self>) {
        let server = self.engine.instance();
        let mut turns = tokio::time::interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Instant::now();
        loop {
            turns.tick().await;
            let figures = Figures::read(&telemetry::figures());
            let mut sold: Vec<_> = self.engine.tally().take().into_iter().collect();
            sold.sort_by_key(|(product, units)| (std::cmp::Reverse(*units), *product));
            sold.truncate(SOLD_MAX);
            let report = Report { server, figures, sold };
            if let Some(live) = &self.live {
                // Whoever carries it may be slow; this goes on.
                let (live, report) = (Arc::clone(live), report.clone());
                tokio::spawn(async move {
                    if let Err(error) = live.tell_report(&report).await {
                        tracing::debug!(%error, "the other servers were not told what this one counts");
                    }
                });
            }
            self.take_in(report);
            let now = Instant::now();
            let tick = self.add_up(now, now - before);
            before = now;
            self.newest.send_replace(Some(tick));
        }
    }

    /// Its own report comes back from the others' channel, too, and later than it was counted.
    fn hear(&self, report: Report) {
        if report.server != self.engine.instance() {
            self.take_in(report);
        }
    }

    fn take_in(&self, Report { server, figures, sold }: Report) {
        let mut state = self.state();
        for (product, units) in sold {
            *state.sold.entry(product).or_default() += units;
        }
        let heard_at = Instant::now();
        match state.servers.get_mut(&server) {
            Some(known) => (known.heard_at, known.newest) = (heard_at, figures),
            // What it counted before this one heard of it is not of this second.
            None => {
                let counted = figures.clone();
                state.servers.insert(server, Server { heard_at, newest: figures, counted });
            }
        }
    }

    fn add_up(&self, now: Instant, span: Duration) -> Tick {
        let mut state = self.state();
        let mut sum = Figures::default();
        state.servers.retain(|_, server| now < server.heard_at + KNOWN_FOR);
        for server in state.servers.values_mut() {
            sum.add(&server.newest.since(&server.counted));
            server.counted = server.newest.clone();
        }
        let sold = std::mem::take(&mut state.sold);
        keep(&mut state.selling, sold, SELLING_OVER);
        keep(&mut state.figures, sum.clone(), QUANTILES_OVER);
        let mut lately = Figures::default();
        state.figures.iter().for_each(|figures| lately.add(figures));
        let tick = Tick {
            at: self.clock.now(),
            ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            servers: state.servers.values().filter(|server| now < server.heard_at + SILENT_MAX).count(),
            sales: sum.sales,
            units: sum.units,
            sold_out: sum.sold_out,
            declined: sum.declined,
            failed: sum.failed,
            busy: sum.busy,
            views: sum.views,
            p50_ms: lately.quantile_ms(0.50),
            p95_ms: lately.quantile_ms(0.95),
            p99_ms: lately.quantile_ms(0.99),
            cache_hit_rate: (lately.looks > 0).then(|| lately.cache_hits as f64 / lately.looks as f64),
        };
        keep(&mut state.ticks, tick.clone(), KEPT);
        tick
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the newest, and forgets what is too old.
fn keep<T>(kept: &mut VecDeque<T>, newest: T, max: usize) {
    kept.push_back(newest);
    if kept.len() > max {
        kept.pop_front();
    }
}
