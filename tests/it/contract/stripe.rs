//! Stripe's PaymentIntents over a fake with memory (`support/stripe.rs`): what is particular about them. What
//! every gateway promises is in `payments.rs`.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::gateway::Patience;
use holdfast::domain::{Capture, InstanceId, Money, NextAction, OrderId, PaymentToken, Timestamp};
use holdfast::ports::clock::{Clock, SystemClock};
use holdfast::ports::payments::{ChargeError, ChargeRequest, ChargeState, Payments, Voided};

use crate::support::gateway::PATIENCE;
use crate::support::goods::{euro, new_order_id};
use crate::support::stripe::{FakeStripe, KEY, RETURN_URL};

/// A clock that is fast by so much.
struct Later(Duration);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }

    fn new_order_id(&self) -> OrderId {
        SystemClock.new_order_id()
    }

    fn new_instance_id(&self) -> InstanceId {
        SystemClock.new_instance_id()
    }

    fn jittered(&self, pause: Duration) -> Duration {
        SystemClock.jittered(pause)
    }

    fn secret(&self) -> [u8; 32] {
        SystemClock.secret()
    }
}

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn charge_of(
    payments: &dyn Payments,
    order: OrderId,
    token: Option<&str>,
    amount: Money,
) -> Result<Capture, ChargeError> {
    let token = token.map(|token| PaymentToken(token.into()));
    payments.charge(&[ChargeRequest { order, amount, token }]).await.remove(0)
}

async fn charge(payments: &dyn Payments, order: OrderId, token: &str) -> Result<Capture, ChargeError> {
    charge_of(payments, order, Some(token), euro(500)).await
}

#[track_caller]
fn declined(answer: Result<Capture, ChargeError>, why: &str) {
    assert!(matches!(&answer, Err(ChargeError::Declined { code }) if code == why), "{answer:?}");
}

#[track_caller]
fn unknown(answer: Result<Capture, ChargeError>) -> String {
    match answer {
        Err(ChargeError::Unknown(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn state(payments: &dyn Payments, order: OrderId) -> Option<ChargeState> {
    let records = payments.list(None, 100).await.expect("the list");
    records.iter().find(|record| record.order == order).map(|record| record.state)
}

#[tokio::test]
async fn a_sale_takes_two_calls() {
    let stripe = FakeStripe::start().await;
    let order = new_order_id();
    charge(&stripe.client(), order, "tok_ok").await.expect("captured");
    let id = order.0.simple();
    let wanted = ["POST /v1/payment_intents".to_owned(), format!("POST /v1/payment_intents/pi_{id}/confirm")];
    assert_eq!(stripe.requests(), wanted);
}

#[tokio::test]
async fn a_declined_intent_cannot_be_confirmed_by_anybody_any_more() {
    let stripe = FakeStripe::start().await;
    let order = new_order_id();
    declined(charge(&stripe.client(), order, "tok_declined").await, "generic_decline");
    assert_eq!(stripe.status(order), Some("canceled"));
    assert_eq!(stripe.confirm_otherwise(order, "tok_ok"), 400);
    declined(charge(&stripe.client(), order, "tok_ok").await, "generic_decline");
}

#[tokio::test]
async fn a_decline_that_lost_its_answer_is_found_by_asking_again() {
    let stripe = FakeStripe::start().await;
    let order = new_order_id();
    let payments = stripe.client();
    // The intent is there, and declined by a confirmation that nobody has heard of.
    unknown(charge(&payments, order, "tok_timeout_before").await);
    assert_eq!(stripe.confirm_otherwise(order, "tok_declined"), 402);
    declined(charge(&payments, order, "tok_ok").await, "generic_decline");
    assert_eq!(state(&payments, order).await, Some(ChargeState::Declined));
}

#[tokio::test]
async fn a_charge_without_a_token_or_too_small_is_declined() {
    let stripe = FakeStripe::start().await;
    let (payments, order, small) = (stripe.client(), new_order_id(), new_order_id());
    declined(charge_of(&payments, order, None, euro(500)).await, "payment_method_missing");
    assert_eq!(stripe.status(order), Some("canceled"));
    declined(charge_of(&payments, small, Some("tok_ok"), euro(1)).await, "amount_too_small");
    assert_eq!(payments.void(small, euro(1)).await.expect("answers"), Voided::NothingTaken);
    let dinars = Money::new(5_124, "KWD".parse().expect("a currency"));
    declined(charge_of(&payments, small, Some("tok_ok"), dinars).await, "amount_not_representable");
}

#[tokio::test]
async fn a_customer_who_has_to_prove_who_they_are_is_sent_there_and_charged_once() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    for _ in 0..2 {
        match charge(&payments, order, "tok_3ds").await {
            Err(ChargeError::NeedsCustomer(NextAction::RedirectToUrl { url })) => {
                assert!(url.starts_with("https://hooks.stripe.example/"), "{url}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(state(&payments, order).await, None, "no money was taken, and it may yet be");
    }
    stripe.authenticate(order, true);
    let capture = charge(&payments, order, "tok_3ds").await.expect("captured");
    assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::Captured(capture));
}

#[tokio::test]
async fn a_customer_who_fails_to_prove_who_they_are_is_declined_for_good() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    assert!(matches!(charge(&payments, order, "tok_3ds").await, Err(ChargeError::NeedsCustomer(_))));
    stripe.authenticate(order, false);
    declined(charge(&payments, order, "tok_3ds").await, "payment_intent_authentication_failure");
    assert_eq!(stripe.confirm_otherwise(order, "tok_ok"), 400);
    assert_eq!(state(&payments, order).await, Some(ChargeState::Declined));
}

#[tokio::test]
async fn a_customer_who_never_comes_back_is_not_charged_after_the_void() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    assert!(matches!(charge(&payments, order, "tok_3ds").await, Err(ChargeError::NeedsCustomer(_))));
    assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
    assert!(matches!(charge(&payments, order, "tok_3ds").await, Err(ChargeError::Voided)));
    assert_eq!(state(&payments, order).await, Some(ChargeState::Voided));
}

#[tokio::test]
async fn without_a_way_back_a_card_that_asks_for_proof_is_declined() {
    let stripe = FakeStripe::start().await;
    let payments = stripe.client_with(KEY, None, PATIENCE, Arc::new(SystemClock));
    let order = new_order_id();
    declined(charge(&payments, order, "tok_3ds").await, "authentication_required");
    assert_eq!(stripe.status(order), Some("canceled"));
}

#[tokio::test]
async fn a_payment_that_is_being_processed_is_unknown_until_it_has_ended() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    for _ in 0..2 {
        unknown(charge(&payments, order, "tok_processing").await);
        payments.void(order, euro(500)).await.expect_err("it cannot be cancelled, and may be captured");
    }
    stripe.process(order);
    let Voided::Captured(capture) = payments.void(order, euro(500)).await.expect("answers") else {
        panic!("the money was taken");
    };
    assert_eq!(payments.refund(order, euro(500)).await.expect("refunded"), capture);
}

#[tokio::test]
async fn what_stripe_cannot_answer_is_unknown() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    for status in [400, 401, 403, 404, 409, 429, 500, 503] {
        stripe.break_down(Some(status));
        let why = unknown(charge(&payments, order, "tok_ok").await);
        assert!(why.contains(&status.to_string()), "{why}");
        payments.void(order, euro(500)).await.expect_err("no answer");
        payments.refund(order, euro(500)).await.expect_err("no answer");
        payments.list(None, 1).await.expect_err("no answer");
        payments.ping().await.expect_err("no answer");
    }
    stripe.break_down(None);
    charge(&payments, order, "tok_ok").await.expect("captured");
    stripe.break_down(Some(409));
    unknown(charge(&payments, order, "tok_ok").await);
}

#[tokio::test]
async fn another_amount_under_the_same_key_settles_nothing() {
    let stripe = FakeStripe::start().await;
    let (payments, order) = (stripe.client(), new_order_id());
    charge(&payments, order, "tok_ok").await.expect("captured");
    unknown(charge_of(&payments, order, Some("tok_ok"), euro(501)).await);
    assert_eq!(stripe.made(), 1);
}

#[tokio::test]
async fn an_order_whose_keys_are_forgotten_is_found_and_never_charged_again() {
    let stripe = FakeStripe::start().await;
    let [captured, left, never, late] = [(); 4].map(|()| new_order_id());
    let capture = charge(&stripe.client(), captured, "tok_ok").await.expect("captured");
    unknown(charge(&stripe.client(), left, "tok_timeout_before").await);
    unknown(charge(&stripe.client(), late, "tok_timeout_before").await);
    let almost_a_day = Arc::new(Later(A_DAY - Duration::from_secs(90 * 60)));
    let nearly = stripe.client_with(KEY, Some(RETURN_URL), PATIENCE, almost_a_day);
    let answer = charge(&nearly, late, "tok_ok").await;
    assert!(matches!(answer, Err(ChargeError::Voided)), "it is too late to begin: {answer:?}");
    stripe.forget_keys();
    let payments = stripe.client_with(KEY, Some(RETURN_URL), PATIENCE, Arc::new(Later(A_DAY)));
    assert_eq!(charge(&payments, captured, "tok_ok").await.expect("captured before"), capture);
    assert_eq!(payments.void(captured, euro(500)).await.expect("answers"), Voided::Captured(capture.clone()));
    assert_eq!(payments.refund(captured, euro(500)).await.expect("refunded"), capture);
    for order in [left, never] {
        assert!(matches!(charge(&payments, order, "tok_ok").await, Err(ChargeError::Voided)));
        assert_eq!(payments.void(order, euro(500)).await.expect("answers"), Voided::NothingTaken);
    }
    assert_eq!((stripe.status(left), stripe.status(never)), (Some("canceled"), None));
    assert_eq!(stripe.made(), 3, "no second intent of an order");
}

#[tokio::test]
async fn a_gateway_without_an_answer_is_left_alone_until_it_is_back() {
    let stripe = FakeStripe::start().await;
    let patience = Patience { failures_max: 3, ..PATIENCE };
    let payments = stripe.client_with(KEY, None, patience, Arc::new(SystemClock));
    stripe.break_down(Some(500));
    for _ in 0..3 {
        assert!(!payments.is_down());
        unknown(charge(&payments, new_order_id(), "tok_ok").await);
    }
    assert!(payments.is_down());
    stripe.break_down(None);
    let back = async || !payments.is_down();
    crate::support::wait_for("it is found to be back", crate::support::shop::PATIENCE, back).await;
    charge(&payments, new_order_id(), "tok_ok").await.expect("captured");
}

#[tokio::test]
async fn the_key_is_in_no_error() {
    let stripe = FakeStripe::start().await;
    let key = "sk_live_that_nobody_may_see";
    let payments = stripe.client_with(key, None, PATIENCE, Arc::new(SystemClock));
    let refused = unknown(charge(&payments, new_order_id(), "tok_ok").await);
    assert!(refused.contains("401") && !refused.contains("sk_live"), "{refused}");
}

mod stripe_mock {
    //! Every kind of request that the shop sends, judged by Stripe's own description of its API.

    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::process::{Child, Command};

    use super::*;

    const VARIABLE: &str = "HOLDFAST_TEST_STRIPE_MOCK";

    /// Stripe's mock server on a port of its own; ends with the test.
    async fn start() -> (Child, std::net::SocketAddr) {
        let program = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{VARIABLE} has to name Stripe's mock server: `cargo xtask test` builds it, and so does \
                 `go install github.com/stripe/stripe-mock@v0.203.0`"
            )
        });
        let mut command = Command::new(&program);
        command.args(["-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0", "-strict-version-check"]);
        let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("a pipe") {
                if let Some((_, address)) = line.split_once("HTTP at address: ") {
                    return address.parse().expect("an address");
                }
            }
            panic!("{program} does not listen");
        };
        let address = tokio::time::timeout(crate::support::process::PATIENCE, listening).await;
        // It goes on writing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, address.expect("it listens in time"))
    }

    #[tokio::test]
    async fn every_request_is_one_that_stripe_describes() {
        let (_mock, address) = start().await;
        let stripe = FakeStripe::start_checked_by(Some(address)).await;
        let payments = stripe.client();
        let order = new_order_id();
        charge(&payments, order, "tok_ok").await.expect("captured");
        payments.void(order, euro(500)).await.expect("answers");
        payments.refund(order, euro(500)).await.expect("refunded");
        declined(charge(&payments, new_order_id(), "tok_declined").await, "generic_decline");
        let waiting = new_order_id();
        assert!(matches!(charge(&payments, waiting, "tok_3ds").await, Err(ChargeError::NeedsCustomer(_))));
        payments.void(waiting, euro(500)).await.expect("voided");
        let without = stripe.client_with(KEY, None, PATIENCE, Arc::new(SystemClock));
        declined(charge(&without, new_order_id(), "tok_3ds").await, "authentication_required");
        for _ in 0..20 {
            charge(&payments, new_order_id(), "tok_ok").await.expect("captured");
        }
        assert_eq!(payments.list(None, 100).await.expect("the list").len(), 24);
        payments.ping().await.expect("it answers");
        let later = stripe.client_with(KEY, None, PATIENCE, Arc::new(Later(A_DAY)));
        charge(&later, order, "tok_ok").await.expect_err("refunded");

        assert_eq!(stripe.refused_by_mock(), [""; 0]);
        let kinds: std::collections::BTreeSet<_> = stripe
            .requests()
            .iter()
            .map(|request| {
                request
                    .split('/')
                    .map(|part| if part.starts_with("pi_") { "ID" } else { part })
                    .collect::<Vec<_>>()
                    .join("/")
            })
            .collect();
        let all = [
            "GET /v1/payment_intents",
            "GET /v1/payment_intents/ID",
            "GET /v1/payment_intents/search",
            "POST /v1/payment_intents",
            "POST /v1/payment_intents/ID",
            "POST /v1/payment_intents/ID/cancel",
            "POST /v1/payment_intents/ID/confirm",
            "POST /v1/refunds",
        ];
        assert!(kinds.iter().eq(all), "every kind of request was judged: {kinds:?}");
    }
}
