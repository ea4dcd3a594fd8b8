//! `kill -9` at random moments of a sale.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast::ports::clock::{Clock as _, SystemClock};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::books::Books;
use super::load::{Buyers, Template};
use crate::support::process::{PATIENCE, Server, Site};
use crate::support::retail::DAYS;
use crate::support::wait_for;

/// What the rounds of a test have seen, so that the test can tell whether it has tested anything.
#[derive(Default, Debug)]
struct Seen {
    /// Orders that were acknowledged before the server was killed.
    acknowledged: usize,
    /// Requests that were under way when the server was killed.
    unanswered: usize,
    /// Rounds in which a restarted server found unfinished orders.
    recoveries: usize,
    /// Servers that were killed while they recovered.
    killed_again: usize,
}

/// A new seed for each run, or the one in `TEST_SEED`, to see a failure again.
fn seed() -> u64 {
    let fresh = || u64::from_le_bytes(SystemClock.secret()[..8].try_into().expect("8 bytes"));
    let seed = std::env::var("TEST_SEED").map_or_else(|_| fresh(), |seed| seed.parse().expect("a number"));
    eprintln!("TEST_SEED={seed}");
    seed
}

/// Lets a random time pass. This is no waiting for something: the moment is what is tested.
async fn some_time(dice: &mut ChaCha8Rng, microseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_micros(dice.random_range(microseconds))).await;
}

/// How long the shop waits for the gateway, and how often. Impatient shops give a charge up before it
/// arrives late, patient ones meet it when they try again.
fn patience(dice: &mut ChaCha8Rng) -> Vec<(&'static str, String)> {
    let (timeout_ms, late_ms, tries) = if dice.random_bool(0.5) { (2, 30, 1) } else { (10, 15, 5) };
    vec![
        ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_MS", timeout_ms.to_string()),
        ("HOLDFAST_PAYMENTS__FAULTS__LATE_MS", late_ms.to_string()),
        ("HOLDFAST_SALE__ACT_TRIES_MAX", tries.to_string()),
    ]
}

/// The servers of a shop, one after the other.
struct Shop {
    site: Site,
    settings: Vec<(&'static str, String)>,
}

impl Shop {
    async fn open(&self) -> Server {
        self.site.shop().envs(&self.settings).open().await
    }
}

/// One sale, one `kill -9` in the middle of it or two, and a look at the books.
async fn round(
    template: &Arc<Template>,
    dice: &mut ChaCha8Rng,
    shop: Shop,
    tokens: &'static [&'static str],
    seen: &mut Seen,
) {
    template.site.copy_data_to(&shop.site);
    let server = shop.open().await;
    let mut buyers = Buyers::new(template, dice.random(), tokens);
    buyers.begin(&server);
    // Sometimes the clock decides, sometimes the sale, however fast this machine is.
    if dice.random_bool(0.4) {
        some_time(dice, 1_000..120_000).await;
    } else {
        let answers = dice.random_range(1..120);
        let enough = async || buyers.answers.load(Ordering::Relaxed) >= answers;
        wait_for("some orders to be answered", PATIENCE, enough).await;
        some_time(dice, 0..3_000).await;
    }
    server.kill().await;
    buyers.given_up().await;
    seen.acknowledged += buyers.acknowledged();
    seen.unanswered += buyers.unanswered();

    if dice.random_bool(0.3) {
        let starting = shop.site.shop().envs(&shop.settings).start();
        some_time(dice, 0..150_000).await;
        starting.kill().await;
        seen.killed_again += 1;
    }

    let server = shop.open().await;
    if dice.random_bool(0.5) {
        buyers.ask_again(&server).await;
    }
    buyers.look_again(&server).await;
    let mut admin = server.admin().await;
    wait_for("the recovery of unfinished orders", PATIENCE, async || admin.unfinished().await.is_empty())
        .await;
    if dice.random_bool(0.5) {
        server.stop().await;
    } else {
        server.kill().await;
    }
    seen.recoveries +=
        usize::from(shop.site.logs().contains("unfinished orders of an earlier run are taken up"));

    let books = Books::of(&shop.site);
    books.assert_balanced(&template.stocked);
    buyers.assert_in(&books);
    shop.site.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_in_a_sale_lose_no_order_and_no_money() {
    let mut dice = ChaCha8Rng::seed_from_u64(seed());
    let template = Arc::new(Template::of(DAYS[0]).await);
    let mut seen = Seen::default();
    for number in 0..50 {
        eprintln!("round {number}: {seen:?}");
        let shop = Shop { site: Site::new(), settings: patience(&mut dice) };
        let tokens =
            &["tok_declined", "tok_timeout_before", "tok_timeout_after", "tok_late", "tok_duplicate"];
        round(&template, &mut dice, shop, tokens, &mut seen).await;
    }
    eprintln!("{seen:?}");
    assert!(seen.acknowledged > 500 && seen.unanswered > 100, "there was too little load: {seen:?}");
    assert!(seen.recoveries > 10 && seen.killed_again > 3, "the kills came too early or too late: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_the_gateway_times_out_after_charging_lose_no_order_and_no_money() {
    let mut dice = ChaCha8Rng::seed_from_u64(seed());
    let template = Arc::new(Template::of(DAYS[1]).await);
    let mut seen = Seen::default();
    for number in 0..50 {
        eprintln!("round {number}: {seen:?}");
        let mut settings = patience(&mut dice);
        settings.extend([
            ("HOLDFAST_PAYMENTS__FAULTS__SEED", dice.random_range(0..1_000_000).to_string()),
            ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_AFTER_RATE", "0.3".to_owned()),
            ("HOLDFAST_PAYMENTS__FAULTS__LATE_RATE", "0.1".to_owned()),
            ("HOLDFAST_PAYMENTS__FAULTS__DECLINE_RATE", "0.1".to_owned()),
            ("HOLDFAST_PAYMENTS__FAULTS__DUPLICATE_RATE", "0.05".to_owned()),
        ]);
        let shop = Shop { site: Site::new(), settings };
        round(&template, &mut dice, shop, &[], &mut seen).await;
    }
    eprintln!("{seen:?}");
    assert!(seen.acknowledged > 50 && seen.unanswered > 30, "there was too little load: {seen:?}");
    assert!(seen.recoveries > 5, "the kills came too early or too late: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_customers_have_to_accept_lose_no_order_and_no_money() {
    let mut dice = ChaCha8Rng::seed_from_u64(seed());
    let template = Arc::new(Template::of(DAYS[2]).await);
    let mut seen = Seen::default();
    for number in 0..15 {
        eprintln!("round {number}: {seen:?}");
        let mut settings = patience(&mut dice);
        settings.extend([
            ("HOLDFAST_PAYMENTS__FAULTS__SEED", dice.random_range(0..1_000_000).to_string()),
            ("HOLDFAST_PAYMENTS__FAULTS__NEEDS_CUSTOMER_RATE", "0.3".to_owned()),
            ("HOLDFAST_PAYMENTS__FAULTS__CUSTOMER_AFTER_MS", dice.random_range(1..60).to_string()),
            ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_AFTER_RATE", "0.1".to_owned()),
        ]);
        let shop = Shop { site: Site::new(), settings };
        round(&template, &mut dice, shop, &["tok_3ds", "tok_declined", "tok_late"], &mut seen).await;
    }
    eprintln!("{seen:?}");
    assert!(seen.acknowledged > 50 && seen.unanswered > 20, "there was too little load: {seen:?}");
}
