//! The saga of one purchase as a state machine.
//!
//! Pure: it is told what came of a step and says where the saga stands next. Who runs the steps,
//! when and in what batches is the business of [`crate::saga`].
//!
//! ```text
//!            reserve_stock ──▶ create_order ──▶ take_payment ──▶ confirm_order ──▶ Confirmed
//! rejected:       │                 │                 │                 │
//!              Refused ◀── undo ◀───┘      ┌── undo ◀─┘        ┌── undo ◀┘
//!                       reserve_stock ◀── create_order ◀── take_payment        ──▶ Undone
//! ```
//! A step whose outcome stays unknown is undone too, except `confirm_order`: what became of it is
//! only known by asking again, so its saga waits as [`Phase::Stuck`] until it is resumed.
//! A customer's cancel of a CONFIRMED order undoes `take_payment` (refund) and then
//! `confirm_order` (restock): money is on its way back before the units can be sold again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ids::{Digest, Driver, OrderId, ProductId, UserId};
use super::money::Money;
use super::order::{Basket, Order, Reason, UnknownWord};
use super::product::Left;
use super::time::Timestamp;

/// The four steps, in the order they act.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StepName {
    ReserveStock,
    CreateOrder,
    TakePayment,
    ConfirmOrder,
}

impl StepName {
    /// Every step, in the order they act.
    pub const ALL: [Self; 4] = [Self::ReserveStock, Self::CreateOrder, Self::TakePayment, Self::ConfirmOrder];

    /// The name used in the ledger, in logs and as file name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReserveStock => "reserve_stock",
            Self::CreateOrder => "create_order",
            Self::TakePayment => "take_payment",
            Self::ConfirmOrder => "confirm_order",
        }
    }

    /// The reason given when this step's outcome stays unknown.
    fn unknown_reason(self) -> Reason {
        match self {
            Self::ReserveStock => Reason::ReserveFailed,
            Self::CreateOrder => Reason::CreateOrderFailed,
            Self::TakePayment => Reason::PaymentUnknown,
            Self::ConfirmOrder => Reason::ConfirmFailed,
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StepName {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|step| step.as_str() == word).ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// What came of running a step's action or undo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// Nothing happened, and asking again would not change that.
    Rejected(Reason),
    /// Nothing happened yet; it may a moment later.
    NotYet(Reason),
    /// No answer: it may or may not have taken effect.
    Unknown,
    /// Another driver has taken the saga over: stop, undo nothing.
    Lost,
}

/// Where a saga stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// About to run, or running, the action of a step.
    Acting(StepName),
    /// About to run, or running, the undo of a step.
    Undoing(StepName, Reason),
    /// Gave up for now; visible, and resumable by an administrator. `undoing` is the reason when
    /// it was the undo of `step` that kept failing.
    Stuck { step: StepName, undoing: Option<Reason> },
    /// Nothing is left to do.
    Ended(Ending),
}

/// How a saga ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The order is CONFIRMED.
    Confirmed,
    /// The order is FAILED or CANCELLED; money and units are back.
    Undone(Reason),
    /// There is no order and nothing was left behind.
    Refused(Reason),
    /// Another driver finishes it.
    Lost,
}

/// Why there is no order, with what the customer needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    SoldOut(Vec<Left>),
    UnknownProduct(ProductId),
    MixedCurrencies,
    TotalOverflow,
    PriceChanged {
        total: Money,
    },
    /// The key belongs to another order of the customer.
    KeyTaken(OrderId),
    /// The attempt took too long, or was given up before.
    Expired,
    /// A part of the shop did not answer.
    Unavailable,
}

/// How often a step is tried before the saga turns to something else.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// Tries of an action whose outcome is unknown.
    pub act_max: u32,
    /// Tries of an action that answers "not yet".
    pub wait_max: u32,
    /// Tries of an undo.
    pub undo_max: u32,
}

/// What to do next with a saga.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run what its phase says.
    Go,
    /// Run what its phase says after a pause; this is the how-manieth try in a row.
    Pause(u32),
    /// Write down that it is stuck and leave it.
    Park,
    /// Tell whoever waits; it has ended.
    End,
}

/// What a customer asked for; never changes once accepted.
pub struct Purchase {
    pub user_id: UserId,
    /// Customer and Idempotency-Key.
    pub key: Digest,
    /// Everything in the request that decides what is sold.
    pub body: Digest,
    pub basket: Basket,
    /// The total that the customer saw. When given and not the price, nothing is sold.
    pub expected_total: Option<Money>,
    pub payment_token: Option<PaymentToken>,
    /// When the request arrived.
    pub at: Timestamp,
    /// From here on no order may be created for it any more.
    pub deadline: Timestamp,
}

/// Stands for a means of payment at the gateway. Never shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentToken(pub Box<str>);

impl fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentToken(…)")
    }
}

/// Money taken by the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    pub transaction_id: Arc<str>,
    pub amount: Money,
}

/// A saga on its way.
pub struct Saga {
    pub id: OrderId,
    pub driver: Driver,
    pub phase: Phase,
    /// Tries of the present phase that came to nothing.
    pub attempts: u32,
    pub purchase: Arc<Purchase>,
    /// The order, once the ledger has it.
    pub order: Option<Arc<Order>>,
    /// The money, once the gateway has it. `None` after `take_payment` when the total is 0.
    pub capture: Option<Capture>,
    /// Money given back, once the gateway said so.
    pub refund: Option<Capture>,
    /// Why there is no order, when there will be none.
    pub refusal: Option<Refusal>,
    /// The order was CONFIRMED and its customer cancels it.
    pub cancels_confirmed: bool,
}

impl Saga {
    /// A saga at its beginning.
    pub fn new(id: OrderId, driver: Driver, purchase: Arc<Purchase>) -> Self {
        Self {
            id,
            driver,
            phase: Phase::Acting(StepName::ReserveStock),
            attempts: 0,
            purchase,
            order: None,
            capture: None,
            refund: None,
            refusal: None,
            cancels_confirmed: false,
        }
    }

    /// Takes in what came of the present phase and says what to do next.
    pub fn advance(&mut self, outcome: Outcome, limits: &Tries) -> Next {
        let phase = match (self.phase, outcome) {
            (Phase::Stuck { .. } | Phase::Ended(_), _) => self.phase,
            (_, Outcome::Lost) => Phase::Ended(Ending::Lost),
            (Phase::Acting(step), Outcome::Done) => after_action(step),
            (Phase::Acting(step), Outcome::Rejected(reason)) => self.unwind_before(step, reason),
            (Phase::Acting(step), Outcome::NotYet(reason)) => {
                if self.tried_again(limits.wait_max) {
                    return Next::Pause(self.attempts);
                }
                self.unwind_before(step, reason)
            }
            (Phase::Acting(step), Outcome::Unknown) => {
                if self.tried_again(limits.act_max) {
                    return Next::Pause(self.attempts);
                }
                match step {
                    StepName::ConfirmOrder => Phase::Stuck { step, undoing: None },
                    _ => Phase::Undoing(step, step.unknown_reason()),
                }
            }
            (Phase::Undoing(step, reason), Outcome::Done) => self.after_undo(step, reason),
            (Phase::Undoing(step, reason), _) => {
                if self.tried_again(limits.undo_max) {
                    return Next::Pause(self.attempts);
                }
                Phase::Stuck { step, undoing: Some(reason) }
            }
        };
        self.phase = phase;
        self.attempts = 0;
        match phase {
            Phase::Acting(_) | Phase::Undoing(..) => Next::Go,
            Phase::Stuck { .. } => Next::Park,
            Phase::Ended(_) => Next::End,
        }
    }

    /// Counts a try; whether there may be another one.
    fn tried_again(&mut self, max: u32) -> bool {
        self.attempts += 1;
        self.attempts < max
    }

    /// `step` did nothing: undo the ones before it.
    fn unwind_before(&self, step: StepName, reason: Reason) -> Phase {
        match step {
            StepName::ReserveStock => Phase::Ended(Ending::Refused(reason)),
            // A try before this one had no answer and may yet arrive: the undo sees to it.
            StepName::CreateOrder if self.attempts > 0 => Phase::Undoing(StepName::CreateOrder, reason),
            StepName::CreateOrder => Phase::Undoing(StepName::ReserveStock, reason),
            StepName::TakePayment => Phase::Undoing(StepName::CreateOrder, reason),
            StepName::ConfirmOrder => Phase::Undoing(StepName::TakePayment, reason),
        }
    }

    fn after_undo(&self, step: StepName, reason: Reason) -> Phase {
        match step {
            StepName::TakePayment if self.cancels_confirmed => Phase::Undoing(StepName::ConfirmOrder, reason),
            StepName::ConfirmOrder => Phase::Ended(Ending::Undone(reason)),
            StepName::TakePayment => Phase::Undoing(StepName::CreateOrder, reason),
            StepName::CreateOrder => Phase::Undoing(StepName::ReserveStock, reason),
            StepName::ReserveStock if self.order.is_some() => Phase::Ended(Ending::Undone(reason)),
            StepName::ReserveStock => Phase::Ended(Ending::Refused(reason)),
        }
    }
}

fn after_action(step: StepName) -> Phase {
    match step {
        StepName::ReserveStock => Phase::Acting(StepName::CreateOrder),
        StepName::CreateOrder => Phase::Acting(StepName::TakePayment),
        StepName::TakePayment => Phase::Acting(StepName::ConfirmOrder),
        StepName::ConfirmOrder => Phase::Ended(Ending::Confirmed),
    }
}
