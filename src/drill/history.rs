//! The history of a drill: a file of JSON values, one a line, of what was asked, answered, broken and mended.
//!
//! The first line is the [`Header`], each further one a [`Record`]. Times are microseconds since the load began. There
//! are no tokens in it: the key of a purchase is made from the run and its number.
//!
//! Views are many and alike, so those that were answered in time are only counted, while each one that failed or was
//! slow has a line of its own; the time without any view is kept exactly where it is longer than [`GAP_MIN`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::domain::{BasketLine, Money, OrderId, OrderStatus, ProductId, Timestamp, UserId};

use super::micros;

/// The version of the format that is written and read.
pub const FORMAT: u32 = 1;

/// Answered views are counted by spans of this length.
pub const BUCKET: Duration = Duration::from_millis(100);

/// Shorter times without a view are not written down.
pub const GAP_MIN: Duration = Duration::from_millis(10);

/// A view that takes longer has a line of its own.
pub const SLOW_VIEW: Duration = Duration::from_millis(500);

/// Lines on their way to the file; whoever writes more waits.
const ROOM: usize = 16_384;

/// How long lines may wait in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Latencies are kept to three significant digits.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The first line of a history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub holdfast_history: u32,
    /// Makes keys and skus of this run unlike those of any other.
    pub run: String,
    pub seed: u64,
    pub target: String,
    pub rate_per_second: f64,
    /// When the load began, by the clock of the machine that made it.
    pub started_at: Timestamp,
    /// Everything that was for sale.
    pub products: Vec<Goods>,
    /// The customers have the ids from here on; nobody else has them.
    pub first_customer: UserId,
    pub customers: u64,
}

/// A product made for the drill.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goods {
    pub id: ProductId,
    pub sku: String,
    pub supply: Supply,
    /// Units at the start.
    pub stock: i64,
    pub price: Money,
}

/// How much of a product there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// More than anybody buys.
    Ample,
    /// It sells out.
    Scarce,
    /// It sells out, and more comes.
    Restocked,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Places an order.
    Purchase,
    /// Looks at an order that was answered 202.
    Follow,
    /// Takes an order back.
    Cancel,
    /// Adds stock.
    Restock,
    /// Looks at a product.
    View,
}

/// Why there was no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// None came in time.
    Timeout,
    /// The connection could not be made, or was lost.
    Connection,
}

/// One request and what came back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    pub kind: Kind,
    /// Number of the purchase or restock.
    pub key: u64,
    /// Counts from 1 with each request of this kind for this key.
    pub attempt: u32,
    pub start_us: u64,
    pub end_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Silence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The last part of the type of the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_status: Option<OrderStatus>,
}

/// What a customer knows in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The order is CONFIRMED; the stock has come.
    Done,
    /// Too few were left.
    SoldOut,
    /// The payment was declined.
    Declined,
    /// The order is CANCELLED.
    Cancelled,
    /// The shop gave the order up.
    Failed,
    /// The shop did not understand, or did not want to.
    Rejected,
    /// Nothing: there was no answer in the time that the customer had.
    Unknown,
}

/// A span of a drill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is broken.
    Before,
    /// From the command that breaks something to the one that mends it.
    During,
    /// From the command that mends it until all should be well.
    After,
}

/// A line of a history after the first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// A customer makes up their mind; before the first attempt.
    Purchase {
        at_us: u64,
        key: u64,
        user: UserId,
        lines: Vec<BasketLine>,
        total: Money,
        /// Whether the payment will be declined.
        declines: bool,
    },
    /// An administrator is about to add stock.
    Restock { at_us: u64, key: u64, product: ProductId, delta: i64 },
    /// A request that was answered, or was not.
    Attempt(Attempt),
    /// Nothing more is asked about a purchase, its cancelling or a restock. `intended_us` is when it should have begun.
    Ended { kind: Kind, key: u64, intended_us: u64, end_us: u64, outcome: Outcome },
    /// A view that failed, or was slow.
    View {
        product: ProductId,
        intended_us: u64,
        end_us: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Silence>,
    },
    /// So many views were answered within [`BUCKET`] from here on.
    Views { from_us: u64, count: u64 },
    /// No view was answered in between.
    ViewGap { from_us: u64, to_us: u64 },
    /// A command has ended.
    Command {
        fault: String,
        run: u32,
        step: Step,
        start_us: u64,
        end_us: u64,
        /// None: it was ended, because it took too long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// The end of what it printed.
        output: String,
    },
    /// A phase has ended.
    Phase {
        fault: String,
        run: u32,
        phase: Phase,
        from_us: u64,
        to_us: u64,
        /// How long answered views took, from when they should have been sent.
        views: u64,
        view_p50_us: u64,
        view_p99_us: u64,
        view_max_us: u64,
    },
    /// The drill is over. `unsent` requests were never sent, because too many were on their way.
    End { at_us: u64, interrupted: bool, unsent: u64 },
}

/// What a command is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Break,
    Mend,
}

impl Header {
    /// The Idempotency-Key of a purchase.
    pub fn purchase_key(&self, key: u64) -> String {
        format!("{}-{key}", self.run)
    }

    /// The Idempotency-Key of a restock.
    pub fn restock_key(&self, key: u64) -> String {
        format!("{}-stock-{key}", self.run)
    }

    /// Whether a customer is one of the drill's.
    pub fn is_customer(&self, user: UserId) -> bool {
        user.0.checked_sub(self.first_customer.0).is_some_and(|nth| (0..self.customers as i64).contains(&nth))
    }
}

/// What is told to the writer.
enum Entry {
    Record(Record),
    /// An answered view.
    Viewed {
        intended_us: u64,
        end_us: u64,
    },
    /// From here on it is this phase of this fault.
    Enter {
        fault: String,
        run: u32,
        phase: Phase,
        at_us: u64,
    },
    End {
        at_us: u64,
        interrupted: bool,
        unsent: u64,
    },
}

/// Writes down what happens. The file is complete when the last copy is gone.
#[derive(Clone)]
pub struct Recorder {
    entries: mpsc::Sender<Entry>,
    started: Instant,
}

/// The thread that writes.
pub type Writing = JoinHandle<io::Result<()>>;

impl Recorder {
    /// Begins a history in `file`; the drill starts now.
    pub fn begin(file: File, header: &Header) -> io::Result<(Self, Writing)> {
        let mut writer = Writer {
            file: BufWriter::with_capacity(1 << 16, file),
            bucket: None,
            last_view_us: 0,
            phase: None,
            latencies_us: histogram(),
        };
        writer.line(header)?;
        let (entries, mut received) = mpsc::channel(ROOM);
        let writing = thread::spawn(move || {
            let mut flushed = Instant::now();
            while let Some(entry) = received.blocking_recv() {
                writer.take(entry)?;
                if flushed.elapsed() >= FLUSH_EVERY {
                    writer.file.flush()?;
                    flushed = Instant::now();
                }
            }
            writer.close_bucket()?;
            writer.file.flush()
        });
        Ok((Self { entries, started: Instant::now() }, writing))
    }

    /// When the load began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// A moment as it is written.
    pub fn at(&self, moment: Instant) -> u64 {
        micros(moment.saturating_duration_since(self.started))
    }

    /// The present moment as it is written.
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Writes a line.
    pub async fn tell(&self, record: Record) {
        self.send(Entry::Record(record)).await;
    }

    /// A view was answered.
    pub async fn viewed(&self, intended: Instant, end: Instant) {
        self.send(Entry::Viewed { intended_us: self.at(intended), end_us: self.at(end) }).await;
    }

    /// From now on it is this phase of this fault.
    pub async fn enter(&self, fault: &str, run: u32, phase: Phase) {
        self.send(Entry::Enter { fault: fault.to_owned(), run, phase, at_us: self.now() }).await;
    }

    /// No more requests begin.
    pub async fn end(&self, interrupted: bool, unsent: u64) {
        self.send(Entry::End { at_us: self.now(), interrupted, unsent }).await;
    }

    /// Resolves when nothing can be written any more.
    pub async fn failed(&self) {
        self.entries.closed().await;
    }

    async fn send(&self, entry: Entry) {
        // A writer that has failed says why at the end; the drill is stopped meanwhile.
        let _ = self.entries.send(entry).await;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(SIGNIFICANT_DIGITS).expect("0 to 5 significant digits are possible")
}

/// Puts entries into the file, and many views into one line.
struct Writer {
    file: BufWriter<File>,
    /// Number of the span and what was counted in it.
    bucket: Option<(u64, u64)>,
    last_view_us: u64,
    phase: Option<(String, u32, Phase, u64)>,
    latencies_us: Histogram<u64>,
}

impl Writer {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, value)?;
        self.file.write_all(b"\n")
    }

    fn take(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Record(record) => self.line(&record),
            Entry::Viewed { intended_us, end_us } => self.viewed(intended_us, end_us),
            Entry::Enter { fault, run, phase, at_us } => {
                self.close_phase(at_us)?;
                self.phase = Some((fault, run, phase, at_us));
                self.file.flush()
            }
            Entry::End { at_us, interrupted, unsent } => {
                self.close_phase(at_us)?;
                self.gap_until(at_us)?;
                self.line(&Record::End { at_us, interrupted, unsent })
            }
        }
    }

    fn viewed(&mut self, intended_us: u64, end_us: u64) -> io::Result<()> {
        self.gap_until(end_us)?;
        let latency_us = end_us.saturating_sub(intended_us);
        // A histogram grows to take any latency.
        let _ = self.latencies_us.record(latency_us);
        let number = end_us / micros(BUCKET);
        match &mut self.bucket {
            Some((current, count)) if *current == number => *count += 1,
            _ => {
                self.close_bucket()?;
                self.bucket = Some((number, 1));
            }
        }
        Ok(())
    }

    fn gap_until(&mut self, to_us: u64) -> io::Result<()> {
        let from_us = self.last_view_us;
        self.last_view_us = from_us.max(to_us);
        if to_us.saturating_sub(from_us) > micros(GAP_MIN) {
            self.line(&Record::ViewGap { from_us, to_us })?;
        }
        Ok(())
    }

    fn close_bucket(&mut self) -> io::Result<()> {
        match self.bucket.take() {
            Some((number, count)) => self.line(&Record::Views { from_us: number * micros(BUCKET), count }),
            None => Ok(()),
        }
    }

    fn close_phase(&mut self, to_us: u64) -> io::Result<()> {
        self.close_bucket()?;
        let latencies_us = std::mem::replace(&mut self.latencies_us, histogram());
        let Some((fault, run, phase, from_us)) = self.phase.take() else { return Ok(()) };
        self.line(&Record::Phase {
            fault,
            run,
            phase,
            from_us,
            to_us,
            views: latencies_us.len(),
            view_p50_us: latencies_us.value_at_quantile(0.5),
            view_p99_us: latencies_us.value_at_quantile(0.99),
            view_max_us: latencies_us.max(),
        })
    }
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct HistoryError {
    path: PathBuf,
    reason: String,
}

/// Reads a history line by line: the header, and what gives the records in order. The last line is left out where it
/// is not complete, because the drill was killed.
pub fn read(
    path: &Path,
) -> Result<(Header, impl Iterator<Item = Result<Record, HistoryError>> + use<>), HistoryError> {
    let path = path.to_owned();
    let failed = |reason: String| HistoryError { path: path.clone(), reason };
    let file = File::open(&path).map_err(|error| failed(error.to_string()))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line).map_err(|error| failed(error.to_string()))?;
    let header: Header = serde_json::from_slice(&line)
        .map_err(|error| failed(format!("line 1 is not that of a history: {error}")))?;
    if header.holdfast_history != FORMAT {
        let found = header.holdfast_history;
        return Err(failed(format!("its format is {found}, this version reads {FORMAT}")));
    }
    let mut number = 1_u64;
    let records = std::iter::from_fn(move || {
        line.clear();
        number += 1;
        let failed = |reason: String| HistoryError { path: path.clone(), reason };
        match file.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(record) => Some(Ok(record)),
                Err(_) if line.last() != Some(&b'\n') => None,
                Err(error) => Some(Err(failed(format!("line {number} is not understood: {error}")))),
            },
            Err(error) => Some(Err(failed(error.to_string()))),
        }
    });
    Ok((header, records))
}

/// A purchase as its customer saw it.
#[derive(Clone, Debug)]
pub struct Purchased {
    pub user: UserId,
    pub lines: Box<[BasketLine]>,
    pub total: Money,
    pub at_us: u64,
    /// Every order that an answer named, each once.
    pub orders: Vec<OrderId>,
    /// An answer said that the order is CONFIRMED.
    pub confirmed: bool,
    /// An answer said that there is an order, 201 or 202.
    pub acknowledged: bool,
    /// An answer said that there is none, or that it is given up: 402 or 409.
    pub refused: Option<u16>,
    /// A cancel was sent.
    pub cancel_asked: bool,
    /// A cancel was answered 200 or 202, or the order was seen to be CANCELLED.
    pub cancel_promised: bool,
}

/// Stock that an administrator has added, or has tried to.
#[derive(Clone, Copy, Debug)]
pub struct Restocked {
    pub product: ProductId,
    pub delta: i64,
    pub acknowledged: bool,
    /// An answer said that it will not be.
    pub refused: bool,
}

/// What was promised, by key.
#[derive(Clone, Default, Debug)]
pub struct Promises {
    pub purchases: BTreeMap<u64, Purchased>,
    pub restocks: BTreeMap<u64, Restocked>,
}

impl Promises {
    /// Takes in a record; says which line makes no sense.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Purchase { at_us, key, user, lines, total, .. } => {
                let purchased = Purchased {
                    user: *user,
                    lines: lines.clone().into(),
                    total: *total,
                    at_us: *at_us,
                    orders: Vec::new(),
                    confirmed: false,
                    acknowledged: false,
                    refused: None,
                    cancel_asked: false,
                    cancel_promised: false,
                };
                match self.purchases.insert(*key, purchased) {
                    None => Ok(()),
                    Some(_) => Err(format!("purchase {key} begins twice")),
                }
            }
            Record::Restock { key, product, delta, .. } => {
                let restocked =
                    Restocked { product: *product, delta: *delta, acknowledged: false, refused: false };
                match self.restocks.insert(*key, restocked) {
                    None => Ok(()),
                    Some(_) => Err(format!("restock {key} begins twice")),
                }
            }
            Record::Attempt(attempt) if attempt.kind == Kind::Restock => {
                let restock = self.restocks.get_mut(&attempt.key);
                let restock = restock.ok_or_else(|| format!("restock {} does not begin", attempt.key))?;
                restock.acknowledged |= attempt.status == Some(200);
                restock.refused |= attempt.status.is_some_and(|status| (400..429).contains(&status));
                Ok(())
            }
            Record::Attempt(attempt) => {
                let purchase = self.purchases.get_mut(&attempt.key);
                purchase.ok_or_else(|| format!("purchase {} does not begin", attempt.key))?.take(attempt);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Purchased {
    fn take(&mut self, attempt: &Attempt) {
        self.cancel_asked |= attempt.kind == Kind::Cancel;
        if let Some(order) = attempt.order
            && !self.orders.contains(&order)
        {
            self.orders.push(order);
        }
        let Some(status) = attempt.status else { return };
        let succeeded = (200..300).contains(&status);
        if attempt.kind == Kind::Cancel {
            self.cancel_promised |= succeeded;
        } else {
            self.cancel_promised |= succeeded && attempt.order_status == Some(OrderStatus::Cancelled);
            self.acknowledged |= succeeded;
            self.confirmed |=
                status == 201 || succeeded && attempt.order_status == Some(OrderStatus::Confirmed);
            if attempt.kind == Kind::Purchase && matches!(status, 402 | 409) {
                self.refused = Some(status);
            }
        }
    }
}
