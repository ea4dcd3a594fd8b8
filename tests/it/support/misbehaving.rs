//! Steps that misbehave: as a script says, or as dice do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use holdfast::domain::{Capture, NextAction, Order, Outcome, Reason, Refusal, Saga, StepName};
use holdfast::saga::Step;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

/// Which half of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    Act,
    Undo,
}

/// What a step does instead of working. `effect` says whether it works before that.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// Does nothing and says so.
    Rejected(Reason),
    /// Does not answer, so many times.
    Silent { effect: bool, times: u32 },
    /// Never returns: the test kills the process.
    Crash { effect: bool },
    /// Panics, once.
    Panic { effect: bool },
    /// Works twice and answers once.
    Twice,
    /// Waits for [`Script::go`] and does then what the script says next.
    Wait,
}

impl Fault {
    fn times(self) -> u32 {
        match self {
            Self::Silent { times, .. } => times,
            Self::Crash { .. } | Self::Panic { .. } | Self::Wait => 1,
            Self::Rejected(_) | Self::Twice => u32::MAX,
        }
    }
}

/// Faults of one test, each of one half of one step.
pub struct Script {
    lines: Vec<Line>,
    healed: AtomicBool,
    go: watch::Sender<bool>,
}

struct Line {
    step: StepName,
    half: Half,
    fault: Fault,
    struck: AtomicU32,
}

impl Script {
    pub fn new(lines: &[(StepName, Half, Fault)]) -> Arc<Self> {
        let line = |(step, half, fault): &_| Line {
            step: *step,
            half: *half,
            fault: *fault,
            struck: AtomicU32::new(0),
        };
        let lines = lines.iter().map(line).collect();
        Arc::new(Self { lines, healed: AtomicBool::new(false), go: watch::Sender::new(false) })
    }

    /// Puts the script around a step.
    pub fn wrap(self: &Arc<Self>, inner: Arc<dyn Step>) -> Arc<dyn Step> {
        Arc::new(Scripted { inner, script: Arc::clone(self) })
    }

    /// From here on everything works.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
        self.go();
    }

    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::SeqCst)
    }

    /// Lets a waiting step go on.
    pub fn go(&self) {
        self.go.send_replace(true);
    }

    /// Whether every fault of the script has come about.
    pub fn has_struck(&self) -> bool {
        self.lines.iter().all(|line| line.struck.load(Ordering::SeqCst) > 0)
    }

    /// Whether a step waits, or waited.
    pub fn is_waiting(&self) -> bool {
        let waiting = |line: &Line| line.fault == Fault::Wait && line.struck.load(Ordering::SeqCst) > 0;
        self.lines.iter().any(waiting)
    }

    /// The fault that strikes now, if any.
    fn fault(&self, step: StepName, half: Half) -> Option<&Line> {
        if self.healed.load(Ordering::SeqCst) {
            return None;
        }
        let here = |line: &&Line| line.step == step && line.half == half;
        self.lines.iter().filter(here).find(|line| line.struck.load(Ordering::SeqCst) < line.fault.times())
    }
}

struct Scripted {
    inner: Arc<dyn Step>,
    script: Arc<Script>,
}

impl Scripted {
    async fn run(&self, half: Half, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        let Some(line) = self.script.fault(self.inner.name(), half) else {
            return work(&*self.inner, half, batch, reasons).await;
        };
        let before = Known::of(batch);
        let effect = match line.fault {
            Fault::Rejected(_) | Fault::Wait => false,
            Fault::Silent { effect, .. } | Fault::Crash { effect } | Fault::Panic { effect } => effect,
            Fault::Twice => true,
        };
        if effect {
            work(&*self.inner, half, batch, reasons).await;
            // What the effect told is lost with the answer.
            before.forget_the_rest(batch);
        }
        line.struck.fetch_add(1, Ordering::SeqCst);
        match line.fault {
            Fault::Rejected(reason) => vec![Outcome::Rejected(reason); batch.len()],
            Fault::Silent { .. } => vec![Outcome::Unknown; batch.len()],
            Fault::Crash { .. } => std::future::pending().await,
            // Like a panic, without a report that would look like a failed test.
            Fault::Panic { .. } => std::panic::resume_unwind(Box::new("a panic that the test wants")),
            Fault::Twice => work(&*self.inner, half, batch, reasons).await,
            Fault::Wait => {
                let mut go = self.script.go.subscribe();
                go.wait_for(|go| *go).await.expect("the script outlives its steps");
                Box::pin(self.run(half, batch, reasons)).await
            }
        }
    }
}

async fn work(step: &dyn Step, half: Half, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
    match half {
        Half::Act => step.act(batch).await,
        Half::Undo => step.undo(batch, reasons).await,
    }
}

#[async_trait]
impl Step for Scripted {
    fn name(&self) -> StepName {
        self.inner.name()
    }

    fn batch_max(&self) -> usize {
        self.inner.batch_max()
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        self.run(Half::Act, batch, &[]).await
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        self.run(Half::Undo, batch, reasons).await
    }
}

/// What sagas knew before a step.
struct Known(Vec<Knowledge>);

struct Knowledge {
    order: Option<Arc<Order>>,
    capture: Option<Capture>,
    refund: Option<Capture>,
    refusal: Option<Refusal>,
    next_action: Option<NextAction>,
}

impl Known {
    fn of(batch: &[Saga]) -> Self {
        let knowledge = |saga: &Saga| Knowledge {
            order: saga.order.clone(),
            capture: saga.capture.clone(),
            refund: saga.refund.clone(),
            refusal: saga.refusal.clone(),
            next_action: saga.next_action.clone(),
        };
        Self(batch.iter().map(knowledge).collect())
    }

    fn forget_the_rest(self, batch: &mut [Saga]) {
        for (saga, Knowledge { order, capture, refund, refusal, next_action }) in batch.iter_mut().zip(self.0)
        {
            (saga.order, saga.capture, saga.refund, saga.refusal) = (order, capture, refund, refusal);
            saga.next_action = next_action;
        }
    }
}

/// Steps that fail at random, each saga for itself, until they are healed.
pub struct Dice {
    rng: Mutex<ChaCha8Rng>,
    healed: AtomicBool,
}

impl Dice {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)), healed: AtomicBool::new(false) })
    }

    /// Puts the dice around a step.
    pub fn wrap(self: &Arc<Self>, inner: Arc<dyn Step>) -> Arc<dyn Step> {
        Arc::new(Diced { inner, dice: Arc::clone(self) })
    }

    /// From here on everything works.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    fn roll(&self, sides: u32) -> u32 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..sides)
    }

    async fn run(&self, step: &dyn Step, half: Half, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        if self.healed.load(Ordering::SeqCst) || self.roll(2) == 0 {
            return work(step, half, batch, reasons).await;
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for (n, saga) in batch.iter_mut().enumerate() {
            let (saga, reason) = (std::slice::from_mut(saga), reasons.get(n..=n).unwrap_or_default());
            let before = Known::of(saga);
            let outcome = match self.roll(100) {
                0..15 => Outcome::Unknown,
                15..30 => {
                    work(step, half, saga, reason).await;
                    before.forget_the_rest(saga);
                    Outcome::Unknown
                }
                30..40 => {
                    work(step, half, saga, reason).await;
                    before.forget_the_rest(saga);
                    work(step, half, saga, reason).await[0]
                }
                // "Nothing happened" may only be said where nothing can have happened, in an earlier
                // process either; and the gateway has tokens for it.
                40..43
                    if half == Half::Act && saga[0].attempts == 0 && step.name() != StepName::TakePayment =>
                {
                    Outcome::Rejected(Reason::ConcurrentModification)
                }
                43 => std::panic::resume_unwind(Box::new("a panic that the test wants")),
                _ => work(step, half, saga, reason).await[0],
            };
            outcomes.push(outcome);
        }
        outcomes
    }
}

struct Diced {
    inner: Arc<dyn Step>,
    dice: Arc<Dice>,
}

#[async_trait]
impl Step for Diced {
    fn name(&self) -> StepName {
        self.inner.name()
    }

    fn batch_max(&self) -> usize {
        self.inner.batch_max().min(16)
    }

    async fn act(&self, batch: &mut [Saga]) -> Vec<Outcome> {
        self.dice.run(&*self.inner, Half::Act, batch, &[]).await
    }

    async fn undo(&self, batch: &mut [Saga], reasons: &[Reason]) -> Vec<Outcome> {
        self.dice.run(&*self.inner, Half::Undo, batch, reasons).await
    }
}
