//! Buyers who go from server to server, and write down what they were told. Each order is of a customer
//! of its own, so that what became of a key can be seen in the books.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast::load::Target;
use holdfast::ports::clock::{Clock as _, SystemClock};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::chaos::books::Books;
use crate::chaos::load::Told;
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{Client, PATIENCE, Server};
use crate::support::wait_for;

/// How long a buyer waits for an answer before they go to another server.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);

const SCARCE_PRODUCTS: usize = 10;
const SCARCE_UNITS: i64 = 60;
const PLENTY_PRODUCTS: usize = 10;
const PLENTY_UNITS: i64 = 1_000_000;
const CENTS: i64 = 250;

/// The first of the customers.
const FIRST_USER: i64 = 1_000;

/// A new seed for each run, or the one in `TEST_SEED`, to see a failure again.
pub fn seed() -> u64 {
    let fresh = || u64::from_le_bytes(SystemClock.secret()[..8].try_into().expect("8 bytes"));
    let seed = std::env::var("TEST_SEED").map_or_else(|_| fresh(), |seed| seed.parse().expect("a number"));
    eprintln!("TEST_SEED={seed}");
    seed
}

/// What an order of one basket is called in JSON.
pub fn body_of(lines: &BTreeMap<i64, i64>, token: Option<&str>) -> Value {
    let line = |(product, quantity): (&i64, &i64)| json!({ "product_id": product, "quantity": quantity });
    let lines: Vec<_> = lines.iter().map(line).collect();
    let mut body = json!({ "lines": lines });
    if let Some(token) = token {
        body["payment_token"] = token.into();
    }
    body
}

/// What a shop of a test sells: some that there are few of, and some that there is enough of.
pub fn goods() -> Vec<(String, i64, i64)> {
    let scarce = (0..SCARCE_PRODUCTS).map(|n| (format!("scarce-{n}"), SCARCE_UNITS, CENTS));
    let plenty = (0..PLENTY_PRODUCTS).map(|n| (format!("plenty-{n}"), PLENTY_UNITS, CENTS));
    scarce.chain(plenty).collect()
}

/// Connections of one buyer, one a server.
#[derive(Default)]
pub struct Clients(HashMap<String, Client>);

impl Clients {
    /// Orders at a server.
    pub async fn order(
        &mut self,
        target: &Target,
        token: String,
        key: &str,
        body: &Value,
    ) -> io::Result<(u16, Value)> {
        let ordering = async {
            let client = match self.0.remove(target.host()) {
                Some(client) => client,
                None => Client::connect(target, "").await?,
            };
            let client = self.0.entry(target.host().to_owned()).or_insert(client);
            client.token = token;
            client.order(key, body).await
        };
        timeout(ANSWER_PATIENCE, ordering).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

struct Wish {
    user: i64,
    key: String,
    lines: BTreeMap<i64, i64>,
    token: Option<&'static str>,
}

/// What all buyers of a test have in common.
pub struct Crowd {
    seed: u64,
    scarce: Vec<i64>,
    plenty: Vec<i64>,
    /// Payment tokens of one order in eight.
    tokens: &'static [&'static str],
    /// Where the shop is open.
    doors: Mutex<Vec<Target>>,
    next: AtomicUsize,
    enough: AtomicBool,
    /// When each confirmation came, and by whom.
    confirmed: Mutex<Vec<Instant>>,
}

impl Crowd {
    /// Order number `n`. The same each time it is asked for.
    fn wish(&self, n: usize) -> Wish {
        let mut dice = ChaCha8Rng::seed_from_u64(self.seed ^ (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let from = if n.is_multiple_of(4) { &self.scarce } else { &self.plenty };
        let mut lines = BTreeMap::new();
        for _ in 0..dice.random_range(1..=3) {
            lines.insert(from[dice.random_range(0..from.len())], dice.random_range(1..=2));
        }
        let odd = dice.random_bool(0.125) && !self.tokens.is_empty();
        let token = odd.then(|| self.tokens[dice.random_range(0..self.tokens.len())]);
        Wish { user: FIRST_USER + i64::try_from(n).expect("few"), key: format!("key-{n}"), lines, token }
    }

    /// One of the servers that are open.
    fn door(&self, dice: &mut ChaCha8Rng) -> Target {
        let doors = self.doors.lock().expect("no panic");
        doors[dice.random_range(0..doors.len())].clone()
    }
}

/// Buyers at work.
pub struct Buyers {
    crowd: Arc<Crowd>,
    at_work: JoinSet<Vec<(usize, Told)>>,
    told: BTreeMap<usize, Told>,
}

impl Buyers {
    /// Sends `count` buyers to the shop. They order until it is enough.
    pub async fn begin(
        site: &ClusterSite,
        ids: &HashMap<String, i64>,
        seed: u64,
        count: usize,
        tokens: &'static [&'static str],
        servers: &[&Server],
    ) -> Self {
        let of = |kind: &str| {
            let mut ids: Vec<i64> =
                ids.iter().filter(|(sku, _)| sku.starts_with(kind)).map(|(_, id)| *id).collect();
            ids.sort_unstable();
            ids
        };
        let crowd = Arc::new(Crowd {
            seed,
            scarce: of("scarce"),
            plenty: of("plenty"),
            tokens,
            doors: Mutex::new(servers.iter().map(|server| server.target.clone()).collect()),
            next: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
            confirmed: Mutex::default(),
        });
        let mut buyers = Self { crowd, at_work: JoinSet::new(), told: BTreeMap::new() };
        for number in 0..count {
            let (crowd, token_of) = (Arc::clone(&buyers.crowd), site.customers());
            let mut dice = ChaCha8Rng::seed_from_u64(seed.wrapping_add(number as u64));
            buyers.at_work.spawn(async move {
                let (mut clients, mut told) = (Clients::default(), Vec::new());
                while !crowd.enough.load(Ordering::Relaxed) {
                    let n = crowd.next.fetch_add(1, Ordering::Relaxed);
                    let wish = crowd.wish(n);
                    let body = body_of(&wish.lines, wish.token);
                    let mut now = Told::Nothing;
                    // Most try again at once, where they may; the others are asked about at the end.
                    for _ in 0..dice.random_range(1..=3) {
                        let door = crowd.door(&mut dice);
                        match clients.order(&door, token_of(wish.user), &wish.key, &body).await {
                            Ok((status, body)) => now = Told::by(status, &body),
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                        if now != Told::Nothing {
                            break;
                        }
                        // Those who are told to come back do not do so at once.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    if matches!(now, Told::Confirmed(_)) {
                        crowd.confirmed.lock().expect("no panic").push(Instant::now());
                    }
                    told.push((n, now));
                }
                told
            });
        }
        buyers
    }

    /// Where the shop is open from now on.
    pub fn go_to(&self, servers: &[&Server]) {
        *self.crowd.doors.lock().expect("no panic") =
            servers.iter().map(|server| server.target.clone()).collect();
    }

    /// Sales so far.
    pub fn confirmed(&self) -> usize {
        self.crowd.confirmed.lock().expect("no panic").len()
    }

    /// Waits for `more` further sales; returns how long they took.
    pub async fn sell(&self, more: usize) -> Duration {
        let (until, since) = (self.confirmed() + more, Instant::now());
        wait_for("sales to go on", PATIENCE, async || self.confirmed() >= until).await;
        since.elapsed()
    }

    /// The longest time without a sale since `since`.
    pub fn longest_pause_since(&self, since: Instant) -> Duration {
        let confirmed = self.crowd.confirmed.lock().expect("no panic");
        let mut times: Vec<_> = confirmed.iter().copied().filter(|at| *at >= since).collect();
        times.insert(0, since);
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Ends the sale, asks about everything that had no answer, and looks at what was PENDING.
    pub async fn come_to_an_end(&mut self, site: &ClusterSite) {
        self.crowd.enough.store(true, Ordering::Relaxed);
        while let Some(told) = self.at_work.join_next().await {
            self.told.extend(told.expect("a buyer ends without a panic"));
        }
        let token_of = site.customers();
        let mut open = JoinSet::new();
        let crowd = &self.crowd;
        let left: Vec<_> = self.told.iter().filter(|(_, told)| !told.is_final()).map(|(n, _)| *n).collect();
        for (number, some) in left.chunks(left.len() / 16 + 1).enumerate() {
            let (some, crowd, token_of) = (some.to_vec(), Arc::clone(crowd), token_of.clone());
            open.spawn(async move {
                let mut dice = ChaCha8Rng::seed_from_u64(number as u64);
                let (mut clients, mut told) = (Clients::default(), Vec::new());
                for n in some {
                    let wish = crowd.wish(n);
                    let body = body_of(&wish.lines, wish.token);
                    let (mut now, until) = (Told::Nothing, Instant::now() + PATIENCE);
                    while !now.is_final() {
                        assert!(Instant::now() < until, "{} does not end: {now:?}", wish.key);
                        let door = crowd.door(&mut dice);
                        match clients.order(&door, token_of(wish.user), &wish.key, &body).await {
                            Ok((status, body)) => now = Told::by(status, &body),
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                    told.push((n, now));
                }
                told
            });
        }
        let asked = left.len();
        while let Some(told) = open.join_next().await {
            for (n, now) in told.expect("no panic") {
                if let (Some(Told::Pending(before)), Told::Confirmed(id) | Told::Failed(id)) =
                    (self.told.get(&n), now)
                {
                    assert_eq!(*before, id, "key-{n} stood for another order before");
                }
                self.told.insert(n, now);
            }
        }
        let count = |kind: fn(&Told) -> bool| self.told.values().filter(|told| kind(told)).count();
        eprintln!(
            "{} orders: {} confirmed, {} failed, {} refused; {asked} were asked about again",
            self.told.len(),
            count(|told| matches!(told, Told::Confirmed(_))),
            count(|told| matches!(told, Told::Failed(_))),
            count(|told| *told == Told::Refused),
        );
    }

    /// Every order is in the books as it was told, once, and beside those there are none.
    pub fn assert_in(&self, books: &Books) {
        let mut of_users: HashMap<i64, Vec<Uuid>> = HashMap::new();
        // Others that a test itself makes are its own business.
        for (id, entry) in books.orders.iter().filter(|(_, entry)| entry.user >= FIRST_USER) {
            of_users.entry(entry.user).or_default().push(*id);
        }
        for (n, told) in &self.told {
            let wish = self.crowd.wish(*n);
            let found = of_users.remove(&wish.user).unwrap_or_default();
            let (id, status) = match told {
                Told::Confirmed(id) => (*id, "CONFIRMED"),
                Told::Failed(id) => (*id, "FAILED"),
                Told::Refused => {
                    assert!(found.is_empty(), "key-{n} was refused, and has orders: {found:?}");
                    continue;
                }
                other => panic!("key-{n} was left {other:?}"),
            };
            assert_eq!(found, [id], "key-{n} was told {told:?}");
            let entry = &books.orders[&id];
            assert_eq!(entry.status, status, "key-{n}: {id}");
            assert_eq!(entry.lines, wish.lines, "key-{n}: {id}");
        }
        assert!(of_users.is_empty(), "orders of nobody: {of_users:?}");
    }
}
