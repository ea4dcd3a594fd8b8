//! A shop that is paid through Stripe (a fake with memory), and the messages that claim to come from there.

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast::config::Config;
use holdfast::ports::payments::ChargeState;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::goods::{new_order_id, now};
use crate::support::http_client::Answer;
use crate::support::stripe::{FakeStripe, KEY};
use crate::support::test_app::TestApp;

const PATH: &str = "/api/v1/payments/stripe/webhook";
const WEBHOOK_SECRET: &str = "whsec_of_the_tests";

fn paying_with(stripe: &FakeStripe) -> impl FnOnce(&mut Config) + Send + 'static {
    let url = format!("stripe:http://{}", stripe.address);
    move |config| {
        config.payments.url = url;
        config.payments.secret = Some(KEY.to_owned().into());
        config.payments.webhook_secret = Some(WEBHOOK_SECRET.to_owned().into());
        config.sale.act_tries_max = 3;
        config.payments.failures_max = 1_000;
    }
}

#[tokio::test]
async fn a_shop_sells_and_refunds_through_stripe() {
    let stripe = FakeStripe::start().await;
    let app = TestApp::builder().product(9).config(paying_with(&stripe)).start().await;
    let buyer = app.customer(1);
    for (key, (token, status, state)) in ["a", "b", "c", "d", "e"].into_iter().zip([
        ("tok_ok", 201, ChargeState::Captured),
        ("tok_declined", 402, ChargeState::Declined),
        ("tok_timeout_before", 502, ChargeState::Voided),
        // The confirmation is repeated under its key, and the intent tells the truth.
        ("tok_timeout_after", 201, ChargeState::Captured),
        ("tok_duplicate", 201, ChargeState::Captured),
    ]) {
        buyer.buy_with(token, 1, key).await.expect(status);
        assert_eq!(app.charges().await.last().map(|charge| charge.state), Some(state), "{token}");
    }
    let order = buyer.buy_with("tok_ok", 1, "f").await.expect(201).id();
    buyer.cancel(&order).await.expect(200);
    assert_eq!(app.charges().await.last().map(|charge| charge.state), Some(ChargeState::Refunded));
    assert_eq!(app.levels().await, [(6, 0)]);
    app.finish().await;
}

fn signature(payload: &str, secret: &str, seconds: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    let mac = mac.chain_update(format!("{seconds}.{payload}")).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

fn event(kind: &str) -> Value {
    let metadata = json!({ "order_id": new_order_id() });
    json!({ "id": "evt_1", "type": kind, "data": { "object": { "id": "pi_1", "metadata": metadata } } })
}

async fn send(app: &TestApp, payload: &str, signature: Option<String>) -> Answer {
    let request = app.anybody();
    let request = request.request("POST", PATH).header("content-type", "application/json").body(payload);
    match signature {
        Some(signature) => request.header("stripe-signature", signature).await,
        None => request.await,
    }
}

#[tokio::test]
async fn a_message_of_stripe_is_received() {
    let stripe = FakeStripe::start().await;
    let app = TestApp::builder().config(paying_with(&stripe)).start().await;
    let seconds = now().0 / 1_000;
    let no_order = json!({ "type": "payment_intent.succeeded", "data": { "object": { "metadata": {} } } });
    for event in [
        event("payment_intent.succeeded"),
        event("payment_intent.payment_failed"),
        event("payment_intent.canceled"),
        // Anything may be sent to an endpoint.
        event("customer.created"),
        json!({ "type": "balance.available", "data": { "object": { "object": "balance" } } }),
        no_order,
    ] {
        let payload = event.to_string();
        let answer = send(&app, &payload, Some(signature(&payload, WEBHOOK_SECRET, seconds))).await;
        assert_eq!(answer.expect(200).json(), json!({ "received": true }), "{event}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_message_with_a_forged_or_old_signature_is_refused() {
    let stripe = FakeStripe::start().await;
    let app = TestApp::builder().config(paying_with(&stripe)).start().await;
    let (seconds, payload) = (now().0 / 1_000, event("payment_intent.succeeded").to_string());
    let other = event("payment_intent.succeeded").to_string();
    let forged = "400 signature-invalid: The signature is not Stripe's.";
    let old = "400 signature-invalid: The message is older than five minutes, or a clock is wrong.";
    let malformed = "400 signature-invalid: The header Stripe-Signature is missing or malformed.";
    for (signature, wanted) in [
        (Some(signature(&payload, "whsec_somebody", seconds)), forged),
        (Some(signature(&other, WEBHOOK_SECRET, seconds)), forged),
        (Some(signature(&payload, WEBHOOK_SECRET, seconds).replace("v1=", "v1=0")), forged),
        (Some(signature(&payload, WEBHOOK_SECRET, seconds - 301)), old),
        (Some(signature(&payload, WEBHOOK_SECRET, seconds + 400)), old),
        (Some(format!("t={seconds}")), malformed),
        (Some("garbage".into()), malformed),
        (None, malformed),
    ] {
        assert_eq!(send(&app, &payload, signature.clone()).await.brief(), wanted, "{signature:?}");
    }
    let signed = |payload: &str| Some(signature(payload, WEBHOOK_SECRET, seconds));
    send(&app, "{", signed("{")).await.expect(400);
    send(&app, "[]", signed("[]")).await.expect(422);
    let large = " ".repeat(app.shop.config.server.body_max_bytes + 1);
    send(&app, &large, signed(&large)).await.expect(413);
    app.finish().await;
}

#[tokio::test]
async fn a_shop_without_stripe_takes_no_messages() {
    let app = TestApp::builder().start().await;
    let payload = event("payment_intent.succeeded").to_string();
    send(&app, &payload, Some(signature(&payload, "", now().0 / 1_000))).await.expect(404);
    app.finish().await;
}
