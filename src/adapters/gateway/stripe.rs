//! Stripe's PaymentIntents.
//!
//! An order has one PaymentIntent, made without confirming it under an idempotency key of the order. Whoever asks
//! under that key again gets the same intent, so any server finds it without having been told its id. Then it is
//! confirmed under a second key of the order. Only a confirmation takes money. From that follows the rest:
//!
//! * **An answer under a used key is stale.** Stripe repeats the first one word for word, so the intent is read
//!   afterwards, and its state decides.
//! * **Void** finds the intent and cancels it. A cancelled intent stays cancelled, so a confirmation that arrives
//!   later is refused; one that was faster makes the cancelling fail, and reading the intent says so. Cancelling has
//!   no key of its own: its refusal under a key would be repeated too, after the reason for it is gone.
//! * **Declined** is said only of a cancelled intent. Stripe itself would let a declined intent be confirmed again,
//!   with another card and under another key. So the reason is first written into the intent's metadata, which
//!   outlives the cancelling and makes the decline known for ever, and then the intent is cancelled. If that finds
//!   the money taken after all, it was taken, and that is the answer.
//! * **Everything else is unknown**: keys in use, limits of rate, errors of Stripe's, states that have no end yet.
//!   Only where no intent can be made at all, because Stripe does not take such an amount or currency, is the charge
//!   declined without one.
//! * **Keys are forgotten** by Stripe a day after their first use, at the earliest, and then would make a second
//!   intent. So an order of 22 hours is not confirmed any more, and one of 23 is found by searching for the metadata,
//!   which knows of everything by then. Where it finds nothing, nothing is made: no charge of that order can be on its
//!   way any more.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::{Capture, Currency, Money, NextAction, OrderId, PaymentToken, Timestamp};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::payments::{
    ChargeError, ChargeRecord, ChargeRequest, ChargeState, GiveBackError, Payments, Voided,
};

use super::client::{Answer, Body, Client, Patience, Peer};

/// Where the API is.
pub const API: &str = "https://api.stripe.com";

/// The version of the API that this file was written and tested for.
const VERSION: &str = "2026-08-26.dahlia";

/// Asks for one intent: a cheap call that needs the same rights as the others.
const HEALTH: &str = "/v1/payment_intents?limit=1";

const INTENTS: &str = "/v1/payment_intents";

/// Metadata of an intent: whose it is, and why it was declined.
const ORDER: &str = "order_id";
const DECLINED: &str = "declined";

/// Intents of one page of a list: the most that Stripe gives.
const PAGE: usize = 100;

/// Age of an order from which on keys may be forgotten. Stripe promises 24 hours from their first use, which
/// follows the order's beginning; the hour is for clocks and for calls on their way.
const KEYS_LAST: Duration = Duration::from_secs(23 * 60 * 60);

/// Age of an order from which on it is not confirmed any more. Searching finds what is new only after a minute, so
/// nothing may be new when it begins to be needed.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(22 * 60 * 60);

/// Stripe's exceptions from two decimals.
/// Source: "Zero-decimal currencies" and "Special cases" in the Stripe documentation of currencies.
const NO_DECIMALS: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
const THREE_DECIMALS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Stripe as a gateway.
pub struct StripeGateway {
    client: Client,
    clock: Arc<dyn Clock>,
    return_url: Option<String>,
    /// All records in order of their keys, as they were when a list was last begun.
    picture: Mutex<Option<Arc<Vec<ChargeRecord>>>>,
}

/// A PaymentIntent, as far as it is looked at.
#[derive(Deserialize)]
struct Intent {
    id: Arc<str>,
    amount: i64,
    currency: String,
    /// Seconds since 1970.
    created: i64,
    status: Status,
    #[serde(default)]
    metadata: HashMap<String, String>,
    latest_charge: Option<LatestCharge>,
    last_payment_error: Option<ApiError>,
    next_action: Option<StripeAction>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Canceled,
    Succeeded,
    /// It has no end yet: processing, or of a kind that we do not use.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LatestCharge {
    Expanded { refunded: bool },
    Id(#[expect(dead_code, reason = "only tells that it was not expanded")] String),
}

#[derive(Deserialize)]
struct StripeAction {
    redirect_to_url: Option<RedirectToUrl>,
}

#[derive(Deserialize)]
struct RedirectToUrl {
    url: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ApiError,
}

#[derive(Default, Deserialize)]
struct ApiError {
    #[serde(rename = "type", default)]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
}

impl ApiError {
    /// The most particular word for it.
    fn word(&self) -> String {
        let word = self.decline_code.as_ref().or(self.code.as_ref());
        word.map_or_else(|| "card_declined".to_owned(), String::clone)
    }

    fn is_about(&self, params: &[&str]) -> bool {
        self.kind == "invalid_request_error"
            && self.param.as_ref().is_some_and(|param| params.contains(&param.as_str()))
    }
}

#[derive(Deserialize)]
struct Refund {
    status: Option<String>,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

/// Where an intent stands.
enum Standing {
    /// Nothing has been done with it.
    New,
    Captured(Capture),
    Refunded(Capture),
    /// It is cancelled; for this reason, when it was declined.
    Cancelled(Option<String>),
    /// Its card was declined, and it could be confirmed with another one.
    DeclinedSoFar(String),
    NeedsCustomer(NextAction),
    /// It has no end yet.
    Open,
}

impl Intent {
    fn capture(&self) -> Result<Capture, Unavailable> {
        let currency = self.currency.to_ascii_uppercase().parse();
        let amount = currency.ok().and_then(|currency| from_stripe(self.amount, currency));
        let amount = amount.ok_or_else(|| Unavailable("an amount that cannot be understood".into()))?;
        Ok(Capture { transaction_id: Arc::clone(&self.id), amount })
    }

    fn standing(&self) -> Result<Standing, Unavailable> {
        let declined = self.metadata.get(DECLINED).cloned();
        Ok(match self.status {
            Status::Succeeded => match self.latest_charge {
                Some(LatestCharge::Expanded { refunded: true }) => Standing::Refunded(self.capture()?),
                Some(LatestCharge::Expanded { refunded: false }) => Standing::Captured(self.capture()?),
                Some(LatestCharge::Id(_)) | None => {
                    return Err(Unavailable("an answer without the charge that it is about".into()));
                }
            },
            Status::Canceled => Standing::Cancelled(declined),
            Status::RequiresPaymentMethod => {
                let error = self.last_payment_error.as_ref().map(ApiError::word);
                declined.or(error).map_or(Standing::New, Standing::DeclinedSoFar)
            }
            Status::RequiresConfirmation => Standing::New,
            Status::RequiresAction => {
                let redirect = self.next_action.as_ref().and_then(|action| action.redirect_to_url.as_ref());
                match redirect.and_then(|redirect| redirect.url.clone()) {
                    Some(url) => Standing::NeedsCustomer(NextAction::RedirectToUrl { url }),
                    None => Standing::Open,
                }
            }
            Status::Other => Standing::Open,
        })
    }

    fn order(&self) -> Option<OrderId> {
        self.metadata.get(ORDER)?.parse().ok()
    }

    /// What a list says of it; nothing as long as no money was taken and it is not certain that none will be.
    fn record(&self) -> Result<Option<ChargeRecord>, Unavailable> {
        let Some(order) = self.order() else { return Ok(None) };
        let state = match self.standing()? {
            Standing::Captured(_) => ChargeState::Captured,
            Standing::Refunded(_) => ChargeState::Refunded,
            Standing::Cancelled(Some(_)) => ChargeState::Declined,
            Standing::Cancelled(None) => ChargeState::Voided,
            Standing::New | Standing::DeclinedSoFar(_) | Standing::NeedsCustomer(_) | Standing::Open => {
                return Ok(None);
            }
        };
        let at = Timestamp(self.created.saturating_mul(1_000));
        Ok(Some(ChargeRecord { order, amount: self.capture()?.amount, state, at }))
    }
}

/// The intent of an order.
enum Found {
    Intent(Box<Intent>),
    /// The order is so old that none will be made.
    Never,
    /// Stripe makes none for such an amount.
    Impossible(String),
}

impl StripeGateway {
    /// Stripe's API at `base`, with a secret key; nothing is called yet.
    ///
    /// # Errors
    /// The key has characters that cannot be sent.
    pub fn new(
        base: String,
        key: SecretString,
        return_url: Option<String>,
        patience: Patience,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let version = (HeaderName::from_static("stripe-version"), HeaderValue::from_static(VERSION));
        let peer = Peer { base, bearer: Some(key), headers: vec![version], health: HEALTH };
        Ok(Self { client: Client::new(peer, patience)?, clock, return_url, picture: Mutex::new(None) })
    }

    async fn post(
        &self,
        path: &str,
        key: Option<String>,
        fields: &[(&str, &str)],
    ) -> Result<Answer, Unavailable> {
        let key = key.map(|key| {
            let key = HeaderValue::try_from(key).expect("a UUID and a word");
            (HeaderName::from_static("idempotency-key"), key)
        });
        let body = Body { content_type: "application/x-www-form-urlencoded", bytes: form(fields).into() };
        self.client.call(Method::POST, path, key.as_slice(), Some(body)).await
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Unavailable> {
        let answer = self.client.call(Method::GET, &format!("{path}?{}", form(fields)), &[], None).await?;
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(unexpected(&answer)) }
    }

    async fn read(&self, id: &str) -> Result<Intent, Unavailable> {
        let path = format!("{INTENTS}/{id}");
        self.get(&path, &[("expand[]", "latest_charge")]).await?.json()
    }

    /// The intent of an answer, or, when Stripe has only repeated itself, as it is now.
    async fn fresh(&self, answer: &Answer) -> Result<Intent, Unavailable> {
        let intent: Intent = answer.json()?;
        if answer.headers.contains_key("idempotent-replayed") {
            self.read(&intent.id).await
        } else {
            Ok(intent)
        }
    }

    /// Finds the intent of an order, or makes it.
    async fn intent(&self, order: OrderId, amount: Money) -> Result<Found, Unavailable> {
        if self.is_older(order, KEYS_LAST) {
            return self.search(order).await;
        }
        let Some(minor) = to_stripe(amount) else {
            return Ok(Found::Impossible("amount_not_representable".into()));
        };
        let fields = [
            ("amount", &*minor.to_string()),
            ("currency", &*amount.currency.as_str().to_ascii_lowercase()),
            ("payment_method_types[]", "card"),
            (&*format!("metadata[{ORDER}]"), &*order.to_string()),
            ("expand[]", "latest_charge"),
        ];
        let answer = self.post(INTENTS, Some(format!("{order}-create")), &fields).await?;
        if answer.status == StatusCode::OK {
            return Ok(Found::Intent(Box::new(self.fresh(&answer).await?)));
        }
        let error = answer.json::<ErrorBody>()?.error;
        if error.is_about(&["amount", "currency"]) {
            return Ok(Found::Impossible(error.code.unwrap_or_else(|| "amount_not_accepted".into())));
        }
        Err(unexpected(&answer))
    }

    /// Looks for the intent of an old order. What is found is read again, because a search may be a minute behind.
    async fn search(&self, order: OrderId) -> Result<Found, Unavailable> {
        let query = format!("metadata['{ORDER}']:'{order}'");
        let fields = [("query", &*query), ("limit", "2")];
        let found: Page<Intent> = self.get(&format!("{INTENTS}/search"), &fields).await?.json()?;
        let mut found = found.data.into_iter().filter(|intent| intent.order() == Some(order));
        match (found.next(), found.next()) {
            (Some(intent), None) => Ok(Found::Intent(Box::new(self.read(&intent.id).await?))),
            (None, _) => Ok(Found::Never),
            (Some(_), Some(_)) => Err(Unavailable(format!("order {order} has two PaymentIntents"))),
        }
    }

    async fn charge_one(&self, request: &ChargeRequest) -> Result<Capture, ChargeError> {
        let intent = match self.intent(request.order, request.amount).await? {
            Found::Intent(intent) => *intent,
            Found::Never => return Err(ChargeError::Voided),
            Found::Impossible(code) => return Err(ChargeError::Declined { code }),
        };
        match intent.standing()? {
            Standing::New if self.is_older(request.order, CONFIRMED_WITHIN) => {
                self.give_up(&intent, None).await
            }
            Standing::New => self.confirm(&intent, request).await,
            standing => self.answer(&intent, standing).await,
        }
    }

    fn is_older(&self, order: OrderId, age: Duration) -> bool {
        order.time().plus(age) <= self.clock.now()
    }

    /// Confirms a new intent, under a key, so that only one card is ever asked.
    async fn confirm(&self, intent: &Intent, request: &ChargeRequest) -> Result<Capture, ChargeError> {
        let Some(PaymentToken(token)) = &request.token else {
            return self.give_up(intent, Some("payment_method_missing".into())).await;
        };
        let mut fields = vec![("payment_method", &**token), ("expand[]", "latest_charge")];
        match &self.return_url {
            Some(url) => fields.push(("return_url", url)),
            // Without a way back nobody can be sent away to prove who they are.
            None => fields.push(("error_on_requires_action", "true")),
        }
        let path = format!("{INTENTS}/{}/confirm", intent.id);
        let answer = self.post(&path, Some(format!("{}-confirm", request.order)), &fields).await?;
        if answer.status == StatusCode::OK {
            let intent = self.fresh(&answer).await?;
            let standing = intent.standing()?;
            return self.answer(&intent, standing).await;
        }
        let error = answer.json::<ErrorBody>().map_err(|_| unexpected(&answer))?.error;
        if error.kind == "card_error" || error.is_about(&["payment_method"]) {
            return self.give_up(intent, Some(error.word())).await;
        }
        if error.code.as_deref() == Some("payment_intent_unexpected_state") {
            let intent = self.read(&intent.id).await?;
            let standing = intent.standing()?;
            return self.answer(&intent, standing).await;
        }
        Err(unexpected(&answer).into())
    }

    /// What an intent's standing means for its charge.
    async fn answer(&self, intent: &Intent, standing: Standing) -> Result<Capture, ChargeError> {
        match standing {
            Standing::DeclinedSoFar(code) => self.give_up(intent, Some(code)).await,
            Standing::New => Err(Unavailable("the confirmation has not arrived".into()).into()),
            standing => end_of(standing),
        }
    }

    /// Ends an intent that has taken no money, so that it never will, and says what it has come to.
    async fn give_up(&self, intent: &Intent, declined: Option<String>) -> Result<Capture, ChargeError> {
        if let Some(code) = &declined
            && intent.metadata.get(DECLINED) != Some(code)
        {
            let path = format!("{INTENTS}/{}", intent.id);
            // Refused where it is cancelled already; then somebody else was faster, and that is read below.
            self.post(&path, None, &[(&*format!("metadata[{DECLINED}]"), code)]).await?;
        }
        match (self.cancel(&intent.id).await?.standing()?, declined) {
            (Standing::Cancelled(_), Some(code)) => Err(ChargeError::Declined { code }),
            (standing, _) => end_of(standing),
        }
    }

    /// Cancels an intent; answers as what it then is.
    async fn cancel(&self, id: &str) -> Result<Intent, Unavailable> {
        let fields = [("cancellation_reason", "abandoned"), ("expand[]", "latest_charge")];
        let answer = self.post(&format!("{INTENTS}/{id}/cancel"), None, &fields).await?;
        if answer.status == StatusCode::OK { answer.json() } else { self.read(id).await }
    }

    /// Every record that Stripe has of ours, in order of its key.
    async fn take_picture(&self) -> Result<Arc<Vec<ChargeRecord>>, Unavailable> {
        let (mut records, mut after) = (Vec::new(), None::<Arc<str>>);
        loop {
            let limit = PAGE.to_string();
            let mut fields = vec![("limit", &*limit), ("expand[]", "data.latest_charge")];
            fields.extend(after.as_ref().map(|id| ("starting_after", &**id)));
            let page: Page<Intent> = self.get(INTENTS, &fields).await?.json()?;
            for intent in &page.data {
                records.extend(intent.record()?);
            }
            after = page.data.last().map(|intent| Arc::clone(&intent.id));
            if !page.has_more || after.is_none() {
                break;
            }
        }
        records.sort_by_key(|record| record.order);
        Ok(Arc::new(records))
    }
}

#[async_trait]
impl Payments for StripeGateway {
    fn batch_max(&self) -> usize {
        1
    }

    async fn charge(&self, batch: &[ChargeRequest]) -> Vec<Result<Capture, ChargeError>> {
        join_all(batch.iter().map(|request| self.charge_one(request))).await
    }

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, GiveBackError> {
        let Found::Intent(intent) = self.intent(order, amount).await? else {
            return Ok(Voided::NothingTaken);
        };
        let standing = match intent.standing()? {
            standing @ (Standing::Captured(_) | Standing::Refunded(_) | Standing::Cancelled(_)) => standing,
            _ => self.cancel(&intent.id).await?.standing()?,
        };
        match standing {
            Standing::Cancelled(_) => Ok(Voided::NothingTaken),
            Standing::Captured(capture) => Ok(Voided::Captured(capture)),
            Standing::Refunded(capture) => Ok(Voided::Refunded(capture)),
            Standing::New | Standing::DeclinedSoFar(_) | Standing::NeedsCustomer(_) | Standing::Open => {
                Err(Unavailable("Stripe is still at work on the payment".into()).into())
            }
        }
    }

    async fn refund(&self, order: OrderId, amount: Money) -> Result<Capture, GiveBackError> {
        let Found::Intent(intent) = self.intent(order, amount).await? else {
            return Err(nothing_taken());
        };
        let capture = match intent.standing()? {
            Standing::Refunded(capture) => return Ok(capture),
            Standing::Captured(capture) => capture,
            _ => return Err(nothing_taken()),
        };
        let fields = [("payment_intent", &*intent.id), (&*format!("metadata[{ORDER}]"), &*order.to_string())];
        let answer = self.post("/v1/refunds", Some(format!("{order}-refund")), &fields).await?;
        if answer.status == StatusCode::OK {
            let refund: Refund = answer.json()?;
            return match refund.status.as_deref() {
                // Stripe has taken it on; the customer's bank may need days.
                Some("succeeded" | "pending") => Ok(capture),
                other => {
                    Err(GiveBackError::Refused(format!("the refund is {}", other.unwrap_or("in no state"))))
                }
            };
        }
        match self.read(&intent.id).await?.standing()? {
            Standing::Refunded(capture) => Ok(capture),
            _ if answer.status.is_client_error() => Err(GiveBackError::Refused(unexpected(&answer).0)),
            _ => Err(unexpected(&answer).into()),
        }
    }

    async fn list(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<ChargeRecord>, Unavailable> {
        let known = self.picture.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Stripe lists the newest first, so one picture is taken at the beginning and leafed through.
        let picture = match known.filter(|_| after.is_some()) {
            Some(picture) => picture,
            None => {
                let picture = self.take_picture().await?;
                *self.picture.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&picture));
                picture
            }
        };
        let first = picture.partition_point(|record| Some(record.order) <= after);
        Ok(picture[first..].iter().take(limit).cloned().collect())
    }

    fn is_down(&self) -> bool {
        self.client.is_down()
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.client.ping().await
    }
}

/// What a standing that nothing can be done about means for its charge.
fn end_of(standing: Standing) -> Result<Capture, ChargeError> {
    match standing {
        Standing::Captured(capture) => Ok(capture),
        Standing::Cancelled(Some(code)) => Err(ChargeError::Declined { code }),
        Standing::Cancelled(None) | Standing::Refunded(_) => Err(ChargeError::Voided),
        Standing::NeedsCustomer(action) => Err(ChargeError::NeedsCustomer(action)),
        Standing::New | Standing::DeclinedSoFar(_) | Standing::Open => {
            Err(Unavailable("Stripe is still at work on the payment".into()).into())
        }
    }
}

fn nothing_taken() -> GiveBackError {
    GiveBackError::Refused("no money was taken under this key".into())
}

/// An answer that settles nothing, with the word that Stripe has for it.
fn unexpected(answer: &Answer) -> Unavailable {
    let error = answer.json::<ErrorBody>().map(|body| body.error).unwrap_or_default();
    let word = error.code.unwrap_or(error.kind);
    Unavailable(format!("Stripe answered {} {word}", answer.status).trim_end().to_owned())
}

/// Decimals of a currency's unit as Stripe counts them. They are ISO 4217's but for a few.
fn decimals(currency: Currency) -> u32 {
    let code = currency.as_str();
    if NO_DECIMALS.contains(&code) {
        0
    } else if THREE_DECIMALS.contains(&code) {
        3
    } else {
        // Also ISK and UGX, which have none and are written with two.
        2
    }
}

/// The amount as Stripe wants it; none when it has a part that Stripe cannot charge.
fn to_stripe(money: Money) -> Option<i64> {
    let (ours, theirs) = (money.currency.decimals(), decimals(money.currency));
    let amount = if theirs >= ours {
        money.minor.checked_mul(10_i64.checked_pow(theirs - ours)?)?
    } else {
        let unit = 10_i64.checked_pow(ours - theirs)?;
        if money.minor % unit != 0 {
            return None;
        }
        money.minor / unit
    };
    // Stripe rounds to hundredths where there are thousandths, and to whole ones in special cases.
    let step = match (theirs, money.currency.as_str()) {
        (3, _) => 10,
        (2, "ISK" | "UGX") => 100,
        _ => 1,
    };
    (amount % step == 0).then_some(amount)
}

/// An amount of Stripe's as ours.
fn from_stripe(amount: i64, currency: Currency) -> Option<Money> {
    let (ours, theirs) = (currency.decimals(), decimals(currency));
    let minor = if ours >= theirs {
        amount.checked_mul(10_i64.checked_pow(ours - theirs)?)?
    } else {
        amount / 10_i64.checked_pow(theirs - ours)?
    };
    Some(Money::new(minor, currency))
}

/// Fields as a form or a query.
fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, currency: &str) -> Money {
        Money::new(minor, currency.parse().expect("a currency"))
    }

    #[test]
    fn amounts_are_written_in_the_units_of_stripe_and_read_back() {
        for (ours, theirs) in [
            (money(1_099, "EUR"), Some(1_099)),
            (money(500, "JPY"), Some(500)),
            (money(500, "XPF"), Some(500)),
            // Thousandths have to be whole hundredths.
            (money(5_120, "KWD"), Some(5_120)),
            (money(5_124, "KWD"), None),
            // Two decimals in ISO 4217, none at Stripe.
            (money(500, "MGA"), Some(5)),
            (money(550, "MGA"), None),
            // None in ISO 4217, two at Stripe.
            (money(5, "ISK"), Some(500)),
            (money(5, "UGX"), Some(500)),
            (money(i64::MAX, "UGX"), None),
        ] {
            assert_eq!(to_stripe(ours), theirs, "{ours}");
            if let Some(theirs) = theirs {
                assert_eq!(from_stripe(theirs, ours.currency), Some(ours));
            }
        }
    }

    #[test]
    fn forms_are_encoded() {
        let fields = [("metadata[order_id]", "a b&c=d"), ("expand[]", "ü~")];
        assert_eq!(form(&fields), "metadata%5Border_id%5D=a%20b%26c%3Dd&expand%5B%5D=%C3%BC~");
    }
}
