//! What every payment gateway promises. The tokens `tok_declined`, `tok_late` and so on are those of
//! the simulated gateway; an adapter of another one maps them to its own test cards.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast::adapters::gateway::{Faults, HttpGateway, SimulatedGateway, TEST_TOKENS};
use holdfast::domain::{Capture, Money, NextAction, OrderId, PaymentToken};
use holdfast::ports::Unavailable;
use holdfast::ports::clock::SystemClock;
use holdfast::ports::payments::{
    ChargeError, ChargeRecord, ChargeRequest, ChargeState, GiveBackError, Payments, Voided,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::support::gateway::{self, Gateway};
use crate::support::goods::{euro, new_order_id, now};
use crate::support::shop::{NO_FAULTS, PATIENCE};
use crate::support::stripe::FakeStripe;
use crate::support::wait_for;

use super::suite;

/// Where a gateway keeps what it knows; opened again it has to know it still.
trait Records: Send + Sync {
    async fn open(&self) -> Arc<dyn Payments>;
}

struct File(TempDir);

impl File {
    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("gateway.db")
    }

    fn open_with(&self, faults: Faults) -> Arc<SimulatedGateway> {
        Arc::new(self.gateway(faults))
    }

    fn gateway(&self, faults: Faults) -> SimulatedGateway {
        SimulatedGateway::open(&self.path(), Arc::new(SystemClock), faults).expect("it opens")
    }
}

impl Records for File {
    async fn open(&self) -> Arc<dyn Payments> {
        self.open_with(NO_FAULTS)
    }
}

/// The same file behind `holdfast gateway`, each time another server.
struct Service(File);

impl Records for Service {
    async fn open(&self) -> Arc<dyn Payments> {
        let gateway = Gateway::start(&self.0.path(), NO_FAULTS, Some("a secret")).await;
        let client = gateway.client(Some("a secret"), gateway::PATIENCE);
        Arc::new(Served { _gateway: gateway, client })
    }
}

/// A client and the gateway that it is a client of.
struct Served {
    _gateway: Gateway,
    client: HttpGateway,
}

#[async_trait]
impl Payments for Served {
    fn batch_max(&self) -> usize {
        self.client.batch_max()
    }

    async fn charge(&self, batch: &[ChargeRequest]) -> Vec<Result<Capture, ChargeError>> {
        self.client.charge(batch).await
    }

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, GiveBackError> {
        self.client.void(order, amount).await
    }

    async fn refund(&self, order: OrderId, amount: Money) -> Result<Capture, GiveBackError> {
        self.client.refund(order, amount).await
    }

    async fn list(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<ChargeRecord>, Unavailable> {
        self.client.list(after, limit).await
    }
}

/// Stripe, as far as a fake with memory is Stripe.
#[derive(Default)]
struct Stripe(OnceCell<FakeStripe>);

impl Records for Stripe {
    async fn open(&self) -> Arc<dyn Payments> {
        Arc::new(self.0.get_or_init(FakeStripe::start).await.client())
    }
}

fn request(order: OrderId, token: &str) -> ChargeRequest {
    ChargeRequest { order, amount: euro(500), token: Some(PaymentToken(token.into())) }
}

async fn charge(payments: &dyn Payments, order: OrderId, token: &str) -> Result<i64, ChargeError> {
    let mut answers = payments.charge(&[request(order, token)]).await;
    assert_eq!(answers.len(), 1, "one answer a request");
    answers.remove(0).map(|capture| {
        assert!(!capture.transaction_id.is_empty());
        capture.amount.minor
    })
}

/// What the gateway lists under the key.
async fn state(payments: &dyn Payments, order: OrderId) -> Option<ChargeState> {
    let records = payments.list(None, 1_000).await.expect("the list");
    let mut found = records.iter().filter(|record| record.order == order);
    let state = found.next().map(|record| record.state);
    assert_eq!(found.next(), None, "one record a key");
    state
}

fn declined(answer: &Result<i64, ChargeError>) -> bool {
    matches!(answer, Err(ChargeError::Declined { code }) if !code.is_empty())
}

async fn a_charge_takes_the_money_once(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    let first = payments.charge(&[request(order, "tok_ok")]).await.remove(0).expect("captured");
    assert_eq!(first.amount, euro(500));
    for token in ["tok_ok", "tok_declined", "tok_duplicate"] {
        let again = payments.charge(&[request(order, token)]).await.remove(0);
        assert_eq!(again.expect("captured before"), first);
    }
    let listed = payments.list(None, 10).await.expect("the list");
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].order, listed[0].amount, listed[0].state),
        (order, euro(500), ChargeState::Captured)
    );
    assert!((now().0 - listed[0].at.0).abs() < 60_000, "with the moment it was made");
}

async fn a_charge_without_a_token_is_accepted(records: impl Records) {
    let payments = records.open().await;
    let (order, amount) = (new_order_id(), euro(1));
    let answer = payments.charge(&[ChargeRequest { order, amount, token: None }]).await.remove(0);
    assert_eq!(answer.expect("captured").amount, amount);
}

async fn a_decline_is_remembered_for_ever(records: impl Records) {
    let order = new_order_id();
    for _ in 0..2 {
        let payments = records.open().await;
        for token in ["tok_declined", "tok_ok", "tok_late"] {
            let answer = charge(&*payments, order, token).await;
            let silent = token == "tok_late" && matches!(answer, Err(ChargeError::Unknown(_)));
            assert!(declined(&answer) || silent, "{token}: {answer:?}");
        }
        assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
        assert!(declined(&charge(&*payments, order, "tok_ok").await), "also after voiding");
        assert_eq!(state(&*payments, order).await, Some(ChargeState::Declined));
    }
}

async fn a_card_that_nobody_knows_is_declined(records: impl Records) {
    let payments = records.open().await;
    assert!(declined(&charge(&*payments, new_order_id(), "tok_nonsense").await));
}

async fn an_answer_lost_before_the_charge_takes_nothing(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    let answer = charge(&*payments, order, "tok_timeout_before").await;
    assert!(matches!(answer, Err(ChargeError::Unknown(_))), "{answer:?}");
    assert_eq!(state(&*payments, order).await, None);
    assert_eq!(charge(&*payments, order, "tok_ok").await.expect("the key is free"), 500);
}

async fn an_answer_lost_after_the_charge_is_found_by_repeating_it(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    let answer = charge(&*payments, order, "tok_timeout_after").await;
    assert!(matches!(answer, Err(ChargeError::Unknown(_))), "{answer:?}");
    assert_eq!(state(&*payments, order).await, Some(ChargeState::Captured));
    assert_eq!(charge(&*payments, order, "tok_ok").await.expect("captured before"), 500);
}

async fn a_charge_delivered_twice_takes_the_money_once(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    assert_eq!(charge(&*payments, order, "tok_duplicate").await.expect("captured"), 500);
    assert_eq!(state(&*payments, order).await, Some(ChargeState::Captured));
}

async fn a_late_charge_arrives(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    let answer = charge(&*payments, order, "tok_late").await;
    assert!(matches!(answer, Err(ChargeError::Unknown(_))), "{answer:?}");
    let arrived = async || state(&*payments, order).await == Some(ChargeState::Captured);
    wait_for("the late charge arrives", PATIENCE, arrived).await;
}

async fn a_late_charge_finds_its_key_voided(records: impl Records) {
    let payments = records.open().await;
    let (order, marker) = (new_order_id(), new_order_id());
    assert!(charge(&*payments, order, "tok_late").await.is_err());
    assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
    // Sent later and as late as the first, so when it has arrived the first has too.
    assert!(charge(&*payments, marker, "tok_late").await.is_err());
    let arrived = async || state(&*payments, marker).await == Some(ChargeState::Captured);
    wait_for("the marker arrives", PATIENCE, arrived).await;
    assert_eq!(state(&*payments, order).await, Some(ChargeState::Voided));
}

async fn a_voided_key_is_never_charged(records: impl Records) {
    let order = new_order_id();
    for _ in 0..2 {
        let payments = records.open().await;
        for _ in 0..2 {
            assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
        }
        let answer = charge(&*payments, order, "tok_ok").await;
        assert!(matches!(answer, Err(ChargeError::Voided)), "{answer:?}");
        assert_eq!(state(&*payments, order).await, Some(ChargeState::Voided));
    }
}

async fn voiding_a_captured_charge_changes_nothing(records: impl Records) {
    let payments = records.open().await;
    let order = new_order_id();
    let capture = payments.charge(&[request(order, "tok_ok")]).await.remove(0).expect("captured");
    for _ in 0..2 {
        let voided = payments.void(order, euro(500)).await.expect("answers");
        assert_eq!(voided, Voided::Captured(capture.clone()));
    }
    assert_eq!(state(&*payments, order).await, Some(ChargeState::Captured));
}

async fn money_is_given_back_once(records: impl Records) {
    let order = new_order_id();
    let capture = records.open().await.charge(&[request(order, "tok_ok")]).await.remove(0).expect("captured");
    for _ in 0..2 {
        let payments = records.open().await;
        for _ in 0..2 {
            assert_eq!(payments.refund(order, euro(500)).await.expect("refunded"), capture);
        }
        assert_eq!(state(&*payments, order).await, Some(ChargeState::Refunded));
        let voided = payments.void(order, euro(500)).await.expect("answers");
        assert_eq!(voided, Voided::Refunded(capture.clone()));
        let answer = charge(&*payments, order, "tok_ok").await;
        assert!(matches!(answer, Err(ChargeError::Voided)), "not charged again: {answer:?}");
    }
}

async fn what_was_never_taken_is_not_given_back(records: impl Records) {
    let payments = records.open().await;
    let (unknown, declined, voided) = (new_order_id(), new_order_id(), new_order_id());
    assert!(charge(&*payments, declined, "tok_declined").await.is_err());
    payments.void(voided, euro(500)).await.expect("voided");
    for order in [unknown, declined, voided] {
        let refused = payments.refund(order, euro(500)).await;
        assert!(matches!(refused, Err(GiveBackError::Refused(_))), "{refused:?}");
    }
    assert_eq!(state(&*payments, unknown).await, None);
    assert_eq!(state(&*payments, declined).await, Some(ChargeState::Declined));
    assert_eq!(state(&*payments, voided).await, Some(ChargeState::Voided));
}

fn needs_customer<T>(answer: &Result<T, ChargeError>) -> bool {
    matches!(answer, Err(ChargeError::NeedsCustomer(NextAction::RedirectToUrl { url })) if !url.is_empty())
}

async fn a_charge_that_needs_its_customer_takes_nothing_yet(records: impl Records) {
    let order = new_order_id();
    for _ in 0..2 {
        let payments = records.open().await;
        // Asked again it says the same, whatever token comes.
        for token in ["tok_3ds", "tok_3ds", "tok_ok"] {
            let answer = charge(&*payments, order, token).await;
            assert!(needs_customer(&answer), "{token}: {answer:?}");
        }
        let refused = payments.refund(order, euro(500)).await;
        assert!(matches!(refused, Err(GiveBackError::Refused(_))), "nothing was taken: {refused:?}");
        assert_eq!(state(&*payments, order).await, Some(ChargeState::Waiting));
    }
}

async fn a_charge_that_waits_for_its_customer_is_voided_for_ever(records: impl Records) {
    let order = new_order_id();
    assert!(needs_customer(&charge(&*records.open().await, order, "tok_3ds").await));
    for _ in 0..2 {
        let payments = records.open().await;
        assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
        for token in ["tok_3ds", "tok_ok"] {
            let answer = charge(&*payments, order, token).await;
            assert!(matches!(answer, Err(ChargeError::Voided)), "{token}: {answer:?}");
        }
        assert_eq!(state(&*payments, order).await, Some(ChargeState::Voided));
    }
}

async fn a_batch_is_answered_charge_by_charge(records: impl Records) {
    let payments = records.open().await;
    let tokens = TEST_TOKENS.map(|(token, _)| token);
    let batch: Vec<_> = tokens.iter().map(|token| request(new_order_id(), token)).collect();
    let answers = payments.charge(&batch).await;
    assert_eq!(answers.len(), batch.len());
    for ((token, request), answer) in tokens.iter().zip(&batch).zip(answers) {
        let right = match *token {
            "tok_ok" | "tok_duplicate" => answer
                .as_ref()
                .is_ok_and(|capture| capture.transaction_id.contains(&request.order.0.simple().to_string())),
            "tok_declined" => matches!(answer, Err(ChargeError::Declined { .. })),
            "tok_3ds" => needs_customer(&answer),
            _ => matches!(answer, Err(ChargeError::Unknown(_))),
        };
        assert!(right, "{token}: {answer:?}");
    }
    let same_key = [batch[0].clone(), batch[0].clone()];
    assert!(payments.charge(&same_key).await.iter().all(Result::is_ok));
    assert!(payments.charge(&[]).await.is_empty());
}

async fn charges_are_listed_in_order_of_their_keys(records: impl Records) {
    let payments = records.open().await;
    let mut orders: Vec<_> = (0..25).map(|_| new_order_id()).collect();
    for order in orders.iter().rev() {
        charge(&*payments, *order, "tok_ok").await.expect("captured");
    }
    orders.sort();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let part = payments.list(after, 10).await.expect("the list");
        assert!(part.len() <= 10);
        let Some(last) = part.last() else { break };
        after = Some(last.order);
        listed.extend(part.iter().map(|record| record.order));
    }
    assert_eq!(listed, orders);
}

async fn everything_is_known_after_opening_again(records: impl Records) {
    let payments = records.open().await;
    let orders = [new_order_id(), new_order_id(), new_order_id(), new_order_id()];
    charge(&*payments, orders[0], "tok_ok").await.expect("captured");
    assert!(charge(&*payments, orders[1], "tok_declined").await.is_err());
    payments.void(orders[2], euro(700)).await.expect("voided");
    charge(&*payments, orders[3], "tok_ok").await.expect("captured");
    payments.refund(orders[3], euro(500)).await.expect("refunded");
    let before = payments.list(None, 100).await.expect("the list");
    drop(payments);
    assert_eq!(records.open().await.list(None, 100).await.expect("the list"), before);
    let states: Vec<_> = before.iter().map(|record| record.state).collect();
    use ChargeState::{Captured, Declined, Refunded, Voided};
    assert_eq!(states, [Captured, Declined, Voided, Refunded]);
}

suite!(
    simulated,
    super::File::fresh(),
    [
        a_charge_takes_the_money_once,
        a_charge_without_a_token_is_accepted,
        a_decline_is_remembered_for_ever,
        a_card_that_nobody_knows_is_declined,
        an_answer_lost_before_the_charge_takes_nothing,
        an_answer_lost_after_the_charge_is_found_by_repeating_it,
        a_charge_delivered_twice_takes_the_money_once,
        a_late_charge_arrives,
        a_late_charge_finds_its_key_voided,
        a_voided_key_is_never_charged,
        voiding_a_captured_charge_changes_nothing,
        money_is_given_back_once,
        what_was_never_taken_is_not_given_back,
        a_charge_that_needs_its_customer_takes_nothing_yet,
        a_charge_that_waits_for_its_customer_is_voided_for_ever,
        a_batch_is_answered_charge_by_charge,
        charges_are_listed_in_order_of_their_keys,
        everything_is_known_after_opening_again,
    ]
);

suite!(
    http,
    super::Service(super::File::fresh()),
    [
        a_charge_takes_the_money_once,
        a_charge_without_a_token_is_accepted,
        a_decline_is_remembered_for_ever,
        a_card_that_nobody_knows_is_declined,
        an_answer_lost_before_the_charge_takes_nothing,
        an_answer_lost_after_the_charge_is_found_by_repeating_it,
        a_charge_delivered_twice_takes_the_money_once,
        a_late_charge_arrives,
        a_late_charge_finds_its_key_voided,
        a_voided_key_is_never_charged,
        voiding_a_captured_charge_changes_nothing,
        money_is_given_back_once,
        what_was_never_taken_is_not_given_back,
        a_batch_is_answered_charge_by_charge,
        charges_are_listed_in_order_of_their_keys,
        everything_is_known_after_opening_again,
    ]
);

// Without a token there is no card: `stripe.rs` has a test of its own for that.
suite!(
    stripe,
    super::Stripe::default(),
    [
        a_charge_takes_the_money_once,
        a_decline_is_remembered_for_ever,
        a_card_that_nobody_knows_is_declined,
        an_answer_lost_before_the_charge_takes_nothing,
        an_answer_lost_after_the_charge_is_found_by_repeating_it,
        a_charge_delivered_twice_takes_the_money_once,
        a_late_charge_arrives,
        a_late_charge_finds_its_key_voided,
        a_voided_key_is_never_charged,
        voiding_a_captured_charge_changes_nothing,
        money_is_given_back_once,
        what_was_never_taken_is_not_given_back,
        a_batch_is_answered_charge_by_charge,
        charges_are_listed_in_order_of_their_keys,
        everything_is_known_after_opening_again,
    ]
);

#[tokio::test]
async fn the_simulated_gateway_misbehaves_at_the_rates_it_is_given_and_by_its_seed() {
    let rates = Faults { timeout_ms: 0, late_ms: 0, decline_rate: 0.2, timeout_after_rate: 0.3, ..NO_FAULTS };
    rates.check().expect("possible rates");
    let outcomes = async |seed| {
        let file = File::fresh();
        let payments = file.open_with(Faults { seed, ..rates.clone() });
        assert_eq!(payments.batch_max(), 1, "a slow answer holds up no other charge");
        let mut outcomes = Vec::new();
        for _ in 0..300 {
            outcomes.push(match charge(&*payments, new_order_id(), "tok_ok").await {
                Ok(_) => 'c',
                Err(ChargeError::Declined { .. }) => 'd',
                Err(ChargeError::Unknown(_)) => 'u',
                Err(ChargeError::Voided) => 'v',
                Err(ChargeError::NeedsCustomer(_)) => '3',
            });
        }
        outcomes
    };
    let first = outcomes(1).await;
    let count = |what| first.iter().filter(|outcome| **outcome == what).count();
    assert!((100..200).contains(&count('c')), "{} of 300 captured", count('c'));
    assert!((30..90).contains(&count('d')), "{} of 300 declined", count('d'));
    assert!((50..130).contains(&count('u')), "{} of 300 unanswered", count('u'));
    assert_eq!(outcomes(1).await, first, "the same seed, the same fate");
    assert_ne!(outcomes(2).await, first);
}

#[tokio::test]
async fn what_the_customer_says_first_stands_for_ever() {
    use ChargeState::{Captured, Declined, Voided as Void, Waiting};
    let file = File::fresh();
    let payments = file.gateway(NO_FAULTS).with_challenges_at("https://pay.example/");
    let authenticate = async |order, accepted| {
        let found = payments.authenticate(order, accepted).await.expect("answers");
        found.map(|(amount, state)| {
            assert_eq!(amount, euro(500));
            state
        })
    };
    let (yes, no, late) = (new_order_id(), new_order_id(), new_order_id());
    assert_eq!(authenticate(yes, true).await, None, "nobody was asked");
    for order in [yes, no, late] {
        let Err(ChargeError::NeedsCustomer(NextAction::RedirectToUrl { url })) =
            charge(&payments, order, "tok_3ds").await
        else {
            panic!("the customer has to act")
        };
        assert_eq!(*url, *format!("https://pay.example/challenge/{order}"));
        assert_eq!(payments.look_up(order).await.expect("answers").map(|found| found.state), Some(Waiting));
    }
    let mut news = payments.news();
    payments.void(late, euro(500)).await.expect("voided");
    for again in [true, false, true] {
        // What is said later changes nothing.
        assert_eq!(authenticate(yes, again).await, Some(Captured));
        assert_eq!(authenticate(no, !again).await, Some(Declined));
        assert_eq!(authenticate(late, again).await, Some(Void));
    }
    assert_eq!((news.try_recv(), news.try_recv()), (Ok(yes), Ok(no)), "told once");
    assert!(news.try_recv().is_err(), "and nothing of what changed nothing");
    assert_eq!(charge(&payments, yes, "tok_3ds").await.expect("captured"), 500);
    assert!(declined(&charge(&payments, no, "tok_3ds").await));
    assert!(matches!(payments.void(yes, euro(500)).await, Ok(Voided::Captured(_))));
    assert_eq!(payments.void(no, euro(500)).await.expect("answers"), Voided::NothingTaken);
    payments.refund(yes, euro(500)).await.expect("refunded");
    assert_eq!(authenticate(yes, true).await, Some(ChargeState::Refunded));
}

#[tokio::test]
async fn a_customer_and_a_void_at_once_have_one_winner() {
    let file = File::fresh();
    let payments = file.open_with(NO_FAULTS);
    for _ in 0..50 {
        let order = new_order_id();
        assert!(needs_customer(&charge(&*payments, order, "tok_3ds").await));
        let (said, voided) =
            tokio::join!(payments.authenticate(order, true), payments.void(order, euro(500)));
        let said = said.expect("answers").map(|(_, state)| state);
        match voided.expect("answers") {
            Voided::NothingTaken => assert_eq!(said, Some(ChargeState::Voided)),
            Voided::Captured(_) => assert_eq!(said, Some(ChargeState::Captured)),
            Voided::Refunded(_) => panic!("nobody gave anything back"),
        }
    }
}

#[tokio::test]
async fn simulated_customers_act_by_themselves_also_after_opening_again() {
    let faults = Faults { needs_customer_rate: 1.0, customer_after_ms: 40, ..NO_FAULTS };
    let file = File::fresh();
    let order = new_order_id();
    let before = {
        let payments = file.open_with(Faults { customer_after_ms: 60_000, ..faults.clone() });
        let before = new_order_id();
        assert!(needs_customer(&charge(&*payments, before, "tok_ok").await));
        before
    };
    let payments = file.open_with(faults);
    assert!(needs_customer(&charge(&*payments, order, "tok_ok").await));
    let captured = async || state(&*payments, order).await == Some(ChargeState::Captured);
    wait_for("the customer acts", PATIENCE, captured).await;
    wait_for("the customer of before acts when the charge is asked for", PATIENCE, async || {
        charge(&*payments, before, "tok_ok").await.is_ok()
    })
    .await;
}

#[test]
fn a_gateway_file_from_before_there_were_challenges_is_brought_up_to_date() {
    let file = File::fresh();
    drop(file.open_with(NO_FAULTS));
    let old = rusqlite::Connection::open(file.path()).expect("it opens");
    old.execute_batch(
        "DROP TABLE charges; CREATE TABLE charges (
        order_id    BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
        amount      INTEGER NOT NULL,
        currency    TEXT    NOT NULL,
        state       TEXT    NOT NULL CHECK (state IN ('captured', 'declined', 'voided', 'refunded')),
        created_at  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID; PRAGMA user_version = 1;
    INSERT INTO charges VALUES (randomblob(16), 500, 'EUR', 'captured', 7);",
    )
    .expect("as it was");
    drop(old);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let payments = file.open_with(NO_FAULTS);
        let listed = payments.list(None, 10).await.expect("the list");
        assert_eq!((listed.len(), listed[0].state, listed[0].at.0), (1, ChargeState::Captured, 7));
        assert!(needs_customer(&charge(&*payments, new_order_id(), "tok_3ds").await));
    });
}

#[test]
fn impossible_rates_are_refused() {
    for (decline_rate, late_rate) in [(-0.1, 0.0), (1.1, 0.0), (0.6, 0.6), (f64::NAN, 0.0)] {
        assert!(Faults { decline_rate, late_rate, ..NO_FAULTS }.check().is_err());
    }
}
