//! The engine: admits purchases, hands sagas from stage to stage, tells those who wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::domain::{
    Driver, Ending, Hold, InstanceId, Next, Order, OrderStatus, Outcome, Phase, Purchase, Reason, Refusal,
    Saga, StepName, Tries,
};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::ledger::{Ledger, SagaError, SagaRef, SoughtKey};
use crate::ports::lock::Lock;
use crate::ports::payments::Payments;
use crate::ports::saga_watcher::SagaWatcher;
use crate::ports::stock_gate::StockGate;

use super::gate_keeper::GateKeeper;
use super::key_lookup::KeyLookup;
use super::product_lock::{HeldLocks, ProductLocks};
use super::stage::{self, Run};
use super::steps::{ConfirmOrder, CreateOrder, ReserveStock, Step, TakePayment};
use super::tally::{Tally, count_answer};
use super::ticket::{Admission, Answer, Desk, Standing};

/// Longest pause between two looks at an order that another server drives.
const FOLLOW_PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a buyer whose time is over waits at most to hear what stands under the key.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// How long keys are remembered.
const KEYS_REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What the engine works with.
#[derive(Clone)]
pub struct Ports {
    pub ledger: Arc<dyn Ledger>,
    pub gate: Arc<dyn StockGate>,
    pub payments: Arc<dyn Payments>,
    pub clock: Arc<dyn Clock>,
    pub locks: ProductLocks,
    pub keeper: Arc<GateKeeper>,
    /// Is told what is done, where somebody wants to know.
    pub watcher: Option<Arc<dyn SagaWatcher>>,
}

impl Ports {
    /// The ports, and what is made of them alone.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        gate: Arc<dyn StockGate>,
        lock: Arc<dyn Lock>,
        payments: Arc<dyn Payments>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let locks = ProductLocks::new(lock, Arc::clone(&clock));
        let (of_ledger, of_gate) = (Arc::clone(&ledger), Arc::clone(&gate));
        let keeper = Arc::new(GateKeeper::new(of_ledger, of_gate, locks.clone(), Arc::clone(&clock)));
        Self { ledger, gate, payments, clock, locks, keeper, watcher: None }
    }

    /// The same with somebody who is told what is done.
    #[must_use]
    pub fn watched_by(self, watcher: Arc<dyn SagaWatcher>) -> Self {
        Self { watcher: Some(watcher), ..self }
    }
}

/// A part of the shop without which nothing is sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Ledger,
    Gate,
    Payments,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Ledger, Self::Gate, Self::Payments];

    /// Whether it has not answered for longer than a moment.
    pub fn is_down(self, ports: &Ports) -> bool {
        match self {
            Self::Ledger => ports.ledger.is_down(),
            Self::Gate => ports.gate.is_down(),
            Self::Payments => ports.payments.is_down(),
        }
    }

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Gate => "gate",
            Self::Payments => "payments",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ledger => "the ledger",
            Self::Gate => "the stock gate",
            Self::Payments => "the payment gateway",
        })
    }
}

/// Whether a purchase keeps others of its products out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PurchaseLock {
    /// It does not: batches decide.
    None,
    /// It holds the lock of each product from its first step to its last, as many shops do. Only to show
    /// what that costs.
    Product,
}

/// Bounds and patience of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Sagas on their way at once; above it buyers are told to come back.
    pub in_flight_max: usize,
    /// How long a buyer waits before being told that the order is PENDING.
    pub answer_within: Duration,
    pub tries: Tries,
    /// Pause before the second try; it doubles with each, up to `pause_max`.
    pub pause: Duration,
    pub pause_max: Duration,
    pub purchase_lock: PurchaseLock,
    /// How long after an order was created its customer may still act, where the payment needs that.
    pub customer_within: Duration,
}

/// What a buyer is told.
#[derive(Debug)]
pub enum PurchaseAnswer {
    /// It has ended.
    Ended(Answer),
    /// The order exists and its saga is on its way.
    Pending(Arc<Order>),
    /// The key was used with another body.
    KeyReused,
    /// Too many sagas are on their way.
    Busy,
    /// No answer yet, and no order that is known of: the same key tells later.
    TimedOut,
}

impl PurchaseAnswer {
    /// The order, where there is one.
    pub fn order(&self) -> Option<&Arc<Order>> {
        match self {
            Self::Pending(order)
            | Self::Ended(
                Answer::Order(order)
                | Answer::Elsewhere(order)
                | Answer::Stuck(order)
                | Answer::NeedsCustomer(order, _),
            ) => Some(order),
            Self::Ended(Answer::Refused(_)) | Self::KeyReused | Self::Busy | Self::TimedOut => None,
        }
    }
}

/// The engine of one process.
pub struct Engine {
    pub(super) router: Arc<Router>,
    pub(super) closing: AtomicBool,
}

/// Hands sagas on.
pub struct Router {
    pub(super) ports: Ports,
    pub(super) desk: Arc<Desk>,
    pub(super) config: EngineConfig,
    pub(super) instance: InstanceId,
    tally: Tally,
    keys: KeyLookup,
    queues: [mpsc::Sender<Run>; 4],
}

impl Engine {
    /// Starts the stages.
    pub fn start(ports: Ports, config: EngineConfig) -> Arc<Self> {
        Self::start_with(Self::steps(&ports, &config), ports, config)
    }

    /// The four steps over `ports`, each with the number of its workers.
    pub fn steps(ports: &Ports, config: &EngineConfig) -> [(Arc<dyn Step>, usize); 4] {
        let customer_within = config.customer_within;
        let Ports { ledger, gate, payments, clock, keeper, .. } = ports.clone();
        [
            (Arc::new(ReserveStock { gate: Arc::clone(&gate), keeper: Arc::clone(&keeper) }), 1),
            // Two workers, so that one batch fills while the other commits.
            (
                Arc::new(CreateOrder {
                    ledger: Arc::clone(&ledger),
                    gate: Arc::clone(&gate),
                    clock: Arc::clone(&clock),
                    keeper,
                }),
                2,
            ),
            // Many, because the gateway may take its time; where it answers for whole batches at
            // once, few of them ever have work.
            (
                Arc::new(TakePayment {
                    payments,
                    ledger: Arc::clone(&ledger),
                    clock: Arc::clone(&clock),
                    customer_within,
                }),
                256,
            ),
            (Arc::new(ConfirmOrder { ledger, gate, clock }), 2),
        ]
    }

    /// Starts the stages with steps of the caller's; for tests that let [`steps`](Self::steps) misbehave.
    pub fn start_with(steps: [(Arc<dyn Step>, usize); 4], ports: Ports, config: EngineConfig) -> Arc<Self> {
        // Every run in a queue has a ticket, so a queue never holds more than there are tickets.
        let channels = [(); 4].map(|()| mpsc::channel(config.in_flight_max));
        let instance = ports.clock.new_instance_id();
        let queues = channels.each_ref().map(|(sender, _)| sender.clone());
        let desk = Desk::new(config.in_flight_max);
        let keys = KeyLookup::start(&ports.ledger, config.in_flight_max);
        let router =
            Arc::new(Router { ports, desk, config, instance, tally: Tally::default(), keys, queues });
        for ((step, workers), (_, queue)) in steps.into_iter().zip(channels) {
            stage::start(step, queue, workers, &router);
        }
        Arc::new(Self { router, closing: AtomicBool::new(false) })
    }

    /// What has been sold since somebody last asked, by product.
    pub fn tally(&self) -> &Tally {
        &self.router.tally
    }

    /// Whether a buyer who comes with these words as their key is to be told at once, before anybody looks who they are
    /// and what they want, to come back: too many sagas are on their way, and theirs is certainly none of them. Where
    /// most are told so, this is what there is to do for each.
    pub fn turns_away(&self, words: &str) -> bool {
        let is_full = self.router.desk.is_full_for(words);
        if is_full {
            count_answer(&Ok(PurchaseAnswer::Busy));
        }
        is_full
    }

    /// Sells a basket, or says why not; answers within the configured time whatever happens.
    ///
    /// # Errors
    /// The ledger cannot be asked what stands under the key.
    pub async fn purchase(&self, purchase: Purchase) -> Result<PurchaseAnswer, Unavailable> {
        let answer = self.sell(purchase).await;
        count_answer(&answer);
        answer
    }

    async fn sell(&self, purchase: Purchase) -> Result<PurchaseAnswer, Unavailable> {
        let router = &self.router;
        let until = Instant::now() + router.config.answer_within;
        if self.closing.load(Ordering::Relaxed) {
            return Ok(PurchaseAnswer::Busy);
        }
        if let Some(missing) = self.missing() {
            // Nothing could be sold: before anything is held or written the buyer is told to come back.
            let known = match missing {
                Part::Ledger => None,
                Part::Gate | Part::Payments => self.settled(&purchase, until).await?,
            };
            return known.ok_or_else(|| Unavailable(format!("{missing} is down")));
        }
        let purchase = Arc::new(purchase);
        loop {
            let id = router.ports.clock.new_order_id();
            let answer = match router.desk.admit(id, purchase.key, purchase.body) {
                Admission::Full => return Ok(PurchaseAnswer::Busy),
                // The other body may be the misuse: the ledger knows whose the key is, if it is anybody's.
                Admission::KeyReused => {
                    return Ok(self.settled(&purchase, until).await?.unwrap_or(PurchaseAnswer::KeyReused));
                }
                Admission::Driver(ticket) => {
                    if let Some(watcher) = &router.ports.watcher {
                        watcher.began(id);
                    }
                    let locks = self.lock_products(&purchase).await?;
                    let standing = ticket.subscribe();
                    let driver = Driver { instance: router.instance, epoch: 1 };
                    router.send(Run { saga: Saga::new(id, driver, Arc::clone(&purchase)), ticket });
                    match locks {
                        None => wait(standing, until).await,
                        Some(locks) => wait_and_release(standing, locks, until).await,
                    }
                }
                Admission::Waiter(standing) => match wait(standing, until).await {
                    // The first attempt went away without an answer: this one takes its place.
                    PurchaseAnswer::TimedOut if Instant::now() < until => continue,
                    answer => answer,
                },
            };
            return match answer {
                // The key may stand for an order already, made here or on another server.
                PurchaseAnswer::Ended(answer @ (Answer::Refused(_) | Answer::Elsewhere(_))) => {
                    let known = self.settled(&purchase, until).await?;
                    Ok(known.unwrap_or(PurchaseAnswer::Ended(answer)))
                }
                answer => Ok(answer),
            };
        }
    }

    /// The part of the shop without which nothing can be sold at the moment.
    pub fn missing(&self) -> Option<Part> {
        let ports = &self.router.ports;
        Part::ALL.into_iter().find(|part| part.is_down(ports))
    }

    /// The locks of the basket's products, where purchases hold them.
    async fn lock_products(&self, purchase: &Purchase) -> Result<Option<HeldLocks>, Unavailable> {
        let router = &self.router;
        match router.config.purchase_lock {
            PurchaseLock::None => Ok(None),
            PurchaseLock::Product => {
                let products: Vec<_> = purchase.basket.lines().iter().map(|line| line.product_id).collect();
                router.ports.locks.acquire(&products, router.config.answer_within).await.map(Some)
            }
        }
    }

    /// Waits until the order of a purchase that another server drives, or nobody for the moment, has ended or
    /// waits for its customer.
    async fn follow(&self, purchase: &Purchase, order: Arc<Order>, until: Instant) -> PurchaseAnswer {
        let router = &self.router;
        let mut tries = 0;
        loop {
            tries += 1;
            let pause = router.follow_pause(tries);
            if Instant::now() + pause >= until {
                return PurchaseAnswer::Pending(order);
            }
            tokio::time::sleep(pause).await;
            match self.known(purchase).await {
                Ok(Some(PurchaseAnswer::Pending(_)) | None) => {}
                Ok(Some(answer)) => return answer,
                Err(error) => tracing::debug!(%error, "an order could not be followed for a moment"),
            }
        }
    }

    /// What the ledger remembers under the purchase's key, once that has ended or there is no more time.
    async fn settled(
        &self,
        purchase: &Purchase,
        until: Instant,
    ) -> Result<Option<PurchaseAnswer>, Unavailable> {
        // Whatever the ledger does, there is an answer soon; the same key tells the truth later.
        let latest = until.max(Instant::now() + LAST_LOOK);
        let known = timeout_at(latest, self.known(purchase)).await;
        let known = known.unwrap_or_else(|_| Err(Unavailable("the ledger did not answer in time".into())))?;
        Ok(match known {
            Some(PurchaseAnswer::Pending(order)) => Some(self.follow(purchase, order, until).await),
            known => known,
        })
    }

    /// What the ledger remembers under the purchase's key.
    async fn known(&self, purchase: &Purchase) -> Result<Option<PurchaseAnswer>, Unavailable> {
        let since = purchase.at.minus(KEYS_REMEMBERED);
        let sought = SoughtKey { user: purchase.user_id, key: purchase.key, since };
        let Some(known) = self.router.keys.find(sought).await? else {
            return Ok(None);
        };
        if known.body != purchase.body {
            return Ok(Some(PurchaseAnswer::KeyReused));
        }
        Ok(Some(match (known.order.status, known.next_action) {
            (OrderStatus::Pending, _) if known.stuck => PurchaseAnswer::Ended(Answer::Stuck(known.order)),
            (OrderStatus::Pending, Some(action)) => {
                PurchaseAnswer::Ended(Answer::NeedsCustomer(known.order, action))
            }
            (OrderStatus::Pending, None) => PurchaseAnswer::Pending(known.order),
            _ => PurchaseAnswer::Ended(Answer::Order(known.order)),
        }))
    }

    /// Sagas that wait for each step, in this process.
    pub fn queued(&self) -> [(StepName, usize); 4] {
        let queues = &self.router.queues;
        StepName::ALL.map(|step| {
            let queue = &queues[step as usize];
            (step, queue.max_capacity() - queue.capacity())
        })
    }

    /// Sagas that may be on their way in this process at once.
    pub fn in_flight_max(&self) -> usize {
        self.router.config.in_flight_max
    }

    /// Sagas on their way in this process.
    pub fn in_flight(&self) -> usize {
        self.router.desk.in_flight()
    }

    /// Whether a task of this process drives the saga.
    pub fn drives(&self, saga: crate::domain::OrderId) -> bool {
        self.router.desk.drives(saga)
    }

    /// This run's id.
    pub fn instance(&self) -> InstanceId {
        self.router.instance
    }

    /// Admits no more purchases and waits until those on their way have ended, at most `patience`.
    /// What has not ended is taken up by the next start. `true` when all have.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.closing.store(true, Ordering::Relaxed);
        let until = Instant::now() + patience;
        while self.in_flight() > 0 {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

/// Waits for the end of a saga, or until it is time to answer.
pub(super) async fn wait(mut standing: watch::Receiver<Standing>, until: Instant) -> PurchaseAnswer {
    let ended = standing.wait_for(|standing| matches!(standing, Standing::Ended(_)));
    // On time-out or when the ticket was lost, the last standing still says what is known.
    let _ = timeout_at(until, ended).await;
    let last = standing.borrow().clone();
    match last {
        Standing::Ended(answer) => PurchaseAnswer::Ended(answer),
        Standing::Pending(order) => PurchaseAnswer::Pending(order),
        Standing::Queued => PurchaseAnswer::TimedOut,
    }
}

/// The same with the locks of its products, which are held until the saga ends, however late that is.
async fn wait_and_release(
    standing: watch::Receiver<Standing>,
    locks: HeldLocks,
    until: Instant,
) -> PurchaseAnswer {
    let mut end = standing.clone();
    tokio::spawn(async move {
        let _ = end.wait_for(|standing| matches!(standing, Standing::Ended(_))).await;
        locks.release().await;
    });
    wait(standing, until).await
}

impl Router {
    /// Queues a saga for the step its phase names.
    pub(super) fn send(&self, run: Run) {
        let step = match run.saga.phase {
            Phase::Acting(step) | Phase::Undoing(step, _) => step,
            Phase::Stuck { .. } | Phase::Waiting | Phase::Ended(_) => return,
        };
        if self.queues[step as usize].try_send(run).is_err() {
            // Only when the stages are gone, at the end of the process; the next start goes on.
            tracing::warn!(%step, "a saga could not be queued");
        }
    }

    /// Takes in what came of a step and hands the saga on.
    pub(super) fn route(self: &Arc<Self>, mut run: Run, outcome: Outcome) {
        if run.saga.id != run.ticket.saga() && !run.ticket.goes_on_as(run.saga.id) {
            // The same saga is on its way here already, under a cancel: that one finishes it.
            run.saga.phase = Phase::Ended(Ending::Lost);
            return self.end(run);
        }
        let created = run.saga.phase == Phase::Acting(StepName::CreateOrder) && outcome == Outcome::Done;
        if let (true, Some(order)) = (created, &run.saga.order) {
            run.ticket.pending(Arc::clone(order));
        }
        match run.saga.advance(outcome, &self.config.tries) {
            Next::Go => self.send(run),
            Next::Pause(tries) => {
                let router = Arc::clone(self);
                let pause = self.pause(tries);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    router.send(run);
                });
            }
            Next::Park => {
                tokio::spawn(Arc::clone(self).park(run));
            }
            // The step has written down that it waits.
            Next::Rest | Next::End => self.end(run),
        }
    }

    /// The pause before another look at an order that somebody else is at work on.
    pub(super) fn follow_pause(&self, tries: u32) -> Duration {
        self.pause(tries).min(FOLLOW_PAUSE_MAX)
    }

    /// The pause after the `tries`th try: doubling, bounded, jittered.
    pub(super) fn pause(&self, tries: u32) -> Duration {
        let doubled = self.config.pause.saturating_mul(1 << tries.saturating_sub(1).min(16));
        self.ports.clock.jittered(doubled.min(self.config.pause_max))
    }

    /// Writes down that a saga is stuck; until that succeeds it stays on its way.
    async fn park(self: Arc<Self>, mut run: Run) {
        let Phase::Stuck { step, undoing } = run.saga.phase else { return };
        let saga = &run.saga;
        tracing::error!(saga_id = %saga.id, %step, ?undoing, "a saga is stuck and needs an administrator");
        loop {
            let at = self.ports.clock.now();
            let reference = SagaRef { id: saga.id, driver: saga.driver, at };
            match self.ports.ledger.park_saga(reference, step, undoing).await {
                Ok(()) | Err(SagaError::Superseded | SagaError::ToBeUndone(_)) => break,
                Err(SagaError::WrongState) => {
                    self.reread(&mut run.saga).await;
                    break;
                }
                Err(SagaError::Unknown(error)) => {
                    tracing::error!(%error, saga_id = %saga.id, "a stuck saga could not be written down");
                    tokio::time::sleep(self.ports.clock.jittered(self.config.pause_max)).await;
                }
            }
        }
        self.end(run);
    }

    /// Ends a saga that the ledger knows as finished though its driver never heard so.
    async fn reread(&self, saga: &mut Saga) {
        let order = match self.ports.ledger.order(saga.id).await {
            Ok(Some(order)) => order,
            // Without an order there is only a hold, which the sweeper gives back.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, saga_id = %saga.id, "a finished saga could not be read again");
                return;
            }
        };
        let hold = [Hold::of(saga)];
        let (told, ending) = match order.status {
            OrderStatus::Pending => return,
            OrderStatus::Confirmed => (self.ports.gate.confirm(&hold).await, Ending::Confirmed),
            OrderStatus::Failed | OrderStatus::Cancelled => {
                let reason = order.reason.unwrap_or(Reason::ConcurrentModification);
                (self.ports.gate.release(&hold).await, Ending::Undone(reason))
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, saga_id = %saga.id, "the stock gate was not told how a saga ended");
        }
        (saga.phase, saga.order) = (Phase::Ended(ending), Some(order));
    }

    /// Tells those who wait how a saga ended.
    fn end(&self, run: Run) {
        self.tally.count(&run.saga, self.ports.clock.now());
        let Run { saga, ticket } = run;
        let Saga { phase, order, refusal, next_action, .. } = saga;
        let answer = match (phase, order) {
            (Phase::Ended(Ending::Confirmed | Ending::Undone(_)), Some(order)) => Answer::Order(order),
            (Phase::Ended(Ending::Lost), Some(order)) => Answer::Elsewhere(order),
            (Phase::Stuck { .. }, Some(order)) => Answer::Stuck(order),
            (Phase::Waiting, Some(order)) => match next_action {
                Some(action) => Answer::NeedsCustomer(order, action),
                None => Answer::Elsewhere(order),
            },
            _ => Answer::Refused(refusal.unwrap_or(Refusal::Unavailable)),
        };
        ticket.end(answer);
    }
}
