//! Customers of a drill, who behave as real ones do: each purchase has one key and is tried again with it, after
//! Retry-After or a growing pause, until the shop has said what became of it or the customer gives up.
//!
//! Requests begin by the clock, whatever became of those before them, and latencies count from when they should have
//! begun.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::auth::{Principal, Tokens};
use crate::domain::{BasketLine, Currency, Money, OrderId, OrderStatus, ProductId, Quantity, UserId};
use crate::load::{Connection, Request, RequestHead, Response, Target};
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::ledger::Role;

use super::history::{
    Attempt, FORMAT, Goods, Header, Kind, Outcome, Record, Recorder, SLOW_VIEW, Silence, Supply,
};

/// Of so many requests one is a purchase.
const PURCHASE_EACH: u64 = 5;

/// Products of each kind.
const AMPLE: i64 = 20;
const SCARCE: i64 = 5;
const RESTOCKED: i64 = 5;

/// More than anybody buys.
const AMPLE_STOCK: i64 = 100_000_000;

/// Shares of purchases, in percent.
const PERCENT_SCARCE: u32 = 10;
const PERCENT_RESTOCKED: u32 = 10;
const PERCENT_BASKETS: u32 = 20;
const PERCENT_DECLINED: u32 = 2;
const PERCENT_CANCELLED: u32 = 3;

/// A customer thinks at most this long before cancelling.
const THINKS_MAX: Duration = Duration::from_secs(2);

/// Pauses between two attempts where the shop does not ask for one: they double up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Nobody waits longer, whatever Retry-After says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks at an order that is PENDING.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Pause between two deliveries.
const RESTOCK_EVERY: Duration = Duration::from_millis(500);

/// Requests of a pool under way at once; further ones wait, and their latency shows it. A process may usually open 1,024
/// files.
const BUSY_MAX: usize = 400;

/// Connections that are kept for later requests.
const IDLE_MAX: usize = 200;

/// Customers with something under way; when there are more, requests are left out and counted.
const LIVE_MAX: usize = 20_000;

/// How long an administrator waits while everything is prepared.
const PREPARATION: Duration = Duration::from_secs(10);

/// How much earlier than due the pacer wakes up: Linux wakes a thread this much late.
const TIMER_SLACK: Duration = Duration::from_micros(50);

/// What customers do, and how patiently.
#[derive(Clone, Debug)]
pub struct Habits {
    pub rate_per_second: f64,
    pub customers: u64,
    pub view_timeout: Duration,
    pub purchase_timeout: Duration,
    pub give_up: Duration,
    pub seed: u64,
    /// How long the load is expected to last: scarce products sell out meanwhile.
    pub length: Duration,
}

/// Makes the products of a drill through the shop's own API, and says what there is.
///
/// # Errors
/// The shop cannot be reached, or does not want to.
pub async fn prepare(target: &Target, url: &str, tokens: &Tokens, habits: &Habits) -> anyhow::Result<Header> {
    let run = SystemClock.new_instance_id().0.simple().to_string();
    let purchases = habits.rate_per_second / PURCHASE_EACH as f64 * habits.length.as_secs_f64();
    let share = |percent: u32, products: i64| purchases * f64::from(percent) / 100.0 / products as f64;
    let scarce = (share(PERCENT_SCARCE, SCARCE) / 2.0).max(1.0) as i64;
    let supplies = [
        (AMPLE, Supply::Ample, AMPLE_STOCK),
        (SCARCE, Supply::Scarce, scarce),
        (RESTOCKED, Supply::Restocked, restock_units(habits.rate_per_second) * 4),
    ];
    let admin = tokens.issue(Principal { user: UserId(1), role: Role::Admin });
    let reach = || format!("cannot reach the shop at {url}");
    let mut connection = Connection::open(target, PREPARATION).await.with_context(reach)?;
    let mut request = Request::new(target);
    let mut products = Vec::new();
    for (count, supply, stock) in supplies {
        for _ in 0..count {
            let number = products.len() as i64;
            let sku = format!("drill-{run}-{number}");
            let price = Money { minor: 500 + 10 * number, currency: Currency::EUR };
            let body = serde_json::json!({
                "sku": sku, "name": format!("Drill {number}"), "description": "Made for a drill.",
                "category": "drill", "price": price, "stock": stock,
            });
            request
                .begin("POST", "/api/v1/admin/products")
                .header("Authorization", format_args!("Bearer {admin}"))
                .json(body.to_string().as_bytes());
            let response = connection.send(request.as_bytes()).await.with_context(reach)?;
            ensure!(
                response.status == 201,
                "the shop does not create a product: status {} (is --config, or --data-dir, that of the shop?)",
                response.status
            );
            #[derive(Deserialize)]
            struct Created {
                id: ProductId,
            }
            let Created { id } = serde_json::from_slice(response.body).context("the shop's product")?;
            products.push(Goods { id, sku, supply, stock, price });
        }
    }
    // Far from accounts and from those who use small numbers; a run's customers are its own.
    let random = u64::from_le_bytes(*SystemClock.secret().first_chunk().expect("32 bytes")) >> 24;
    let first_customer = UserId(1_000_000_000 + i64::try_from(random).expect("40 bits") * 1_000);
    Ok(Header {
        holdfast_history: FORMAT,
        run,
        seed: habits.seed,
        target: url.to_owned(),
        rate_per_second: habits.rate_per_second,
        started_at: SystemClock.now(),
        products,
        first_customer,
        customers: habits.customers,
    })
}

/// A delivery is a little less than what is asked for meanwhile.
fn restock_units(rate_per_second: f64) -> i64 {
    let purchases = rate_per_second / PURCHASE_EACH as f64;
    let wanted = purchases * f64::from(PERCENT_RESTOCKED) / 100.0 * RESTOCK_EVERY.as_secs_f64();
    (wanted * 0.8).round().max(1.0) as i64
}

/// The customers of a drill at work.
pub struct Crowd {
    header: Header,
    habits: Habits,
    recorder: Recorder,
    admin: String,
    tokens: Vec<String>,
    views: Pool,
    purchases: Pool,
    live: AtomicUsize,
    unsent: AtomicU64,
    clock: SystemClock,
}

/// Customers, until they are told to go.
pub struct Working {
    crowd: Arc<Crowd>,
    stop: mpsc::Sender<()>,
    pacer: thread::JoinHandle<()>,
    close: watch::Sender<bool>,
}

impl Crowd {
    /// Opens the doors.
    pub fn start(
        target: &Target,
        header: Header,
        habits: Habits,
        tokens: &Tokens,
        recorder: Recorder,
    ) -> Working {
        let nth = |n: u64| UserId(header.first_customer.0 + n as i64);
        let customer = |n| tokens.issue(Principal { user: nth(n), role: Role::Customer });
        let crowd = Arc::new(Self {
            tokens: (0..habits.customers).map(customer).collect(),
            admin: tokens.issue(Principal { user: UserId(1), role: Role::Admin }),
            views: Pool::new(target, habits.view_timeout),
            purchases: Pool::new(target, habits.purchase_timeout),
            live: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            clock: SystemClock,
            header,
            habits,
            recorder,
        });
        let (stop, stopped) = mpsc::channel();
        let (close, closed) = watch::channel(false);
        tokio::spawn(Arc::clone(&crowd).restock(closed));
        let (pacing, runtime) = (Arc::clone(&crowd), Handle::current());
        let pacer = thread::spawn(move || pacing.pace(&runtime, &stopped));
        Working { crowd, stop, pacer, close }
    }

    /// Lets requests begin when they are due, on a thread of its own, because the timers of tokio are a millisecond
    /// wide.
    fn pace(self: Arc<Self>, runtime: &Handle, stop: &mpsc::Receiver<()>) {
        let started = self.recorder.started();
        let (mut purchases, mut views) = (0, 0);
        for index in 0_u64.. {
            let due = started + Duration::from_secs_f64(index as f64 / self.habits.rate_per_second);
            loop {
                let wait = due.saturating_duration_since(Instant::now());
                let sleep = wait.checked_sub(TIMER_SLACK).unwrap_or(wait);
                if stop.recv_timeout(sleep) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                if wait.is_zero() {
                    break;
                }
            }
            if self.live.load(Ordering::Relaxed) >= LIVE_MAX {
                self.unsent.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.live.fetch_add(1, Ordering::Relaxed);
            let crowd = Arc::clone(&self);
            let buys = index % PURCHASE_EACH == PURCHASE_EACH - 1;
            let number = if buys { &mut purchases } else { &mut views };
            *number += 1;
            let number = *number;
            runtime.spawn(async move {
                if buys {
                    crowd.buy(number, due).await;
                } else {
                    crowd.view(number, due).await;
                }
                crowd.live.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// Looks at a product.
    async fn view(&self, number: u64, due: Instant) {
        let products = &self.header.products;
        let product = products[(number % products.len() as u64) as usize].id;
        let answer = self
            .views
            .exchange(
                true,
                |request| request.begin("GET", format_args!("/api/v1/products/{product}")).end(),
                |response| response.status,
            )
            .await;
        let end = Instant::now();
        if answer.as_ref().is_ok_and(|status| *status == 200) {
            self.recorder.viewed(due, end).await;
            if end - due < SLOW_VIEW {
                return;
            }
        }
        let (intended_us, end_us) = (self.recorder.at(due), self.recorder.at(end));
        let error = answer.as_ref().err().map(silence);
        let status = answer.ok();
        self.recorder.tell(Record::View { product, intended_us, end_us, status, error }).await;
    }

    /// Buys something, and may take it back.
    async fn buy(&self, key: u64, due: Instant) {
        let wish = self.wish(key);
        self.recorder
            .tell(Record::Purchase {
                at_us: self.recorder.now(),
                key,
                user: wish.user,
                lines: wish.lines.clone(),
                total: wish.total,
                declines: wish.declines,
            })
            .await;
        let mut body = serde_json::json!({ "lines": wish.lines, "expected_total": wish.total });
        if wish.declines {
            body["payment_token"] = "tok_declined".into();
        }
        let mut asking = Asking::new(Kind::Purchase, key, due + self.habits.give_up, &wish.token);
        let idempotency_key = self.header.purchase_key(key);
        let body = body.to_string();
        let send = |head: RequestHead<'_>| {
            head.header("Idempotency-Key", &idempotency_key).json(body.as_bytes());
        };
        let reply = self.until_answered(&mut asking, "POST", "/api/v1/orders", send).await;
        let (outcome, order) = match reply {
            None => (Outcome::Unknown, None),
            Some(Reply { status: 200..=299, order: Some((id, status)), location, .. }) => {
                let path = location.unwrap_or_else(|| format!("/api/v1/orders/{id}"));
                let ended =
                    self.until_ended(&mut asking, &path, status, |status| status != OrderStatus::Pending);
                let outcome = match ended.await {
                    Some(OrderStatus::Confirmed) => Outcome::Done,
                    Some(OrderStatus::Cancelled) => Outcome::Cancelled,
                    Some(OrderStatus::Failed) if wish.declines => Outcome::Declined,
                    Some(OrderStatus::Failed) => Outcome::Failed,
                    Some(OrderStatus::Pending) | None => Outcome::Unknown,
                };
                (outcome, Some(id))
            }
            Some(Reply { status: 402, .. }) if wish.declines => (Outcome::Declined, None),
            Some(reply @ Reply { status: 409, .. }) if reply.is("out-of-stock") => (Outcome::SoldOut, None),
            Some(Reply { status: 402 | 409 | 502, .. }) => (Outcome::Failed, None),
            Some(_) => (Outcome::Rejected, None),
        };
        self.ended(Kind::Purchase, key, due, outcome).await;
        if let (Outcome::Done, Some(order), Some(thinks)) = (outcome, order, wish.cancels_after) {
            tokio::time::sleep(thinks).await;
            self.cancel(key, order, &wish.token).await;
        }
    }

    /// Takes an order back.
    async fn cancel(&self, key: u64, order: OrderId, token: &str) {
        let begun = Instant::now();
        let until = begun + self.habits.give_up;
        let mut asking = Asking::new(Kind::Cancel, key, until, token);
        let path = format!("/api/v1/orders/{order}/cancel");
        let reply = self.until_answered(&mut asking, "POST", &path, |head| head.json(b"")).await;
        let outcome = match reply {
            None => Outcome::Unknown,
            Some(Reply { status: 200..=299, order: Some((id, status)), .. }) => {
                let path = format!("/api/v1/orders/{id}");
                let is_end = |status| matches!(status, OrderStatus::Cancelled | OrderStatus::Failed);
                match self.until_ended(&mut asking, &path, status, is_end).await {
                    Some(OrderStatus::Cancelled) => Outcome::Cancelled,
                    Some(_) => Outcome::Failed,
                    None => Outcome::Unknown,
                }
            }
            Some(_) => Outcome::Rejected,
        };
        self.ended(Kind::Cancel, key, begun, outcome).await;
    }

    /// Delivers to one restocked product after the other, until the doors are closed.
    async fn restock(self: Arc<Self>, mut closed: watch::Receiver<bool>) {
        let products = self.header.products.iter().filter(|goods| goods.supply == Supply::Restocked);
        let delta = restock_units(self.habits.rate_per_second);
        for (key, goods) in (1..).zip(products.cycle()) {
            let is_closed = closed.wait_for(|closed| *closed);
            if tokio::time::timeout(RESTOCK_EVERY, is_closed).await.is_ok() {
                return;
            }
            let (product, at_us) = (goods.id, self.recorder.now());
            self.recorder.tell(Record::Restock { at_us, key, product, delta }).await;
            let begun = Instant::now();
            let until = begun + self.habits.give_up;
            let mut asking = Asking::new(Kind::Restock, key, until, &self.admin);
            let path = format!("/api/v1/admin/products/{product}/stock");
            let idempotency_key = self.header.restock_key(key);
            let body = serde_json::json!({ "delta": delta, "reason": "restock" }).to_string();
            let send = |head: RequestHead<'_>| {
                head.header("Idempotency-Key", &idempotency_key).json(body.as_bytes());
            };
            let outcome = match self.until_answered(&mut asking, "POST", &path, send).await {
                None => Outcome::Unknown,
                Some(Reply { status: 200, .. }) => Outcome::Done,
                Some(_) => Outcome::Rejected,
            };
            self.ended(Kind::Restock, key, begun, outcome).await;
        }
    }

    async fn ended(&self, kind: Kind, key: u64, intended: Instant, outcome: Outcome) {
        let (intended_us, end_us) = (self.recorder.at(intended), self.recorder.now());
        self.recorder.tell(Record::Ended { kind, key, intended_us, end_us, outcome }).await;
    }

    /// Sends a request again and again until the answer says something; `None` when the time is over first.
    async fn until_answered(
        &self,
        asking: &mut Asking<'_>,
        method: &str,
        path: &str,
        send: impl Fn(RequestHead<'_>),
    ) -> Option<Reply> {
        loop {
            let reply = self.attempt(asking, method, path, &send).await;
            let retry_after_s = match reply {
                Some(reply) if reply.is_definitive() => return Some(reply),
                Some(reply) => reply.retry_after_s,
                None => None,
            };
            let asked_for = retry_after_s.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            let pause = match asked_for {
                // Not all at once, and never earlier than asked for.
                Some(pause) => pause + self.clock.jittered(PAUSE),
                None => self.clock.jittered(asking.pause),
            };
            asking.pause = (asking.pause * 2).min(PAUSE_MAX);
            if Instant::now() + pause >= asking.until {
                return None;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks at an order until it has come to an end; `None` when the time is over first.
    async fn until_ended(
        &self,
        asking: &mut Asking<'_>,
        path: &str,
        mut status: OrderStatus,
        is_end: impl Fn(OrderStatus) -> bool,
    ) -> Option<OrderStatus> {
        (asking.kind, asking.attempt, asking.pause) = (Kind::Follow, 0, PAUSE);
        while !is_end(status) {
            if Instant::now() + LOOK_PAUSE >= asking.until {
                return None;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            let reply = self.until_answered(asking, "GET", path, |head| head.end()).await?;
            status = reply.order?.1;
        }
        Some(status)
    }

    /// Sends a request once and writes down what came of it.
    async fn attempt(
        &self,
        asking: &mut Asking<'_>,
        method: &str,
        path: &str,
        send: impl Fn(RequestHead<'_>),
    ) -> Option<Reply> {
        asking.attempt += 1;
        let token = asking.token;
        let start = Instant::now();
        let answer = self
            .purchases
            .exchange(
                !asking.was_cut_off,
                |request| {
                    let head = request.begin(method, path);
                    send(head.header("Authorization", format_args!("Bearer {token}")));
                },
                Reply::of,
            )
            .await;
        let end = Instant::now();
        asking.was_cut_off = answer.is_err();
        let reply = answer.as_ref().ok();
        let attempt = Attempt {
            kind: asking.kind,
            key: asking.key,
            attempt: asking.attempt,
            start_us: self.recorder.at(start),
            end_us: self.recorder.at(end),
            status: reply.map(|reply| reply.status),
            error: answer.as_ref().err().map(silence),
            retry_after_s: reply.and_then(|reply| reply.retry_after_s),
            problem: reply.and_then(|reply| reply.problem.clone()),
            order: reply.and_then(|reply| Some(reply.order?.0)),
            order_status: reply.and_then(|reply| Some(reply.order?.1)),
        };
        self.recorder.tell(Record::Attempt(attempt)).await;
        answer.ok()
    }

    /// What a customer wants: the same for the same seed.
    fn wish(&self, key: u64) -> Wish {
        let mut dice = ChaCha8Rng::seed_from_u64(self.header.seed ^ key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let nth = dice.random_range(0..self.header.customers);
        let (ample, rest) = self.header.products.split_at(AMPLE as usize);
        let (scarce, restocked) = rest.split_at(SCARCE as usize);
        let percent = dice.random_range(0..100);
        let first = match percent {
            0..PERCENT_SCARCE => scarce,
            PERCENT_SCARCE..20 => restocked,
            _ => ample,
        };
        let mut chosen = vec![&first[dice.random_range(0..first.len())]];
        if dice.random_range(0..100) < PERCENT_BASKETS {
            for _ in 0..dice.random_range(1..=2) {
                chosen.push(&ample[dice.random_range(0..ample.len())]);
            }
        }
        chosen.sort_by_key(|goods| goods.id);
        chosen.dedup_by_key(|goods| goods.id);
        let mut total = Money { minor: 0, currency: Currency::EUR };
        let lines = chosen.into_iter().map(|goods| {
            let units = if goods.supply == Supply::Ample { dice.random_range(1..=2) } else { 1 };
            total.minor += goods.price.minor * i64::from(units);
            BasketLine { product_id: goods.id, quantity: Quantity::new(units).expect("at least one") }
        });
        let lines = lines.collect();
        let declines = dice.random_range(0..100) < PERCENT_DECLINED;
        let cancels = dice.random_range(0..100) < PERCENT_CANCELLED;
        Wish {
            user: UserId(self.header.first_customer.0 + nth as i64),
            token: self.tokens[nth as usize].clone(),
            lines,
            total,
            declines,
            cancels_after: cancels.then(|| THINKS_MAX.mul_f64(dice.random())),
        }
    }
}

impl Working {
    /// Lets nobody in any more, and waits until everybody who is inside knows what became of their purchase. The
    /// history is complete then, except for those copies of the recorder that others have.
    pub async fn close(self, interrupted: bool) -> anyhow::Result<()> {
        // Both have ended when they do not listen.
        let _ = self.stop.send(());
        let _ = self.close.send(true);
        tokio::task::spawn_blocking(|| self.pacer.join())
            .await
            .ok()
            .and_then(Result::ok)
            .context("the load has stopped by itself")?;
        let unsent = self.crowd.unsent.load(Ordering::Relaxed);
        self.crowd.recorder.end(interrupted, unsent).await;
        Ok(())
    }
}

/// What a customer wants.
struct Wish {
    user: UserId,
    token: String,
    lines: Vec<BasketLine>,
    total: Money,
    declines: bool,
    cancels_after: Option<Duration>,
}

/// Somebody who wants to know something.
struct Asking<'a> {
    kind: Kind,
    key: u64,
    attempt: u32,
    until: Instant,
    pause: Duration,
    /// There was no answer last time, so the next request goes over a connection of its own.
    was_cut_off: bool,
    token: &'a str,
}

impl<'a> Asking<'a> {
    fn new(kind: Kind, key: u64, until: Instant, token: &'a str) -> Self {
        Self { kind, key, attempt: 0, until, pause: PAUSE, was_cut_off: false, token }
    }
}

/// What an answer says.
struct Reply {
    status: u16,
    retry_after_s: Option<u64>,
    /// A path of the shop.
    location: Option<String>,
    problem: Option<String>,
    order: Option<(OrderId, OrderStatus)>,
}

impl Reply {
    fn of(response: &Response<'_>) -> Self {
        #[derive(Deserialize)]
        struct Order {
            id: OrderId,
            status: OrderStatus,
        }
        #[derive(Deserialize)]
        struct Problem {
            #[serde(rename = "type")]
            kind: String,
            order: Option<Order>,
        }
        let (problem, order) = if response.status < 300 {
            (None, serde_json::from_slice::<Order>(response.body).ok())
        } else {
            match serde_json::from_slice::<Problem>(response.body) {
                Ok(Problem { kind, order }) => {
                    (Some(kind.rsplit('/').next().unwrap_or_default().to_owned()), order)
                }
                Err(_) => (None, None),
            }
        };
        Self {
            status: response.status,
            retry_after_s: response.retry_after_s,
            location: response.location.filter(|path| path.starts_with('/')).map(str::to_owned),
            problem,
            order: order.map(|order| (order.id, order.status)),
        }
    }

    fn is(&self, problem: &str) -> bool {
        self.problem.as_deref() == Some(problem)
    }

    /// Whether asking again would change nothing. A 502 may also come from a proxy.
    fn is_definitive(&self) -> bool {
        match self.status {
            429 => false,
            502 => self.is("payment-unknown"),
            status => status < 500,
        }
    }
}

fn silence(error: &io::Error) -> Silence {
    if error.kind() == io::ErrorKind::TimedOut { Silence::Timeout } else { Silence::Connection }
}

/// Connections that many customers use in turn: the one used last comes first, so that there are few.
struct Pool {
    target: Target,
    timeout: Duration,
    idle: Mutex<Vec<Line>>,
    busy: Semaphore,
}

struct Line {
    connection: Connection,
    request: Request,
}

impl Pool {
    fn new(target: &Target, timeout: Duration) -> Self {
        Self { target: target.clone(), timeout, idle: Mutex::default(), busy: Semaphore::new(BUSY_MAX) }
    }

    fn take(&self) -> Option<Line> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Sends a request and reads its answer, on a connection of before where `reuse` says so. A connection with which
    /// something went wrong is not used again.
    async fn exchange<T>(
        &self,
        reuse: bool,
        send: impl FnOnce(&mut Request),
        read: impl FnOnce(&Response<'_>) -> T,
    ) -> io::Result<T> {
        let _busy = self.busy.acquire().await.expect("nobody closes it");
        let exchange = async {
            let idle = if reuse { self.take() } else { None };
            let mut line = match idle {
                Some(line) => line,
                None => Line {
                    connection: Connection::open(&self.target, self.timeout).await?,
                    request: Request::new(&self.target),
                },
            };
            send(&mut line.request);
            let response = line.connection.send(line.request.as_bytes()).await?;
            let answer = read(&response);
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(line);
            }
            Ok(answer)
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
    }
}
