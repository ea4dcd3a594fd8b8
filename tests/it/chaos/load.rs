//! Buyers with the invoices of a real day, sent again and again under other keys, and with small
//! orders of scarce products in between. Each buyer writes down what the shop has told them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast::ports::ledger::Role;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::books::{Books, look_into, rows};
use crate::support::process::{Client, PATIENCE, Server, Site};
use crate::support::retail::{Kind, lines_of};
use crate::support::wait_for;

/// Requests on their way at once.
const BUYERS: usize = 16;

/// How often the day could be sold.
const DAYS_IN_STOCK: i64 = 60;

const SCARCE_PRODUCTS: usize = 20;
const SCARCE_UNITS: i64 = 6;
const SCARCE_PENCE: i64 = 500;

/// A shop made ready once, of which each round gets a copy.
pub struct Template {
    pub site: Site,
    /// Units of each sku at opening.
    pub stocked: BTreeMap<String, i64>,
    /// Customer, lines of product and units, and total of each invoice.
    invoices: Vec<(i64, BTreeMap<i64, i64>, i64)>,
    scarce: Vec<i64>,
}

impl Template {
    /// Makes a shop that sells what was sold on `day`.
    pub async fn of(day: &str) -> Self {
        let lines: Vec<_> = lines_of(day).into_iter().filter(|line| line.kind() == Kind::Sale).collect();
        let mut catalogue = csv::Writer::from_writer(Vec::new());
        catalogue.write_record(["sku", "name", "price", "currency", "stock"]).expect("a row");
        let mut row = |sku: &str, name: &str, pence: i64, units: i64| {
            let price = format!("{}.{:02}", pence / 100, pence % 100);
            catalogue.write_record([sku, name, &price, "GBP", &units.to_string()]).expect("a row");
        };
        let sku = |code: &str, pence: i64| format!("{code}@{pence}");
        let mut stocked: BTreeMap<String, i64> = BTreeMap::new();
        for line in &lines {
            *stocked.entry(sku(&line.code, line.pence)).or_default() += line.quantity * DAYS_IN_STOCK;
        }
        for (sku, units) in &stocked {
            let pence = sku.rsplit_once('@').expect("code and price").1.parse().expect("pence");
            row(sku, sku, pence, *units);
        }
        for n in 0..SCARCE_PRODUCTS {
            let sku = format!("scarce-{n}");
            row(&sku, "There are only a few", SCARCE_PENCE, SCARCE_UNITS);
            stocked.insert(sku, SCARCE_UNITS);
        }
        let catalogue = catalogue.into_inner().expect("a catalogue");

        let site = Site::new();
        site.import(str::from_utf8(&catalogue).expect("UTF-8")).await;
        // Opens the first account too, which takes its time.
        site.shop().open().await.stop().await;
        let ids = rows(&look_into(&site.ledger()), "SELECT sku, id FROM products", |row| {
            Ok((row.get(0)?, row.get(1)?))
        });
        let ids: BTreeMap<String, i64> = ids.into_iter().collect();

        let mut invoices: BTreeMap<&str, (i64, BTreeMap<i64, i64>, i64)> = BTreeMap::new();
        for line in &lines {
            let invoice = invoices.entry(&line.invoice).or_insert((line.customer, BTreeMap::new(), 0));
            *invoice.1.entry(ids[&sku(&line.code, line.pence)]).or_default() += line.quantity;
            invoice.2 += line.quantity * line.pence;
        }
        let scarce = (0..SCARCE_PRODUCTS).map(|n| ids[&format!("scarce-{n}")]).collect();
        Self { site, stocked, invoices: invoices.into_values().collect(), scarce }
    }

    /// Order number `n` of a round. The same each time it is asked for.
    fn wish(&self, seed: u64, n: usize, tokens: &[&'static str]) -> Wish {
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (user, lines, total) = if n.is_multiple_of(3) {
            let count = dice.random_range(1..=3);
            let mut lines = BTreeMap::new();
            for _ in 0..count {
                lines.insert(self.scarce[dice.random_range(0..SCARCE_PRODUCTS)], dice.random_range(1..=2));
            }
            let total = lines.values().sum::<i64>() * SCARCE_PENCE;
            (dice.random_range(1..50), lines, total)
        } else {
            self.invoices[dice.random_range(0..self.invoices.len())].clone()
        };
        // One in eight pays with something that goes wrong, where the test wants that.
        let token = (dice.random_bool(0.125) && !tokens.is_empty())
            .then(|| tokens[dice.random_range(0..tokens.len())]);
        Wish { key: format!("{seed:x}-{n}"), user, lines, total, token }
    }
}

/// What a buyer wants.
struct Wish {
    key: String,
    user: i64,
    lines: BTreeMap<i64, i64>,
    total: i64,
    token: Option<&'static str>,
}

impl Wish {
    fn body(&self) -> Value {
        let line = |(product, quantity): (&i64, &i64)| json!({ "product_id": product, "quantity": quantity });
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        let mut body =
            json!({ "lines": lines, "expected_total": { "amount": self.total, "currency": "GBP" } });
        if let Some(token) = self.token {
            body["payment_token"] = token.into();
        }
        body
    }
}

/// What the shop has told a buyer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Nothing that says anything: no answer, or "try again".
    Nothing,
    /// There is an order.
    Pending(Uuid),
    Confirmed(Uuid),
    Failed(Uuid),
    /// There is no order.
    Refused,
}

impl Told {
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Nothing | Self::Pending(_))
    }

    /// Takes in an answer to an order, or to a look at one.
    pub fn by(status: u16, body: &Value) -> Self {
        let id =
            |order: &Value| order["id"].as_str().and_then(|id| id.parse().ok()).expect("an order has an id");
        let kind = body["type"].as_str().unwrap_or_default();
        match (status, kind) {
            (200..=202, _) => match body["status"].as_str() {
                Some("CONFIRMED") => Self::Confirmed(id(body)),
                Some("PENDING") => Self::Pending(id(body)),
                Some("FAILED") => Self::Failed(id(body)),
                _ => panic!("an order is answered with {status} {body}"),
            },
            (402, "/problems/payment-declined") | (502, "/problems/payment-unknown") => {
                assert_eq!(body["order"]["status"], "FAILED", "{body}");
                Self::Failed(id(&body["order"]))
            }
            (409, "/problems/out-of-stock" | "/problems/attempt-expired") => Self::Refused,
            (503, "/problems/busy" | "/problems/unavailable") => Self::Nothing,
            _ => panic!("an order is answered with {status} {body}"),
        }
    }
}

/// Buyers at work, over however many servers come and go.
pub struct Buyers {
    template: Arc<Template>,
    seed: u64,
    tokens: &'static [&'static str],
    next: Arc<AtomicUsize>,
    /// Answers so far.
    pub answers: Arc<AtomicUsize>,
    told: BTreeMap<usize, Told>,
    at_work: JoinSet<Vec<(usize, Told)>>,
}

impl Buyers {
    pub fn new(template: &Arc<Template>, seed: u64, tokens: &'static [&'static str]) -> Self {
        let (template, told, at_work) = (Arc::clone(template), BTreeMap::new(), JoinSet::new());
        Self { template, seed, tokens, next: Arc::default(), answers: Arc::default(), told, at_work }
    }

    /// Begins to order, on several connections, until the shop does not answer any more.
    pub fn begin(&mut self, server: &Server) {
        for _ in 0..BUYERS {
            let (template, next, tokens, seed) =
                (Arc::clone(&self.template), Arc::clone(&self.next), self.tokens, self.seed);
            let (target, issue, answers) =
                (server.target.clone(), server.issuer(), Arc::clone(&self.answers));
            self.at_work.spawn(async move {
                let mut told = Vec::new();
                let Ok(mut client) = Client::connect(&target, "").await else { return told };
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let wish = template.wish(seed, n, tokens);
                    client.token = issue(wish.user, Role::Customer);
                    let answer = client.order(&wish.key, &wish.body()).await;
                    told.push((
                        n,
                        answer.as_ref().map_or(Told::Nothing, |(status, body)| Told::by(*status, body)),
                    ));
                    if answer.is_err() {
                        return told;
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    /// Waits until all of them have noticed that the shop is gone.
    pub async fn given_up(&mut self) {
        while let Some(told) = self.at_work.join_next().await {
            self.told.extend(told.expect("a buyer ends without a panic"));
        }
    }

    /// Orders that somebody heard of.
    pub fn acknowledged(&self) -> usize {
        self.told.values().filter(|told| !matches!(told, Told::Nothing | Told::Refused)).count()
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        self.told.values().filter(|told| **told == Told::Nothing).count()
    }

    /// Sends each unanswered request again, with its key, until there is an answer.
    pub async fn ask_again(&mut self, server: &Server) {
        let unanswered = self.told.iter_mut().filter(|(_, told)| **told == Told::Nothing);
        let mut client = server.admin().await;
        for (n, told) in unanswered {
            let wish = self.template.wish(self.seed, *n, self.tokens);
            client.token = server.token(wish.user, Role::Customer);
            wait_for("an answer to a repeated order", PATIENCE, async || {
                let (status, body) = client.order(&wish.key, &wish.body()).await.expect("the shop is there");
                *told = Told::by(status, &body);
                *told != Told::Nothing
            })
            .await;
        }
    }

    /// Looks at every order that was PENDING until it has ended.
    pub async fn look_again(&mut self, server: &Server) {
        let mut client = server.admin().await;
        for (n, told) in &mut self.told {
            let Told::Pending(id) = *told else { continue };
            let wish = self.template.wish(self.seed, *n, self.tokens);
            client.token = server.token(wish.user, Role::Customer);
            let path = format!("/api/v1/orders/{id}");
            wait_for("the end of an order that was PENDING", PATIENCE, async || {
                *told = Told::by(200, &client.get(&path).await);
                told.is_final()
            })
            .await;
        }
    }

    /// Every order that was acknowledged is in the books, once and as it was told; and beside those
    /// there are none but such as nobody got an answer about.
    pub fn assert_in(&self, books: &Books) {
        let mut known = BTreeSet::new();
        let (mut told_of, mut unknown) = (BTreeMap::<i64, usize>::new(), BTreeMap::<i64, usize>::new());
        for (n, told) in &self.told {
            let wish = self.template.wish(self.seed, *n, self.tokens);
            let (id, status) = match told {
                Told::Confirmed(id) => (id, "CONFIRMED"),
                Told::Failed(id) => (id, "FAILED"),
                Told::Refused => continue,
                Told::Nothing => {
                    *unknown.entry(wish.user).or_default() += 1;
                    continue;
                }
                Told::Pending(id) => panic!("nobody looked at {id} again"),
            };
            assert!(known.insert(*id), "{id} was given to two orders");
            *told_of.entry(wish.user).or_default() += 1;
            let entry = books.orders.get(id);
            let entry = entry.unwrap_or_else(|| panic!("{id} was acknowledged as {status} and is gone"));
            assert_eq!(entry.status, status, "{id} was acknowledged otherwise");
            assert_eq!((entry.user, entry.total), (wish.user, wish.total), "{id}");
            assert_eq!(entry.lines, wish.lines, "{id}");
        }
        for (user, orders) in books.orders_by_customer() {
            let of = |counts: &BTreeMap<i64, usize>| counts.get(&user).copied().unwrap_or_default();
            let (told_of, unknown) = (of(&told_of), of(&unknown));
            assert!(
                (told_of..=told_of + unknown).contains(&orders),
                "customer {user} was told of {told_of} orders, heard nothing of {unknown}, and has {orders}"
            );
        }
    }
}
