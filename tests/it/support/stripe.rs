//! Stripe's PaymentIntents as far as the shop uses them, with memory: the documented states, idempotency keys, and
//! answers that get lost. Stripe's own mock server keeps no state; where one is given, every request is first
//! shown to it, and what it refuses is written down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response};
use bytes::Bytes;
use holdfast::adapters::gateway::{Patience, StripeGateway};
use holdfast::domain::OrderId;
use holdfast::http::server::serve_with;
use holdfast::ports::clock::{Clock, SystemClock};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::gateway::PATIENCE;

/// Its key, of the form that Stripe's mock server wants.
pub const KEY: &str = "sk_test_123";

/// Where customers come back to.
pub const RETURN_URL: &str = "https://shop.example/back";

/// How late a confirmation with `tok_late` arrives.
const LATE: Duration = Duration::from_millis(5);

type Form = Vec<(String, String)>;

/// The API on a port of its own, until the test is over.
#[derive(Clone)]
pub struct FakeStripe {
    pub address: SocketAddr,
    account: Arc<Account>,
}

struct Account {
    state: Mutex<State>,
    mock: Option<SocketAddr>,
}

#[derive(Default)]
struct State {
    intents: BTreeMap<String, Intent>,
    /// Request and answer of each key.
    keys: BTreeMap<String, (String, Answer)>,
    requests: Vec<String>,
    refused_by_mock: Vec<String>,
    /// Answers everything with this.
    broken: Option<u16>,
    made: usize,
}

#[derive(Clone)]
struct Intent {
    id: String,
    amount: i64,
    currency: String,
    created: i64,
    status: &'static str,
    metadata: BTreeMap<String, String>,
    error: Option<Value>,
    refunded: bool,
    return_url: Option<String>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    body: Value,
    replayed: bool,
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, body, replayed: false }
}

fn refused(status: u16, error: Value) -> Answer {
    Answer { status, body: json!({ "error": error }), replayed: false }
}

fn invalid(code: &str, param: Option<&str>) -> Answer {
    refused(400, json!({ "type": "invalid_request_error", "code": code, "param": param }))
}

/// What happens to a request.
struct Call {
    method: Method,
    path: String,
    form: Form,
    key: Option<String>,
}

impl Call {
    fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn expands(&self) -> bool {
        self.form.iter().any(|(name, value)| name == "expand[]" && value.ends_with("latest_charge"))
    }
}

impl FakeStripe {
    pub async fn start() -> Self {
        Self::start_checked_by(None).await
    }

    /// Shows every request to Stripe's mock server, too.
    pub async fn start_checked_by(mock: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let account = Arc::new(Account { state: Mutex::default(), mock });
        let served = Arc::clone(&account);
        let service = service_fn(move |request| answer(Arc::clone(&served), request));
        let limits = holdfast::config::Config::load(None, &holdfast::config::Flags::default());
        let limits = limits.expect("the defaults are good").server;
        tokio::spawn(async move { serve_with(listener, service, &limits, std::future::pending()).await });
        Self { address, account }
    }

    /// The shop's view of it.
    pub fn client(&self) -> StripeGateway {
        self.client_with(KEY, Some(RETURN_URL), PATIENCE, Arc::new(SystemClock))
    }

    pub fn client_with(
        &self,
        key: &str,
        return_url: Option<&str>,
        patience: Patience,
        clock: Arc<dyn Clock>,
    ) -> StripeGateway {
        let (base, key) = (format!("http://{}", self.address), key.to_owned().into());
        StripeGateway::new(base, key, return_url.map(str::to_owned), patience, clock).expect("a client")
    }

    /// The customer has proved who they are, or failed to.
    pub fn authenticate(&self, order: OrderId, proved: bool) {
        self.account.change(order, |intent| {
            assert_eq!(intent.status, "requires_action");
            if proved {
                intent.status = "succeeded";
            } else {
                intent.fail(json!({ "type": "invalid_request_error", "code": "payment_intent_authentication_failure" }));
            }
        });
    }

    /// Stripe is done with a payment that was being processed.
    pub fn process(&self, order: OrderId) {
        self.account.change(order, |intent| intent.status = "succeeded");
    }

    /// Somebody else confirms the intent, under a key of their own.
    pub fn confirm_otherwise(&self, order: OrderId, token: &str) -> u16 {
        let path = format!("/v1/payment_intents/{}/confirm", intent_id(order));
        let form = vec![("payment_method".to_owned(), token.to_owned())];
        self.account.handle(&Call { method: Method::POST, path, form, key: None }).status
    }

    pub fn status(&self, order: OrderId) -> Option<&'static str> {
        self.account.state().intents.get(&intent_id(order)).map(|intent| intent.status)
    }

    /// How many intents there are or ever were.
    pub fn made(&self) -> usize {
        self.account.state().made
    }

    /// What Stripe does after a day.
    pub fn forget_keys(&self) {
        self.account.state().keys.clear();
    }

    /// From here on everything is answered so, or rightly again.
    pub fn break_down(&self, status: Option<u16>) {
        self.account.state().broken = status;
    }

    /// Method and path of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.account.state().requests.clone()
    }

    /// Requests that Stripe's mock server refused.
    pub fn refused_by_mock(&self) -> Vec<String> {
        self.account.state().refused_by_mock.clone()
    }
}

/// An id that tells whose intent it is.
fn intent_id(order: OrderId) -> String {
    format!("pi_{}", order.0.simple())
}

impl Intent {
    fn fail(&mut self, error: Value) {
        self.status = "requires_payment_method";
        self.error = Some(error);
    }

    fn json(&self, expanded: bool) -> Value {
        let charge = (self.status == "succeeded").then(|| match expanded {
            true => json!({ "id": "ch_1", "object": "charge", "refunded": self.refunded }),
            false => "ch_1".into(),
        });
        let action = (self.status == "requires_action").then(|| {
            let url = format!("https://hooks.stripe.example/{}", self.id);
            json!({
                "type": "redirect_to_url",
                "redirect_to_url": { "url": url, "return_url": self.return_url },
            })
        });
        json!({
            "id": self.id, "object": "payment_intent", "amount": self.amount, "currency": self.currency,
            "created": self.created, "status": self.status, "metadata": self.metadata, "latest_charge": charge,
            "last_payment_error": self.error, "next_action": action,
        })
    }
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, order: OrderId, change: impl FnOnce(&mut Intent)) {
        change(self.state().intents.get_mut(&intent_id(order)).expect("there is such an intent"));
    }

    /// Answers, under its key at most once.
    fn handle(&self, call: &Call) -> Answer {
        let mut state = self.state();
        let request = format!("{} {} {:?}", call.method, call.path, call.form);
        if let Some((first, answer)) = call.key.as_ref().and_then(|key| state.keys.get(key)) {
            if *first != request {
                return refused(400, json!({ "type": "idempotency_error" }));
            }
            return Answer { replayed: true, ..answer.clone() };
        }
        let answer = state.work(call);
        if let Some(key) = &call.key {
            state.keys.insert(key.clone(), (request, answer.clone()));
        }
        answer
    }
}

impl State {
    fn work(&mut self, call: &Call) -> Answer {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), &parts[..]) {
            ("POST", ["v1", "payment_intents"]) => self.create(call),
            ("GET", ["v1", "payment_intents"]) => self.list(call),
            ("GET", ["v1", "payment_intents", "search"]) => self.search(call),
            ("POST", ["v1", "refunds"]) => self.refund(call),
            (method, ["v1", "payment_intents", id, rest @ ..]) => {
                let Some(intent) = self.intents.get_mut(*id) else {
                    return invalid("resource_missing", Some("intent"));
                };
                match (method, rest) {
                    ("GET", []) => ok(intent.json(call.expands())),
                    ("POST", []) => intent.update(call),
                    ("POST", ["confirm"]) => intent.confirm(call),
                    ("POST", ["cancel"]) => intent.cancel(call),
                    _ => invalid("url_invalid", None),
                }
            }
            _ => invalid("url_invalid", None),
        }
    }

    fn create(&mut self, call: &Call) -> Answer {
        let amount: i64 = call.field("amount").and_then(|amount| amount.parse().ok()).unwrap_or_default();
        if amount < 50 {
            return invalid("amount_too_small", Some("amount"));
        }
        let order = call.field("metadata[order_id]").expect("the shop says whose it is").to_owned();
        self.made += 1;
        let simple: String = order.chars().filter(|character| *character != '-').collect();
        // A second intent of an order has another id.
        let id = if self.intents.contains_key(&format!("pi_{simple}")) { "again_" } else { "pi_" }.to_owned()
            + &simple;
        let intent = Intent {
            id: id.clone(),
            amount,
            currency: call.field("currency").expect("a currency").to_owned(),
            created: SystemClock.now().0 / 1_000,
            status: "requires_payment_method",
            metadata: BTreeMap::from([("order_id".to_owned(), order)]),
            error: None,
            refunded: false,
            return_url: None,
        };
        let answer = ok(intent.json(call.expands()));
        self.intents.insert(id, intent);
        answer
    }

    fn list(&self, call: &Call) -> Answer {
        let limit: usize = call.field("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
        assert!(limit <= 100, "Stripe gives 100 at most");
        // Small pages, so that there are several.
        let limit = limit.min(7);
        // The newest first, as far as ids that are made in one millisecond tell.
        let after = call.field("starting_after");
        let mut rest =
            self.intents.values().rev().skip_while(|intent| after.is_some_and(|id| intent.id != id));
        if after.is_some() {
            rest.next();
        }
        let rest: Vec<_> = rest.map(|intent| intent.json(call.expands())).collect();
        ok(json!({ "object": "list", "data": rest[..limit.min(rest.len())], "has_more": rest.len() > limit }))
    }

    fn search(&self, call: &Call) -> Answer {
        let query = call.field("query").unwrap_or_default();
        let found = self.intents.values().filter(|intent| {
            let wanted = format!("metadata['order_id']:'{}'", intent.metadata["order_id"]);
            query == wanted
        });
        let found: Vec<_> = found.map(|intent| intent.json(call.expands())).collect();
        ok(json!({ "object": "search_result", "data": found, "has_more": false }))
    }

    fn refund(&mut self, call: &Call) -> Answer {
        let intent = call.field("payment_intent").and_then(|id| self.intents.get_mut(id));
        match intent {
            Some(intent) if intent.status == "succeeded" && !intent.refunded => {
                intent.refunded = true;
                ok(json!({ "id": "re_1", "object": "refund", "status": "succeeded" }))
            }
            Some(intent) if intent.refunded => invalid("charge_already_refunded", None),
            _ => invalid("resource_missing", Some("payment_intent")),
        }
    }
}

impl Intent {
    fn update(&mut self, call: &Call) -> Answer {
        if ["canceled", "succeeded"].contains(&self.status) {
            return invalid("payment_intent_unexpected_state", None);
        }
        for (name, value) in &call.form {
            if let Some(name) = name.strip_prefix("metadata[").and_then(|name| name.strip_suffix(']')) {
                self.metadata.insert(name.to_owned(), value.clone());
            }
        }
        self.error = None;
        ok(self.json(call.expands()))
    }

    fn confirm(&mut self, call: &Call) -> Answer {
        if self.status != "requires_payment_method" {
            return invalid("payment_intent_unexpected_state", None);
        }
        match call.field("payment_method").unwrap_or_default() {
            "tok_ok" | "tok_duplicate" | "tok_timeout_after" | "tok_late" => self.status = "succeeded",
            "tok_processing" => self.status = "processing",
            "tok_3ds" if call.field("error_on_requires_action") == Some("true") => {
                let error = json!({ "type": "card_error", "code": "authentication_required" });
                self.fail(error.clone());
                return refused(402, error);
            }
            "tok_3ds" => {
                self.status = "requires_action";
                self.return_url = call.field("return_url").map(str::to_owned);
            }
            "tok_declined" => {
                let error = json!({ "type": "card_error", "code": "card_declined", "decline_code": "generic_decline" });
                self.fail(error.clone());
                return refused(402, error);
            }
            _ => return invalid("resource_missing", Some("payment_method")),
        }
        ok(self.json(call.expands()))
    }

    fn cancel(&mut self, call: &Call) -> Answer {
        if ["requires_payment_method", "requires_confirmation", "requires_action"].contains(&self.status) {
            self.status = "canceled";
            return ok(self.json(call.expands()));
        }
        invalid("payment_intent_unexpected_state", None)
    }
}

/// Answers a request, or fails to.
async fn answer(account: Arc<Account>, request: Request<Incoming>) -> Result<Response<Body>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "the body was cut off")?.to_bytes();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if header("authorization").as_deref() != Some(&format!("Bearer {KEY}")) {
        return Ok(response(&refused(401, json!({ "type": "invalid_request_error" }))));
    }
    assert!(header("stripe-version").is_some(), "the version of the API is pinned");
    account.state().requests.push(format!("{} {path}", head.method));
    if let Some(status) = account.state().broken {
        return Ok(response(&refused(status, json!({ "type": "api_error", "code": "lock_timeout" }))));
    }
    if let Some(mock) = account.mock {
        check(&account, mock, &head.method, &format!("{path}?{query}"), &head.headers, &body).await;
    }
    let text = if head.method == Method::GET { query } else { String::from_utf8_lossy(&body).into_owned() };
    let call = Call { method: head.method, path, form: parse(&text), key: header("idempotency-key") };
    let token =
        if call.path.ends_with("/confirm") { call.field("payment_method").unwrap_or_default() } else { "" };
    match token {
        "tok_timeout_before" => Err("the request is lost"),
        "tok_timeout_after" => {
            account.handle(&call);
            Err("the answer is lost")
        }
        "tok_late" => {
            tokio::spawn(async move {
                tokio::time::sleep(LATE).await;
                account.handle(&call);
            });
            Err("the request is late")
        }
        "tok_duplicate" => {
            account.handle(&call);
            Ok(response(&account.handle(&call)))
        }
        _ => Ok(response(&account.handle(&call))),
    }
}

fn response(answer: &Answer) -> Response<Body> {
    let mut response = Response::builder().status(answer.status).header("content-type", "application/json");
    if answer.replayed {
        response = response.header("idempotent-replayed", "true");
    }
    response.body(answer.body.to_string().into()).expect("a response")
}

/// Fields of a form or a query.
fn parse(text: &str) -> Form {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').expect("name=value")).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (hex, after) = rest.split_at(2);
            bytes.push(u8::from_str_radix(str::from_utf8(hex).expect("ASCII"), 16).expect("hexadecimal"));
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Shows a request to Stripe's mock server, which knows Stripe's own description of the API.
async fn check(
    account: &Account,
    mock: SocketAddr,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    body: &Bytes,
) {
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {}\r\n", value.to_str().expect("ASCII")));
    }
    request.push_str("\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(mock).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = exchange.await.expect("Stripe's mock server answers");
    if !answer.starts_with("HTTP/1.1 200 ") {
        let body = String::from_utf8_lossy(body);
        account.state().refused_by_mock.push(format!("{method} {target} {body}: {answer}"));
    }
}
