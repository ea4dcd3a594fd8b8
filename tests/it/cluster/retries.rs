//! The same key at another server, at every moment of the first attempt, with the last unit at stake.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast::load::Target;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::buyers::{Clients, body_of, seed};
use crate::chaos::load::Told;
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{PATIENCE, Server};

/// The user of round `n`'s key, and of its competitor.
fn users(n: usize) -> (i64, i64) {
    let n = i64::try_from(n).expect("few");
    (10 + 2 * n, 11 + 2 * n)
}

/// What the rounds have in common.
struct Ring {
    products: Vec<i64>,
    /// Where the first attempt goes, and where the retry.
    doors: [Mutex<Target>; 2],
    next: AtomicUsize,
    /// Retries that were answered before the first attempt.
    overtaken: AtomicUsize,
    cut: AtomicUsize,
    /// Answers that told to try again.
    again: AtomicUsize,
    expired: AtomicUsize,
}

/// What one round was told: about the key, and about the competitor's.
#[derive(Debug)]
struct Round {
    n: usize,
    told: Told,
    rival: Option<Told>,
}

impl Ring {
    fn new(products: Vec<i64>, servers: [&Server; 2]) -> Arc<Self> {
        let doors = servers.map(|server| Mutex::new(server.target.clone()));
        let (next, overtaken, cut) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let (again, expired) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { products, doors, next, overtaken, cut, again, expired })
    }

    fn door(&self, n: usize) -> Target {
        self.doors[n].lock().expect("no panic").clone()
    }

    /// Asks until there is an answer that stands.
    async fn ask(&self, clients: &mut Clients, door: usize, token: &str, key: &str, body: &Value) -> Told {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = clients.order(&self.door(door), token.to_owned(), key, body).await;
            let told = answer.map_or(Told::Nothing, |(status, body)| {
                let expired = body["type"] == "/problems/attempt-expired";
                self.expired.fetch_add(usize::from(expired), Ordering::Relaxed);
                Told::by(status, &body)
            });
            if told.is_final() {
                return told;
            }
            self.again.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < until, "{key} has no answer that stands: {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Connections of one line of rounds.
#[derive(Default)]
struct Desk {
    first: Clients,
    second: Clients,
    rival: Clients,
}

async fn round(
    ring: &Arc<Ring>,
    desk: &mut Desk,
    n: usize,
    dice: &mut ChaCha8Rng,
    token_of: impl Fn(i64) -> String,
) -> Round {
    let body = body_of(&BTreeMap::from([(ring.products[n], 1)]), None);
    let (user, rival) = users(n);
    let (token, rival_token) = (token_of(user), token_of(rival));
    let mut moment = |micros: u64| Duration::from_micros(dice.random_range(0..micros));
    let (delay, rival_delay, cut_after) = (moment(30_000), moment(4_000), moment(30_000));
    let (cuts, has_rival, rival_door) =
        (dice.random_bool(0.25), n.is_multiple_of(3), dice.random_range(0..2));
    let Desk { first, second, rival: third } = desk;
    let attempt = async {
        let door = ring.door(0);
        let order = first.order(&door, token.clone(), "key", &body);
        let told = if cuts {
            // Dropping the request half-way cuts its connection.
            match tokio::time::timeout(cut_after, order).await {
                Ok(answer) => answer,
                Err(_) => {
                    ring.cut.fetch_add(1, Ordering::Relaxed);
                    return (Told::Nothing, Instant::now());
                }
            }
        } else {
            order.await
        };
        (told.map_or(Told::Nothing, |(status, body)| Told::by(status, &body)), Instant::now())
    };
    let retry = async {
        tokio::time::sleep(delay).await;
        (ring.ask(second, 1, &token, "key", &body).await, Instant::now())
    };
    let competitor = async {
        if !has_rival {
            return None;
        }
        tokio::time::sleep(rival_delay).await;
        Some(ring.ask(third, rival_door, &rival_token, "rival", &body).await)
    };
    let ((one, at), (two, later), rival) = tokio::join!(attempt, retry, competitor);
    ring.overtaken.fetch_add(usize::from(later < at), Ordering::Relaxed);
    let id = |told: Told| match told {
        Told::Confirmed(id) | Told::Pending(id) | Told::Failed(id) => Some(id),
        _ => None,
    };
    // Whoever was refused first may have the unit later, not the other way round.
    if let (Some(one), two) = (id(one), two) {
        assert_eq!(Some(one), id(two), "round {n}: one key, two answers");
    }
    let told = ring.ask(second, 1, &token, "key", &body).await;
    if two != Told::Refused {
        assert_eq!(two, told, "round {n}: another answer the third time");
    }
    let mut rival = rival;
    if told == Told::Refused && rival == Some(Told::Refused) {
        // Both may have met the other's hold; then the unit is still there for whoever asks again.
        rival = Some(ring.ask(third, rival_door, &rival_token, "rival", &body).await);
    }
    Round { n, told, rival }
}

/// Rounds until there are no more products, `lines` at a time.
fn run(ring: &Arc<Ring>, site: &ClusterSite, seed: u64, lines: usize) -> JoinSet<Vec<Round>> {
    let mut at_work = JoinSet::new();
    for line in 0..lines {
        let (ring, token_of) = (Arc::clone(ring), site.customers());
        let mut dice = ChaCha8Rng::seed_from_u64(seed.wrapping_add(line as u64));
        at_work.spawn(async move {
            let (mut desk, mut rounds) = (Desk::default(), Vec::new());
            loop {
                let n = ring.next.fetch_add(1, Ordering::Relaxed);
                if n >= ring.products.len() {
                    return rounds;
                }
                rounds.push(round(&ring, &mut desk, n, &mut dice, &token_of).await);
            }
        });
    }
    at_work
}

async fn all(mut at_work: JoinSet<Vec<Round>>) -> Vec<Round> {
    let mut rounds = Vec::new();
    while let Some(some) = at_work.join_next().await {
        rounds.extend(some.expect("no panic"));
    }
    rounds
}

/// Compares what was told with the books: one order for the one who has the unit.
async fn check(
    site: &ClusterSite,
    ring: &Ring,
    servers: Vec<Server>,
    rounds: &[Round],
    goods: &[(String, i64, i64)],
    expired: bool,
) {
    let books = site.closed_and_balanced(servers, goods).await;
    let mut by_user: BTreeMap<i64, Vec<(Uuid, &str)>> = BTreeMap::new();
    for (id, entry) in &books.orders {
        by_user.entry(entry.user).or_default().push((*id, &entry.status));
    }
    let (mut kept, mut lost) = (0, 0);
    for Round { n, told, rival } in rounds {
        let (user, rival_user) = users(*n);
        let mine = by_user.remove(&user).unwrap_or_default();
        let theirs = by_user.remove(&rival_user).unwrap_or_default();
        let is_sold = |told: Told, orders: &[(Uuid, &str)]| match told {
            Told::Confirmed(id) => {
                assert_eq!(orders, [(id, "CONFIRMED")], "round {n}");
                true
            }
            Told::Refused => {
                assert_eq!(orders, [], "round {n}");
                false
            }
            other => panic!("round {n}: {other:?}"),
        };
        let has_unit = is_sold(*told, &mine);
        let rival_has_unit = rival.is_some_and(|rival| is_sold(rival, &theirs));
        assert!(!(has_unit && rival_has_unit), "round {n}: one unit, two orders");
        assert!(has_unit || rival_has_unit || expired, "round {n}: nobody has the unit");
        kept += usize::from(has_unit);
        lost += usize::from(rival_has_unit);
    }
    assert!(by_user.is_empty(), "orders of nobody: {by_user:?}");
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    eprintln!(
        "{} rounds: {kept} units to the key, {lost} to the competitor; {} firsts overtaken, {} connections cut, \
         {} answers to try again, {} attempts expired",
        rounds.len(),
        count(&ring.overtaken),
        count(&ring.cut),
        count(&ring.again),
        count(&ring.expired),
    );
}

fn last_units(count: usize) -> Vec<(String, i64, i64)> {
    (0..count).map(|n| (format!("last-{n:05}"), 1, 250)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_retries_on_the_other_server_make_one_order_each() {
    let seed = seed();
    let site = ClusterSite::new().await;
    let goods = last_units(10_000);
    let ids = site.import(&goods).await;
    let servers = site.open_two().await;
    let products = goods.iter().map(|(sku, ..)| ids[sku]).collect();
    let ring = Ring::new(products, [&servers[0], &servers[1]]);
    let since = Instant::now();
    let rounds = all(run(&ring, &site, seed, 50)).await;
    eprintln!("10,000 retries in {:?}", since.elapsed());
    assert_eq!(ring.expired.load(Ordering::Relaxed), 0, "nothing was given up");
    check(&site, &ring, servers.into(), &rounds, &goods, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_finds_its_order_when_the_first_server_was_killed_meanwhile() {
    let seed = seed();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let site = ClusterSite::with(&[
        ("HOLDFAST_CLUSTER__DEAD_AFTER_MS", "3000"),
        ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "3000"),
    ])
    .await;
    let goods = last_units(2_000);
    let ids = site.import(&goods).await;
    let [first, second] = site.open_two().await;
    let products = goods.iter().map(|(sku, ..)| ids[sku]).collect();
    let ring = Ring::new(products, [&first, &second]);
    let at_work = run(&ring, &site, seed, 30);
    let mut first = Some(first);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_micros(dice.random_range(300_000..700_000))).await;
        first.take().expect("it is there").kill().await;
        let again = site.open().await;
        *ring.doors[0].lock().expect("no panic") = again.target.clone();
        first = Some(again);
    }
    let rounds = all(at_work).await;
    let servers = vec![first.expect("it is there"), second];
    check(&site, &ring, servers, &rounds, &goods, true).await;
}
