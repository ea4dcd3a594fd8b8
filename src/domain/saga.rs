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
//! only known by asking again, so that is done for as long as it takes. So it is with an undo that has no answer;
//! one that is refused again and again leaves its saga as [`Phase::Stuck`] until it is resumed.
//! A payment that needs the customer first leaves the saga at rest ([`Phase::Waiting`]): nobody drives it,
//! the ledger knows until when it may last, and whoever takes it up again asks for the same charge.
//! A customer's cancel of a CONFIRMED order undoes `take_payment` (refund) and then
//! `confirm_order` (restock): money is on its way back before the units can be sold again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// Nothing happened yet; it may as soon as the customer has done something, and that is written down.
    Waits,
    /// It may have taken effect or may yet, and must not any more: it is undone like those before it.
    GivenUp(Reason),
    /// Another driver has taken the saga over: stop, undo nothing.
    Lost,
}

impl Outcome {
    /// Its name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected(_) => "rejected",
            Self::NotYet(_) => "not_yet",
            Self::Unknown => "unknown",
            Self::Waits => "waits",
            Self::GivenUp(_) => "given_up",
            Self::Lost => "lost",
        }
    }

    /// Why nothing came of it, where that is known.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Rejected(reason) | Self::NotYet(reason) | Self::GivenUp(reason) => Some(reason),
            Self::Done | Self::Unknown | Self::Waits | Self::Lost => None,
        }
    }
}

/// Where a saga stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// About to run, or running, the action of a step.
    Acting(StepName),
    /// About to run, or running, the undo of a step.
    Undoing(StepName, Reason),
    /// At rest until the customer has acted, or until the time for that is over.
    Waiting,
    /// Gave up for now; visible, and resumable by an administrator. `undoing` is the reason when
    /// it was the undo of `step` that was refused again and again.
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
    /// Refusals of an undo. One that has no answer is tried for as long as it takes.
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
    /// Leave it: it is taken up again when the customer has acted, or has not in time.
    Rest,
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

/// What a customer has to do before money can be taken (3-D Secure, as a rule).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NextAction {
    /// Open this address and follow it.
    RedirectToUrl { url: Arc<str> },
}

/// Pause before a gateway is asked whether a customer has acted, when nobody says so before.
const LOOK_PAUSE_MIN: Duration = Duration::from_secs(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// When to ask whether the customer of an order of `created_at` has acted: soon at first, ever more rarely
/// later, and at `until` at the latest.
pub fn next_look(created_at: Timestamp, now: Timestamp, until: Timestamp) -> Timestamp {
    let waited = Duration::from_millis(u64::try_from(now.0.saturating_sub(created_at.0)).unwrap_or_default());
    now.plus((waited / 2).clamp(LOOK_PAUSE_MIN, LOOK_PAUSE_MAX)).min(until)
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
    /// How many of them were refused.
    pub refusals: u32,
    pub purchase: Arc<Purchase>,
    /// The order, once the ledger has it.
    pub order: Option<Arc<Order>>,
    /// The money, once the gateway has it. `None` after `take_payment` when the total is 0.
    pub capture: Option<Capture>,
    /// Money given back, once the gateway said so.
    pub refund: Option<Capture>,
    /// Why there is no order, when there will be none.
    pub refusal: Option<Refusal>,
    /// What the customer has to do, or had to, before money can be taken.
    pub next_action: Option<NextAction>,
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
            refusals: 0,
            purchase,
            order: None,
            capture: None,
            refund: None,
            refusal: None,
            next_action: None,
            cancels_confirmed: false,
        }
    }

    /// Takes in what came of the present phase and says what to do next.
    pub fn advance(&mut self, outcome: Outcome, limits: &Tries) -> Next {
        let phase = match (self.phase, outcome) {
            (Phase::Stuck { .. } | Phase::Waiting | Phase::Ended(_), _) => self.phase,
            (_, Outcome::Lost) => Phase::Ended(Ending::Lost),
            (Phase::Acting(step), Outcome::Done) => after_action(step),
            (Phase::Acting(step), Outcome::Rejected(reason)) => self.unwind_before(step, reason),
            (Phase::Acting(step), Outcome::NotYet(reason)) => {
                if self.tried_again(limits.wait_max) {
                    return Next::Pause(self.attempts);
                }
                self.unwind_before(step, reason)
            }
            (Phase::Acting(StepName::TakePayment), Outcome::Waits) => Phase::Waiting,
            // What became of a confirmation is only known by asking again.
            (Phase::Acting(step), Outcome::GivenUp(reason)) if step != StepName::ConfirmOrder => {
                Phase::Undoing(step, reason)
            }
            // No other step waits for anybody.
            (Phase::Acting(step), Outcome::Unknown | Outcome::Waits | Outcome::GivenUp(_)) => {
                if self.tried_again(limits.act_max) || step == StepName::ConfirmOrder {
                    return Next::Pause(self.attempts);
                }
                Phase::Undoing(step, step.unknown_reason())
            }
            (Phase::Undoing(step, reason), Outcome::Done) => self.after_undo(step, reason),
            // However long a database or a gateway is away, there is nothing for an administrator to decide.
            (Phase::Undoing(..), Outcome::Unknown) => {
                self.attempts = self.attempts.saturating_add(1);
                return Next::Pause(self.attempts);
            }
            (Phase::Undoing(step, reason), _) => {
                self.attempts = self.attempts.saturating_add(1);
                self.refusals += 1;
                if self.refusals < limits.undo_max {
                    return Next::Pause(self.attempts);
                }
                Phase::Stuck { step, undoing: Some(reason) }
            }
        };
        self.phase = phase;
        (self.attempts, self.refusals) = (0, 0);
        match phase {
            Phase::Acting(_) | Phase::Undoing(..) => Next::Go,
            Phase::Stuck { .. } => Next::Park,
            Phase::Waiting => Next::Rest,
            Phase::Ended(_) => Next::End,
        }
    }

    /// Counts a try; whether there may be another one.
    fn tried_again(&mut self, max: u32) -> bool {
        self.attempts = self.attempts.saturating_add(1);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Currency, InstanceId, OrderStatus};

    const LIMITS: Tries = Tries { act_max: 3, wait_max: 4, undo_max: 3 };

    /// Moves that a saga can make at most while every part answers: every step and every undo with all of its
    /// tries.
    const MOVES_MAX: usize = 4 * 4 + 4 * 3 + 1;

    fn order(status: OrderStatus) -> Arc<Order> {
        let (at, total) = (Timestamp(0), Money::new(1, Currency::EUR));
        let id = OrderId(Uuid::nil());
        let lines = Arc::default();
        Arc::new(Order {
            id,
            user_id: UserId(1),
            status,
            reason: None,
            lines,
            total,
            created_at: at,
            updated_at: at,
        })
    }

    fn beginning() -> Saga {
        let at = Timestamp(0);
        let purchase = Purchase {
            user_id: UserId(1),
            key: Digest::of(&[b"key"]),
            body: Digest::of(&[b"body"]),
            basket: Basket::new([(ProductId(1), 1)].into_iter(), 1, 1).expect("a basket"),
            expected_total: None,
            payment_token: None,
            at,
            deadline: at.plus(Duration::from_secs(1)),
        };
        let driver = Driver { instance: InstanceId(Uuid::nil()), epoch: 1 };
        Saga::new(OrderId(Uuid::nil()), driver, Arc::new(purchase))
    }

    /// A saga as it is taken up again from the ledger.
    fn taken_up(status: OrderStatus, undoing: Option<Reason>) -> Saga {
        let mut saga = beginning();
        saga.order = Some(order(status));
        saga.cancels_confirmed = status == OrderStatus::Confirmed;
        saga.phase = match undoing {
            None => Phase::Acting(StepName::TakePayment),
            Some(reason) => Phase::Undoing(StepName::TakePayment, reason),
        };
        saga
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            6 => Just(Outcome::Done),
            2 => Just(Outcome::Rejected(Reason::PaymentDeclined)),
            2 => Just(Outcome::NotYet(Reason::InsufficientStock)),
            3 => Just(Outcome::Unknown),
            1 => Just(Outcome::Waits),
            1 => Just(Outcome::GivenUp(Reason::Expired)),
            1 => Just(Outcome::Lost),
        ]
    }

    /// Enough outcomes for any way a saga can take where every part answers; after them everything works.
    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        proptest::collection::vec(any_outcome(), MOVES_MAX)
    }

    /// What was done, in order, and where it led.
    struct Way {
        acted: Vec<StepName>,
        undone: Vec<StepName>,
        tried: Vec<StepName>,
        unknown: Vec<StepName>,
        last: Next,
    }

    /// Moves the saga until it ends or sticks; panics when it does neither.
    fn walk(saga: &mut Saga, outcomes: &[Outcome]) -> Way {
        let (acted, undone, tried, unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut way = Way { acted, undone, tried, unknown, last: Next::Go };
        let then = std::iter::repeat_n(&Outcome::Done, MOVES_MAX);
        let mut outcomes = outcomes.iter().chain(then);
        while matches!(way.last, Next::Go | Next::Pause(_)) {
            let outcome = *outcomes.next().expect("a saga ends or sticks within a bounded number of moves");
            let before = saga.phase;
            match before {
                Phase::Acting(step) => {
                    way.tried.push(step);
                    match outcome {
                        Outcome::Done => way.acted.push(step),
                        Outcome::Unknown | Outcome::GivenUp(_) => way.unknown.push(step),
                        // Only a payment waits.
                        Outcome::Waits if step != StepName::TakePayment => way.unknown.push(step),
                        _ => {}
                    }
                    if (step, outcome) == (StepName::CreateOrder, Outcome::Done) {
                        saga.order = Some(order(OrderStatus::Pending));
                    }
                }
                Phase::Undoing(step, _) if outcome == Outcome::Done => way.undone.push(step),
                _ => {}
            }
            way.last = saga.advance(outcome, &LIMITS);
            if let Next::Pause(tries) = way.last {
                assert_eq!(saga.phase, before, "a pause repeats the same");
                assert_eq!(tries, saga.attempts);
            }
            let turned_back = matches!((before, saga.phase), (Phase::Undoing(..), Phase::Acting(_)));
            assert!(!turned_back, "what is being undone never acts again");
            if let (Phase::Undoing(_, first), Phase::Undoing(_, then)) = (before, saga.phase) {
                assert_eq!(first, then, "the reason stays");
            }
        }
        way
    }

    /// What holds wherever a saga began.
    fn check(saga: &mut Saga, way: &Way) {
        match saga.phase {
            Phase::Ended(_) => assert_eq!(way.last, Next::End),
            Phase::Waiting => {
                assert_eq!((way.last, way.tried.last()), (Next::Rest, Some(&StepName::TakePayment)));
                assert_eq!(way.undone, [], "what is undone waits for no customer");
            }
            Phase::Stuck { step, undoing } => {
                assert_eq!(way.last, Next::Park);
                assert!(
                    undoing.is_some(),
                    "only what is refused sticks, and {step} cannot be before it is undone"
                );
            }
            other => panic!("it stopped at {other:?}"),
        }
        if saga.phase == Phase::Ended(Ending::Confirmed) {
            assert_eq!(way.undone, [], "what is confirmed was not undone");
        }
        // Where it stands is where it stays.
        let (phase, last) = (saga.phase, way.last);
        assert_eq!((saga.advance(Outcome::Done, &LIMITS), saga.phase), (last, phase));
    }

    proptest! {
        #[test]
        fn every_saga_ends_or_sticks_and_leaves_nothing_done_by_half(outcomes in outcomes()) {
            let mut saga = beginning();
            let way = walk(&mut saga, &outcomes);
            check(&mut saga, &way);
            prop_assert!(way.acted.is_sorted() && way.tried.is_sorted(), "steps act in their order");
            let all_done = way.acted == StepName::ALL;
            prop_assert_eq!(saga.phase == Phase::Ended(Ending::Confirmed), all_done);
            prop_assert!(way.undone.is_sorted_by(|a, b| a > b), "undone in reverse order, each once");
            if let Phase::Ended(Ending::Undone(_) | Ending::Refused(_)) = saga.phase {
                // Whatever was done, or may have been, is undone; an unknown reservation that is
                // refused afterwards is the deadline's.
                let refused_at_once = way.tried.last() == Some(&StepName::ReserveStock);
                for step in way.acted.iter().chain(&way.unknown) {
                    let settled = way.undone.contains(step)
                        // A later answer of the gateway under the same key settles a charge.
                        || (*step == StepName::TakePayment && way.tried.last() == Some(step))
                        // It never confirmed, as the ledger said at last.
                        || *step == StepName::ConfirmOrder
                        || refused_at_once;
                    prop_assert!(settled, "{:?} is not undone", step);
                }
                let has_order = saga.order.is_some();
                prop_assert_eq!(matches!(saga.phase, Phase::Ended(Ending::Undone(_))), has_order);
            }
        }

        #[test]
        fn a_saga_taken_up_again_goes_on_or_is_undone(outcomes in outcomes(), cancelled: bool, undoing: bool) {
            let status = if cancelled { OrderStatus::Confirmed } else { OrderStatus::Pending };
            let reason = (cancelled || undoing).then_some(Reason::CancelledByCustomer);
            let mut saga = taken_up(status, reason);
            let way = walk(&mut saga, &outcomes);
            check(&mut saga, &way);
            if cancelled || undoing {
                prop_assert_eq!(&way.tried[..], &[], "it only undoes");
                prop_assert_ne!(saga.phase, Phase::Ended(Ending::Confirmed));
            }
            if let Phase::Ended(Ending::Undone(_)) = saga.phase {
                let back = [StepName::TakePayment, StepName::CreateOrder, StepName::ReserveStock];
                let declined = way.acted.is_empty() && way.undone == back[1..];
                let refund_then_restock = [StepName::TakePayment, StepName::ConfirmOrder];
                match cancelled {
                    true => prop_assert_eq!(&way.undone[..], &refund_then_restock[..]),
                    false => prop_assert!(way.undone == back || (reason.is_none() && declined)),
                }
            }
        }

        #[test]
        fn a_stuck_saga_that_is_resumed_ends_when_everything_works(outcomes in outcomes()) {
            let mut saga = beginning();
            walk(&mut saga, &outcomes);
            let Phase::Stuck { undoing, .. } = saga.phase else { return Ok(()) };
            let mut resumed = taken_up(OrderStatus::Pending, undoing);
            let way = walk(&mut resumed, &[Outcome::Done; MOVES_MAX]);
            check(&mut resumed, &way);
            let ending = undoing.map_or(Ending::Confirmed, Ending::Undone);
            prop_assert_eq!(resumed.phase, Phase::Ended(ending));
        }
    }

    proptest! {
        #[test]
        fn a_saga_that_waited_and_is_taken_up_ends_sticks_or_waits_again(outcomes in outcomes(), expired: bool) {
            let mut saga = beginning();
            let first = [Outcome::Done, Outcome::Done, Outcome::Waits];
            let way = walk(&mut saga, &first);
            check(&mut saga, &way);
            prop_assert_eq!(saga.phase, Phase::Waiting);
            let mut again = taken_up(OrderStatus::Pending, expired.then_some(Reason::Expired));
            let way = walk(&mut again, &outcomes);
            check(&mut again, &way);
            prop_assert!(!expired || again.phase != Phase::Waiting, "past its time nothing waits");
        }

        #[test]
        fn looks_come_ever_more_rarely_and_not_after_the_end(waited in 0_i64..2_000_000, left in 0_i64..2_000_000) {
            let (created, now) = (Timestamp(5), Timestamp(5 + waited));
            let until = Timestamp(now.0 + left);
            let look = next_look(created, now, until);
            prop_assert!(now <= look && look <= until);
            let pause = next_look(created, now, Timestamp(i64::MAX)).0 - now.0;
            prop_assert!((1_000..=30_000).contains(&pause));
            let later = now.plus(Duration::from_secs(60));
            prop_assert!(next_look(created, later, Timestamp(i64::MAX)).0 - later.0 >= pause);
        }
    }

    /// Moves the saga with the same outcome again and again.
    fn insist(saga: &mut Saga, outcome: Outcome, times: u32) -> Vec<Next> {
        (0..times).map(|_| saga.advance(outcome, &LIMITS)).collect()
    }

    #[test]
    fn what_has_no_answer_is_tried_for_as_long_as_it_takes() {
        let undoing = Some(Reason::PaymentDeclined);
        for mut saga in [taken_up(OrderStatus::Pending, undoing), taken_up(OrderStatus::Pending, None)] {
            if saga.phase == Phase::Acting(StepName::TakePayment) {
                saga.advance(Outcome::Done, &LIMITS);
            }
            let before = saga.phase;
            let moves = insist(&mut saga, Outcome::Unknown, 10_000);
            assert!((1..).zip(&moves).all(|(n, next)| *next == Next::Pause(n)), "{before:?}");
            assert_eq!(saga.phase, before);
        }
    }

    #[test]
    fn only_refusals_of_an_undo_count_towards_being_stuck() {
        let mut saga = taken_up(OrderStatus::Pending, Some(Reason::PaymentDeclined));
        let refused = Outcome::Rejected(Reason::ConcurrentModification);
        insist(&mut saga, Outcome::Unknown, 100);
        insist(&mut saga, refused, LIMITS.undo_max - 1);
        insist(&mut saga, Outcome::Unknown, 100);
        assert!(matches!(saga.phase, Phase::Undoing(..)));
        assert_eq!(insist(&mut saga, refused, 1), [Next::Park]);
    }

    #[test]
    fn a_payment_that_is_given_up_is_undone_before_its_order() {
        let mut saga = beginning();
        let outcomes = [Outcome::Done, Outcome::Done, Outcome::GivenUp(Reason::Expired)];
        let way = walk(&mut saga, &[&outcomes[..], &[Outcome::Done; 3]].concat());
        assert_eq!(way.undone, [StepName::TakePayment, StepName::CreateOrder, StepName::ReserveStock]);
        assert_eq!(saga.phase, Phase::Ended(Ending::Undone(Reason::Expired)));
    }

    #[test]
    fn a_create_that_was_ever_unknown_is_undone_before_its_hold() {
        let mut saga = beginning();
        let sold_out = Outcome::Rejected(Reason::InsufficientStock);
        let way = walk(&mut saga, &[Outcome::Done, Outcome::Unknown, sold_out, Outcome::Done, Outcome::Done]);
        assert_eq!(way.undone, [StepName::CreateOrder, StepName::ReserveStock]);
        let mut saga = beginning();
        let way = walk(&mut saga, &[Outcome::Done, sold_out, Outcome::Done]);
        assert_eq!(way.undone, [StepName::ReserveStock]);
    }
}
