//! What a drill's history says about each fault: how long nothing was sold or shown, what went wrong meanwhile, and how
//! long customers waited before, during and after it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::history::{self, Attempt, Header, HistoryError, Kind, Outcome, Phase, Record, Silence};

/// What went wrong with a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// 503: busy, or for a moment unable.
    Unavailable,
    /// 429.
    TooMany,
    /// Any other 5xx.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No connection, or one that was lost.
    Connection,
    /// An answer that nobody should get.
    Unexpected,
}

impl Trouble {
    /// Every kind, in the order of the table's columns.
    pub const ALL: [Self; 6] = [
        Self::Unavailable,
        Self::TooMany,
        Self::ServerError,
        Self::Timeout,
        Self::Connection,
        Self::Unexpected,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Unavailable => "503",
            Self::TooMany => "429",
            Self::ServerError => "5xx",
            Self::Timeout => "time-outs",
            Self::Connection => "connection",
            Self::Unexpected => "unexpected",
        }
    }

    fn of(kind: Kind, status: Option<u16>, error: Option<Silence>) -> Option<Self> {
        match (status, error) {
            (_, Some(Silence::Timeout)) => Some(Self::Timeout),
            (_, Some(Silence::Connection)) => Some(Self::Connection),
            (Some(503), _) => Some(Self::Unavailable),
            (Some(429), _) => Some(Self::TooMany),
            (Some(500..), _) => Some(Self::ServerError),
            (Some(402 | 409), _) if kind != Kind::View => None,
            (Some(200..300), _) | (None, None) => None,
            (Some(_), None) => Some(Self::Unexpected),
        }
    }
}

/// The figures of one phase of a fault.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct PhaseFigures {
    pub seconds: f64,
    pub sales_per_second: f64,
    pub views_per_second: f64,
    /// From the intended begin of a purchase to the answer that it is sold, all attempts together; `None` where
    /// nothing was sold.
    pub purchase_p99_ms: Option<f64>,
    pub view_p99_ms: Option<f64>,
}

/// One fault, once.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FaultRun {
    pub fault: String,
    pub run: u32,
    /// The longest time without a sale that overlaps the time from the fault to the end of the phase after it.
    pub without_sales_s: f64,
    pub without_views_s: f64,
    pub troubles: BTreeMap<Trouble, u64>,
    pub purchases: u64,
    /// Purchases that were neither sold nor refused nor declined as they should be.
    pub failed: u64,
    pub before: PhaseFigures,
    pub during: PhaseFigures,
    pub after: PhaseFigures,
}

/// Everything that a history tells about time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    pub seed: u64,
    pub target: String,
    pub rate_per_second: f64,
    pub customers: u64,
    pub seconds: f64,
    pub interrupted: bool,
    /// Requests that were never sent, because too many were on their way.
    pub unsent: u64,
    pub views: u64,
    pub purchases: u64,
    pub sales: u64,
    /// All purchases whose customers know, or not, by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    pub runs: Vec<FaultRun>,
}

/// A purchase that came to an end.
#[derive(Clone, Copy)]
struct Bought {
    intended_us: u64,
    end_us: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
struct Span {
    phase: Phase,
    from_us: u64,
    to_us: u64,
    views: u64,
    view_p99_us: u64,
}

/// What is kept of a history while it is read.
#[derive(Default)]
struct Seen {
    bought: Vec<Bought>,
    gaps_us: Vec<(u64, u64)>,
    troubles: Vec<(u64, Trouble)>,
    spans: Vec<((String, u32), Span)>,
    views: u64,
    end_us: u64,
    interrupted: bool,
    unsent: u64,
}

/// Reads a history and makes figures of it.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Figures, HistoryError> {
    let (header, records) = history::read(path)?;
    // A history without an end is that of a drill that was killed.
    let mut seen = Seen { interrupted: true, ..Seen::default() };
    for record in records {
        seen.take(record?);
    }
    Ok(seen.figures(&header))
}

impl Seen {
    fn take(&mut self, record: Record) {
        match record {
            Record::Attempt(Attempt { kind, end_us, status, error, .. }) => {
                self.trouble(kind, end_us, status, error);
            }
            Record::View { end_us, status, error, .. } => self.trouble(Kind::View, end_us, status, error),
            Record::Ended { kind: Kind::Purchase, intended_us, end_us, outcome, .. } => {
                self.bought.push(Bought { intended_us, end_us, outcome });
            }
            Record::ViewGap { from_us, to_us } => self.gaps_us.push((from_us, to_us)),
            Record::Views { count, .. } => self.views += count,
            Record::Phase { fault, run, phase, from_us, to_us, views, view_p99_us, .. } => {
                self.end_us = self.end_us.max(to_us);
                self.spans.push(((fault, run), Span { phase, from_us, to_us, views, view_p99_us }));
            }
            Record::End { at_us, interrupted, unsent } => {
                self.end_us = self.end_us.max(at_us);
                (self.interrupted, self.unsent) = (interrupted, unsent);
            }
            _ => {}
        }
    }

    fn trouble(&mut self, kind: Kind, end_us: u64, status: Option<u16>, error: Option<Silence>) {
        self.troubles.extend(Trouble::of(kind, status, error).map(|trouble| (end_us, trouble)));
    }

    fn figures(self, header: &Header) -> Figures {
        let sold = |bought: &&Bought| bought.outcome == Outcome::Done;
        let mut sales_us: Vec<u64> = self.bought.iter().filter(sold).map(|bought| bought.end_us).collect();
        sales_us.sort_unstable();
        let mut outcomes: BTreeMap<&'static str, u64> = BTreeMap::new();
        for bought in &self.bought {
            *outcomes.entry(word(bought.outcome)).or_default() += 1;
        }
        let mut runs: Vec<FaultRun> = Vec::new();
        let mut rest = &*self.spans;
        while let Some((name, _)) = rest.first() {
            let length = rest.iter().take_while(|(other, _)| other == name).count();
            let (spans, others) = rest.split_at(length);
            let spans: Vec<Span> = spans.iter().map(|(_, span)| *span).collect();
            // The calm before a fault that never came says nothing about it.
            if let Some(broken) = spans.iter().find(|span| span.phase == Phase::During) {
                runs.push(self.run(name, &spans, broken, &sales_us));
            }
            rest = others;
        }
        Figures {
            seed: header.seed,
            target: header.target.clone(),
            rate_per_second: header.rate_per_second,
            customers: header.customers,
            seconds: seconds(self.end_us),
            interrupted: self.interrupted,
            unsent: self.unsent,
            views: self.views,
            purchases: self.bought.len() as u64,
            sales: sales_us.len() as u64,
            outcomes,
            runs,
        }
    }

    fn run(&self, (fault, run): &(String, u32), spans: &[Span], broken: &Span, sales_us: &[u64]) -> FaultRun {
        let (from_us, to_us) = (spans[0].from_us, spans[spans.len() - 1].to_us);
        let without = |gaps: &mut dyn Iterator<Item = (u64, u64)>| {
            seconds(longest_overlap(gaps, broken.from_us, to_us))
        };
        let mut troubles = BTreeMap::new();
        for (_, trouble) in self.troubles.iter().filter(|(at_us, _)| (from_us..to_us).contains(at_us)) {
            *troubles.entry(*trouble).or_default() += 1;
        }
        let of_run = |bought: &&Bought| (from_us..to_us).contains(&bought.intended_us);
        let bought: Vec<Bought> = self.bought.iter().filter(of_run).copied().collect();
        let is_failed = |bought: &&Bought| {
            matches!(bought.outcome, Outcome::Failed | Outcome::Rejected | Outcome::Unknown)
        };
        let figures = |phase| {
            let span = spans.iter().find(|span| span.phase == phase);
            span.map_or_else(PhaseFigures::default, |span| phase_figures(span, &bought, sales_us))
        };
        FaultRun {
            fault: fault.clone(),
            run: *run,
            without_sales_s: without(&mut gaps(sales_us, self.end_us)),
            without_views_s: without(&mut self.gaps_us.iter().copied()),
            troubles,
            purchases: bought.len() as u64,
            failed: bought.iter().filter(is_failed).count() as u64,
            before: figures(Phase::Before),
            during: figures(Phase::During),
            after: figures(Phase::After),
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "sold",
        Outcome::SoldOut => "sold out",
        Outcome::Declined => "declined",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed => "failed",
        Outcome::Rejected => "rejected",
        Outcome::Unknown => "unknown",
    }
}

fn phase_figures(span: &Span, bought: &[Bought], sales_us: &[u64]) -> PhaseFigures {
    let contains = |at_us: u64| (span.from_us..span.to_us).contains(&at_us);
    let seconds = seconds(span.to_us - span.from_us);
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let of_phase = |bought: &&Bought| bought.outcome == Outcome::Done && contains(bought.intended_us);
    let mut latencies_us: Vec<u64> =
        bought.iter().filter(of_phase).map(|bought| bought.end_us - bought.intended_us).collect();
    latencies_us.sort_unstable();
    PhaseFigures {
        seconds,
        sales_per_second: per_second(sales_us.iter().filter(|at_us| contains(**at_us)).count() as u64),
        views_per_second: per_second(span.views),
        purchase_p99_ms: percentile(&latencies_us, 0.99).map(milliseconds),
        view_p99_ms: (span.views > 0).then(|| milliseconds(span.view_p99_us)),
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1e3
}

/// The times between moments, which are in order; before the first and after the last one, too.
fn gaps(moments_us: &[u64], end_us: u64) -> impl Iterator<Item = (u64, u64)> {
    let from = std::iter::once(0).chain(moments_us.iter().copied());
    let to = moments_us.iter().copied().chain(std::iter::once(end_us));
    from.zip(to)
}

/// The length of the longest of the `gaps` that overlap the time from `from_us` to `to_us`.
fn longest_overlap(gaps: &mut dyn Iterator<Item = (u64, u64)>, from_us: u64, to_us: u64) -> u64 {
    let overlapping = gaps.filter(|(from, to)| *from < to_us && *to > from_us);
    overlapping.map(|(from, to)| to.saturating_sub(from)).max().unwrap_or_default()
}

/// The least of the values, which are in order, that is not exceeded by this share of them.
fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

impl Figures {
    /// Each fault with the worst figure of its runs, in the order of their first ones.
    fn worst(&self) -> Vec<(FaultRun, usize)> {
        let mut worst: Vec<(FaultRun, usize)> = Vec::new();
        for run in &self.runs {
            match worst.iter_mut().find(|(other, _)| other.fault == run.fault) {
                Some((other, count)) => {
                    *count += 1;
                    other.worsen(run);
                }
                None => worst.push((run.clone(), 1)),
            }
        }
        worst
    }

    /// The table, a row a fault; the first row has the headings.
    fn table(&self) -> Vec<Vec<String>> {
        let mut headings: Vec<String> =
            ["fault", "runs", "no sales s", "no views s"].map(str::to_owned).into();
        headings.extend(Trouble::ALL.map(|trouble| trouble.heading().to_owned()));
        headings
            .extend(["failed", "purchase p99 ms", "view p99 ms", "sales/s", "views/s"].map(str::to_owned));
        let mut table = vec![headings];
        for (run, count) in self.worst() {
            let phases = [run.before, run.during, run.after];
            let three = |figure: fn(&PhaseFigures) -> Option<f64>| {
                let shown = phases.map(|phase| match figure(&phase).filter(|_| phase.seconds > 0.0) {
                    Some(value) if value >= 100.0 => format!("{value:.0}"),
                    Some(value) => format!("{value:.1}"),
                    None => "-".to_owned(),
                });
                shown.join(" / ")
            };
            let mut row = vec![
                run.fault.clone(),
                count.to_string(),
                format!("{:.2}", run.without_sales_s),
                format!("{:.2}", run.without_views_s),
            ];
            let troubles = Trouble::ALL.map(|trouble| run.troubles.get(&trouble).copied());
            row.extend(troubles.map(|count| count.unwrap_or_default().to_string()));
            row.push(format!("{} of {}", run.failed, run.purchases));
            row.push(three(|phase| phase.purchase_p99_ms));
            row.push(three(|phase| phase.view_p99_ms));
            row.push(three(|phase| Some(phase.sales_per_second)));
            row.push(three(|phase| Some(phase.views_per_second)));
            table.push(row);
        }
        table
    }

    /// What was done, in a line.
    fn summary(&self) -> String {
        let Self { target, rate_per_second, customers, seconds, seed, purchases, views, .. } = self;
        let mut text = format!(
            "{target}: {rate_per_second} requests/s of {customers} customers for {seconds:.0} s, seed {seed}: \
             {views} views, {purchases} purchases"
        );
        let outcomes: Vec<_> = self.outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
        if !outcomes.is_empty() {
            let _ = write!(text, " ({})", outcomes.join(", "));
        }
        if self.unsent > 0 {
            let _ = write!(text, ", {} requests never sent", self.unsent);
        }
        if self.interrupted {
            text.push_str("; it ended early");
        }
        text
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let table = self.table();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
        let mut text = format!("{}\n\n", self.summary());
        for row in &table {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text.push_str("Worst of the runs; p99 and rates before / during / after the fault.\n");
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let table = self.table();
        let mut text = format!("{}\n\n", self.summary());
        for (number, row) in table.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | ").replace('\n', " "));
            if number == 0 {
                let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
            }
        }
        text.push_str("\nWorst of the runs; p99 and rates before / during / after the fault.\n");
        text
    }
}

impl FaultRun {
    /// Takes over each figure of another run that is worse.
    fn worsen(&mut self, other: &Self) {
        self.without_sales_s = self.without_sales_s.max(other.without_sales_s);
        self.without_views_s = self.without_views_s.max(other.without_views_s);
        for (trouble, count) in &other.troubles {
            let worst = self.troubles.entry(*trouble).or_default();
            *worst = (*worst).max(*count);
        }
        if other.failed > self.failed {
            (self.failed, self.purchases) = (other.failed, other.purchases);
        }
        self.before.worsen(&other.before);
        self.during.worsen(&other.during);
        self.after.worsen(&other.after);
    }
}

impl PhaseFigures {
    fn worsen(&mut self, other: &Self) {
        if other.seconds <= 0.0 {
            return;
        }
        if self.seconds <= 0.0 {
            *self = *other;
            return;
        }
        self.sales_per_second = self.sales_per_second.min(other.sales_per_second);
        self.views_per_second = self.views_per_second.min(other.views_per_second);
        let worse = |mine: Option<f64>, its: Option<f64>| match (mine, its) {
            (Some(mine), Some(its)) => Some(mine.max(its)),
            (mine, its) => mine.or(its),
        };
        self.purchase_p99_ms = worse(self.purchase_p99_ms, other.purchase_p99_ms);
        self.view_p99_ms = worse(self.view_p99_ms, other.view_p99_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_among_those_that_overlap() {
        let sales = [100, 200, 900, 1_000, 3_000];
        let longest = |from, to| longest_overlap(&mut gaps(&sales, 3_500), from, to);
        assert_eq!(longest(0, 150), 100);
        // A gap counts whole, also where it began before the fault or ends after it.
        assert_eq!(longest(300, 400), 700);
        assert_eq!(longest(950, 1_001), 2_000);
        // Those that only touch do not overlap.
        assert_eq!(longest(900, 1_000), 100);
        // Nothing was sold up to the end.
        assert_eq!(longest(3_100, 3_200), 500);
        assert_eq!(longest_overlap(&mut gaps(&[], 42), 10, 20), 42);
        assert_eq!(longest_overlap(&mut std::iter::empty(), 10, 20), 0);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 0.5), Some(100));
        assert_eq!(percentile(&values, 0.99), Some(198));
        assert_eq!(percentile(&values, 1.0), Some(200));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[], 0.99), None);
    }

    fn bought(intended_us: u64, end_us: u64, outcome: Outcome) -> Record {
        Record::Ended { kind: Kind::Purchase, key: 1, intended_us, end_us, outcome }
    }

    fn phase(run: u32, phase: Phase, from_s: u64, to_s: u64) -> Record {
        let (from_us, to_us) = (from_s * 1_000_000, to_s * 1_000_000);
        let fault = "db".to_owned();
        Record::Phase {
            fault,
            run,
            phase,
            from_us,
            to_us,
            views: 80 * (to_s - from_s),
            view_p50_us: 500,
            view_p99_us: u64::from(run) * 2_000,
            view_max_us: 9_000,
        }
    }

    /// One sale a second, 20 ms each, but none while it is broken: from 10 to 14 s.
    #[test]
    fn a_fault_is_told_by_what_happened_around_it() {
        let mut seen = Seen::default();
        for second in (0..10).chain(14..40) {
            seen.take(bought(second * 1_000_000, second * 1_000_000 + 20_000, Outcome::Done));
        }
        seen.take(bought(11_000_000, 14_500_000, Outcome::Done));
        seen.take(bought(12_000_000, 72_000_000, Outcome::Unknown));
        seen.take(Record::ViewGap { from_us: 10_000_000, to_us: 10_250_000 });
        seen.take(Record::View {
            product: crate::domain::ProductId(1),
            intended_us: 10_100_000,
            end_us: 11_100_000,
            status: None,
            error: Some(Silence::Timeout),
        });
        for run in 1..=2 {
            let later = u64::from(run - 1) * 20;
            seen.take(phase(run, Phase::Before, later, later + 10));
            seen.take(phase(run, Phase::During, later + 10, later + 14));
            seen.take(phase(run, Phase::After, later + 14, later + 20));
        }
        let header: Header = serde_json::from_value(serde_json::json!({
            "holdfast_history": 1, "run": "r", "seed": 7, "target": "http://shop", "rate_per_second": 100.0,
            "started_at": "2026-01-01T00:00:00Z", "products": [], "first_customer": 1, "customers": 9,
        }))
        .expect("a header");
        let figures = seen.figures(&header);
        let run = &figures.runs[0];
        assert_eq!((run.without_sales_s, run.without_views_s), (5.0, 0.25));
        assert_eq!(run.troubles, [(Trouble::Timeout, 1)].into());
        assert_eq!((run.failed, run.purchases), (1, 18));
        assert_eq!(run.before.sales_per_second, 1.0);
        assert_eq!(run.before.purchase_p99_ms, Some(20.0));
        assert_eq!((run.during.sales_per_second, run.during.purchase_p99_ms), (0.0, Some(3_500.0)));
        assert_eq!(run.after.views_per_second, 80.0);
        assert_eq!(figures.runs[1].during.sales_per_second, 1.0);
        let worst = figures.worst();
        assert_eq!((worst.len(), worst[0].1), (1, 2));
        assert_eq!(worst[0].0.after.view_p99_ms, Some(4.0));
        assert_eq!(figures.table()[1][..2], ["db", "2"]);
    }
}
