//! `holdfast replay`: sends the invoices of a real day through a running shop, sales as orders and
//! returns as changes of stock.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::auth::{Principal, Tokens};
use crate::csv_input::online_retail::{self, Day, GUEST, read_day};
use crate::domain::UserId;
use crate::load::{Connection, Request, Target};
use crate::ports::ledger::Role;

use super::output::Progress;
use super::{Common, import, output, token};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at the list of products before one of them counts as missing, and the pause between two.
const LOOKS_MAX: u32 = 8;
const LOOK_PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(
    after_help = "The file is imported first, with holdfast import --format online-retail. Each request carries a key made
from its invoice, so a replay that was cut off, or is run again, changes nothing twice.

Example:
  holdfast replay 2011-12-08.csv --target http://127.0.0.1:8080 --speed 3600"
)]
pub struct ReplayArgs {
    /// Invoices with the columns of the Online Retail data set
    file: PathBuf,
    /// The running shop
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    target: String,
    /// How much faster than the real day; left out: as fast as answers come
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Requests on their way at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// Seconds that a request is repeated with its key while the shop does not answer
    #[arg(long, value_name = "S", default_value_t = 30)]
    patience: u64,
}

/// What came of a replay.
#[derive(Default, Serialize)]
struct Outcome {
    orders_confirmed: u64,
    orders_refused: u64,
    orders_declined: u64,
    orders_failed: u64,
    stock_changes: u64,
    revenue_minor: i64,
    units_sold: i64,
    /// Requests that were repeated because the shop was busy or away.
    repeated: u64,
    /// Sentences about what went wrong, the first ten.
    errors: Vec<String>,
}

/// One thing to send.
struct Item {
    /// Time from the first item of the day, in real time.
    after: Duration,
    path: String,
    key: String,
    body: String,
    principal: Principal,
    order: bool,
}

pub async fn run(args: ReplayArgs, common: Common) -> anyhow::Result<ExitCode> {
    ensure!(args.connections > 0, "--connections has to be at least 1");
    // The bounds keep every time of a day within what a clock can show.
    ensure!(
        args.speed.is_none_or(|speed| (0.001..=1e9).contains(&speed)),
        "--speed has to be between 0.001 and 1000000000"
    );
    ensure!(args.patience <= 86_400, "--patience has to be at most 86400");
    let target = Target::parse(&args.target).await?;
    let tokens = Arc::new(token::tokens(&common.load(None)?)?);
    let day = import::open(&args.file, read_day)?;
    let items = items_once_listed(&target, &day).await?;

    let mut progress = Progress::new("invoices and returns", Some(items.len() as u64), common.json);
    let work = Arc::new(Work {
        target,
        tokens,
        items: Mutex::new(items),
        done: AtomicU64::new(0),
        start: Instant::now(),
        speed: args.speed,
        patience: Duration::from_secs(args.patience),
    });
    let mut senders = JoinSet::new();
    for _ in 0..args.connections {
        senders.spawn(send_all(Arc::clone(&work)));
    }
    let mut outcome = Outcome::default();
    loop {
        tokio::select! {
            sent = senders.join_next() => match sent {
                None => break,
                Some(sent) => outcome.add(sent.context("a sender failed")?),
            },
            () = tokio::time::sleep(Duration::from_millis(100)) => progress.at(work.done.load(Ordering::Relaxed)),
        }
    }
    progress.finish();
    let value = json!({ "outcome": outcome, "summary": day.summary });
    output::print(common.json, &value, || describe(&outcome, &day));
    Ok(if outcome.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What to send. A shop of several servers lists products from a replica, which may be seconds behind an
/// import: what it does not list yet is looked for a few times.
async fn items_once_listed(target: &Target, day: &Day) -> anyhow::Result<VecDeque<Item>> {
    let mut looks = 1;
    loop {
        match items(day, &product_ids(target).await?) {
            Err(_) if looks < LOOKS_MAX => looks += 1,
            found => return found,
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// The id of each sku, read page by page.
async fn product_ids(target: &Target) -> anyhow::Result<HashMap<String, i64>> {
    let mut connection = Connection::open(target, TIMEOUT).await.context("cannot reach the shop")?;
    let mut request = Request::new(target);
    let (mut ids, mut cursor) = (HashMap::new(), String::new());
    loop {
        request.begin("GET", format_args!("/api/v1/products?limit=100{cursor}")).end();
        let response = connection.send(request.as_bytes()).await.context("cannot reach the shop")?;
        ensure!(response.status == 200, "the shop does not list its products: status {}", response.status);
        let page: Value = serde_json::from_slice(response.body).context("the shop's list of products")?;
        for product in page["items"].as_array().into_iter().flatten() {
            if let (Some(sku), Some(id)) = (product["sku"].as_str(), product["id"].as_i64()) {
                ids.insert(sku.to_owned(), id);
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

/// Everything to send, in order of time.
fn items(day: &Day, products: &HashMap<String, i64>) -> anyhow::Result<VecDeque<Item>> {
    let id = |sku: &str| {
        products.get(sku).ok_or_else(|| anyhow!("the shop has no product {sku:?}: import the file first"))
    };
    let mut timed = Vec::with_capacity(day.orders.len() + day.adjustments.len());
    for order in &day.orders {
        let line = |(sku, quantity): &(String, i64)| -> anyhow::Result<Value> {
            Ok(json!({ "product_id": id(sku)?, "quantity": quantity }))
        };
        let lines: Vec<Value> = order.lines.iter().map(line).collect::<anyhow::Result<_>>()?;
        let total = json!({ "amount": order.total_minor, "currency": online_retail::CURRENCY });
        let item = Item {
            after: Duration::ZERO,
            path: "/api/v1/orders".into(),
            key: order.key.clone(),
            body: json!({ "lines": lines, "expected_total": total }).to_string(),
            principal: Principal { user: UserId(order.user_id), role: Role::Customer },
            order: true,
        };
        timed.push((order.at, item));
    }
    for adjustment in &day.adjustments {
        let item = Item {
            after: Duration::ZERO,
            path: format!("/api/v1/admin/products/{}/stock", id(&adjustment.sku)?),
            key: adjustment.key.clone(),
            body: json!({ "delta": adjustment.delta, "reason": adjustment.reason.as_str() }).to_string(),
            principal: Principal { user: UserId(GUEST), role: Role::Admin },
            order: false,
        };
        timed.push((adjustment.at, item));
    }
    timed.sort_by_key(|(at, _)| *at);
    let first = timed.first().map(|(at, _)| *at);
    let since_first = |(at, item): (_, Item)| {
        let after = first.map_or(Duration::ZERO, |first| Duration::try_from(at - first).unwrap_or_default());
        Item { after, ..item }
    };
    Ok(timed.into_iter().map(since_first).collect())
}

/// What the senders share.
struct Work {
    target: Target,
    tokens: Arc<Tokens>,
    items: Mutex<VecDeque<Item>>,
    done: AtomicU64,
    start: Instant,
    speed: Option<f64>,
    patience: Duration,
}

async fn send_all(work: Arc<Work>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut sender =
        Sender { work: Arc::clone(&work), connection: None, request: Request::new(&work.target) };
    loop {
        let item = work.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(item) = item else { return outcome };
        if let Some(speed) = work.speed {
            tokio::time::sleep_until(work.start + item.after.div_f64(speed)).await;
        }
        if let Err(error) = sender.send(&item, &mut outcome).await {
            outcome.errors.push(format!("{}: {error:#}", item.key));
        }
        work.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection that comes back when it is lost.
struct Sender {
    work: Arc<Work>,
    connection: Option<Connection>,
    request: Request,
}

impl Sender {
    /// Sends an item until there is an answer that says what became of it.
    async fn send(&mut self, item: &Item, outcome: &mut Outcome) -> anyhow::Result<()> {
        let token = self.work.tokens.issue(item.principal);
        let (mut method, mut path) = ("POST", item.path.clone());
        let until = Instant::now() + self.work.patience;
        loop {
            let head =
                self.request.begin(method, &path).header("Authorization", format_args!("Bearer {token}"));
            match method {
                "GET" => head.end(),
                _ => head.header("Idempotency-Key", &item.key).json(item.body.as_bytes()),
            }
            let pause = match self.exchange().await {
                Ok((200 | 201, body)) if item.order => {
                    let order: Value = serde_json::from_slice(&body).context("the shop's order")?;
                    if order["status"] != "PENDING" {
                        return outcome.take_in(&order);
                    }
                    PAUSE
                }
                Ok((200, _)) => {
                    outcome.stock_changes += 1;
                    return Ok(());
                }
                // Still on its way: look at it until it has ended.
                Ok((202, body)) => {
                    let order: Value = serde_json::from_slice(&body).context("the shop's order")?;
                    let id = order["id"].as_str().context("the shop's order has no id")?;
                    (method, path) = ("GET", format!("/api/v1/orders/{id}"));
                    PAUSE
                }
                Ok((503 | 429, _)) => {
                    outcome.repeated += 1;
                    PAUSE
                }
                Ok((402, _)) => {
                    outcome.orders_declined += 1;
                    return Ok(());
                }
                Ok((409, body)) if is_problem(&body, "out-of-stock") && item.order => {
                    outcome.orders_refused += 1;
                    return Ok(());
                }
                Ok((409 | 502, body))
                    if is_problem(&body, "order-failed") || is_problem(&body, "payment-unknown") =>
                {
                    outcome.orders_failed += 1;
                    return Ok(());
                }
                Ok((status, body)) => bail!("status {status}: {}", String::from_utf8_lossy(&body)),
                Err(error) if Instant::now() >= until => return Err(error).context("no answer"),
                Err(_) => {
                    self.connection = None;
                    outcome.repeated += 1;
                    PAUSE
                }
            };
            ensure!(Instant::now() < until, "the shop was too busy for too long");
            tokio::time::sleep(pause).await;
        }
    }

    async fn exchange(&mut self) -> std::io::Result<(u16, Vec<u8>)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.work.target, TIMEOUT).await?),
        };
        let response = connection.send(self.request.as_bytes()).await?;
        Ok((response.status, response.body.to_vec()))
    }
}

fn is_problem(body: &[u8], slug: &str) -> bool {
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    problem.is_some_and(|problem| problem["type"].as_str().is_some_and(|kind| kind.ends_with(slug)))
}

impl Outcome {
    fn take_in(&mut self, order: &Value) -> anyhow::Result<()> {
        match order["status"].as_str() {
            Some("CONFIRMED") => {
                self.orders_confirmed += 1;
                self.revenue_minor += order["total"]["amount"].as_i64().unwrap_or_default();
                let lines = order["lines"].as_array().into_iter().flatten();
                self.units_sold += lines.filter_map(|line| line["quantity"].as_i64()).sum::<i64>();
            }
            Some("FAILED") if order["reason"] == "PAYMENT_DECLINED" => self.orders_declined += 1,
            Some(_) => self.orders_failed += 1,
            None => bail!("the shop's order has no status"),
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.orders_confirmed += other.orders_confirmed;
        self.orders_refused += other.orders_refused;
        self.orders_declined += other.orders_declined;
        self.orders_failed += other.orders_failed;
        self.stock_changes += other.stock_changes;
        self.revenue_minor += other.revenue_minor;
        self.units_sold += other.units_sold;
        self.repeated += other.repeated;
        self.errors.extend(other.errors);
        self.errors.truncate(10);
    }
}

fn describe(outcome: &Outcome, day: &Day) -> String {
    let revenue = crate::domain::Money::new(outcome.revenue_minor, online_retail::CURRENCY);
    let mut text = format!(
        "orders       {} confirmed, {} refused, {} declined, {} failed\nunits sold   {}\nrevenue      {revenue}\n\
         stock        {} changes\nrepeated     {} requests\n\nThe file:\n{}",
        outcome.orders_confirmed,
        outcome.orders_refused,
        outcome.orders_declined,
        outcome.orders_failed,
        outcome.units_sold,
        outcome.stock_changes,
        outcome.repeated,
        day.summary
    );
    for error in &outcome.errors {
        text.push_str(&format!("\nERROR        {error}"));
    }
    text
}
