//! Administrators who change what two servers are selling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use holdfast::load::Target;
use holdfast::ports::ledger::Role;
use mysql_async::prelude::Queryable as _;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::buyers::{Clients, body_of, seed};
use crate::chaos::load::Told;
use crate::support::cluster_site::ClusterSite;
use crate::support::process::Client;

const PRODUCTS: usize = 4;
const UNITS: i64 = 20;
const CENTS: i64 = 250;
/// Changes of each field of each product, and restocks of each product.
const EDITS: i64 = 40;
const SELLERS: usize = 8;

/// The price of a product, which goes up a cent at a time.
#[derive(Default)]
struct Price {
    /// The newest one that may be valid.
    begun: AtomicI64,
    /// The newest one that is valid for sure.
    done: AtomicI64,
}

/// An administrator at both servers.
struct Admin {
    clients: Vec<Client>,
    dice: ChaCha8Rng,
}

impl Admin {
    async fn at(targets: &[Target; 2], token: &str, seed: u64) -> Self {
        let mut clients = Vec::new();
        for target in targets {
            clients.push(Client::connect(target, token).await.expect("a server"));
        }
        Self { clients, dice: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Changes something at one of the servers, a moment later.
    async fn send(&mut self, method: &str, path: &str, key: Option<&str>, body: &Value) {
        tokio::time::sleep(Duration::from_micros(self.dice.random_range(0..20_000))).await;
        let client = &mut self.clients[self.dice.random_range(0..2)];
        let answer = client.send(method, path, key, Some(body.to_string().as_bytes())).await;
        let (status, answer) = answer.expect("an answer");
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restocks_prices_and_edits_at_both_servers_are_all_kept_while_both_sell() {
    let seed = seed();
    let site = ClusterSite::new().await;
    let mut goods: Vec<_> = (0..PRODUCTS).map(|n| (format!("sku-{n}"), UNITS, CENTS)).collect();
    let ids = site.import(&goods).await;
    let ids: Vec<i64> = goods.iter().map(|(sku, ..)| ids[sku]).collect();
    // A slow machine is no reason to be told that an order is on its way.
    let patient = || site.shop().env("HOLDFAST_SALE__ANSWER_WITHIN_MS", "30000").open();
    let servers = [patient().await, patient().await];
    let targets = [servers[0].target.clone(), servers[1].target.clone()];
    let prices: Arc<Vec<Price>> =
        Arc::new((0..PRODUCTS).map(|_| Price { begun: CENTS.into(), done: CENTS.into() }).collect());

    let token = site.token(1, Role::Admin);
    let mut administrators = JoinSet::new();
    for (place, id) in ids.iter().copied().enumerate() {
        for (n, field) in (0..).zip(["name", "description", "category", "price", "stock"]) {
            let mut admin = Admin::at(&targets, &token, seed ^ (place as u64 * 10 + n)).await;
            let prices = Arc::clone(&prices);
            administrators.spawn(async move {
                let path = format!("/api/v1/admin/products/{id}");
                let mut added = 0;
                for edit in 1..=EDITS {
                    match field {
                        "stock" => {
                            let delta = admin.dice.random_range(1..=4);
                            let (path, key) = (format!("{path}/stock"), format!("restock-{place}-{edit}"));
                            let body = json!({ "delta": delta, "reason": "restock" });
                            admin.send("POST", &path, Some(&key), &body).await;
                            // One in four is sent twice.
                            if edit % 4 == 0 {
                                admin.send("POST", &path, Some(&key), &body).await;
                            }
                            added += delta;
                        }
                        "price" => {
                            let cents = CENTS + edit;
                            prices[place].begun.store(cents, Ordering::SeqCst);
                            let body = json!({ "price": { "amount": cents, "currency": "EUR" } });
                            admin.send("PATCH", &path, None, &body).await;
                            prices[place].done.store(cents, Ordering::SeqCst);
                        }
                        _ => {
                            let body = json!({ field: format!("{field} {edit}") });
                            admin.send("PATCH", &path, None, &body).await;
                        }
                    }
                }
                (place, added)
            });
        }
    }

    let enough = Arc::new(AtomicBool::new(false));
    let mut sellers = JoinSet::new();
    for seller in 0..SELLERS {
        let (enough, prices, ids) = (Arc::clone(&enough), Arc::clone(&prices), ids.clone());
        let (token_of, targets) = (site.customers(), targets.clone());
        sellers.spawn(async move {
            let mut dice = ChaCha8Rng::seed_from_u64(seed.wrapping_sub(seller as u64));
            let (mut clients, mut sold, mut refused) = (Clients::default(), Vec::new(), 0);
            let user = 100 + i64::try_from(seller).expect("few");
            for n in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let places: BTreeMap<usize, i64> = (0..dice.random_range(1..=2))
                    .map(|_| (dice.random_range(0..PRODUCTS), dice.random_range(1..=2)))
                    .collect();
                let lines = places.iter().map(|(place, units)| (ids[*place], *units)).collect();
                let oldest: Vec<i64> =
                    places.keys().map(|place| prices[*place].done.load(Ordering::SeqCst)).collect();
                let target = &targets[dice.random_range(0..2)];
                let answer =
                    clients.order(target, token_of(user), &format!("key-{n}"), &body_of(&lines, None)).await;
                let (status, order) = answer.expect("an answer");
                match Told::by(status, &order) {
                    Told::Confirmed(id) => sold.push(id),
                    Told::Refused => {
                        refused += 1;
                        continue;
                    }
                    other => panic!("{other:?}: {order}"),
                }
                let mut total = 0;
                for line in order["lines"].as_array().expect("lines") {
                    let product = line["product_id"].as_i64().expect("an id");
                    let at = lines.keys().position(|id| *id == product).expect("it was asked for");
                    let place = ids.iter().position(|id| *id == product).expect("it is sold");
                    let cents = line["unit_price"]["amount"].as_i64().expect("an amount");
                    let newest = prices[place].begun.load(Ordering::SeqCst);
                    let valid = oldest[at]..=newest;
                    assert!(valid.contains(&cents), "{cents} was not valid meanwhile: {valid:?}");
                    total += cents * line["quantity"].as_i64().expect("units");
                }
                assert_eq!(order["total"]["amount"], total, "{order}");
            }
            (user, sold, refused)
        });
    }

    while let Some(done) = administrators.join_next().await {
        let (place, added) = done.expect("no panic");
        goods[place].1 += added;
    }
    enough.store(true, Ordering::Relaxed);
    let (mut told, mut refusals) = (BTreeMap::<Uuid, i64>::new(), 0);
    while let Some(done) = sellers.join_next().await {
        let (user, sold, refused) = done.expect("no panic");
        told.extend(sold.into_iter().map(|id| (id, user)));
        refusals += refused;
    }
    eprintln!("{} orders and {refusals} refusals during {EDITS} changes of each field", told.len());

    let mut connection = site.database.connection().await;
    let fields: Vec<(i64, String, String, String, i64)> = connection
        .query("SELECT id, name, description, category, price_minor FROM products ORDER BY id")
        .await
        .expect("rows");
    connection.disconnect().await.expect("it says goodbye");
    for (id, name, description, category, cents) in fields {
        let last = |field: &str| format!("{field} {EDITS}");
        assert_eq!(
            (name, description, category),
            (last("name"), last("description"), last("category")),
            "{id}"
        );
        assert_eq!(cents, CENTS + EDITS, "{id}");
    }
    let books = site.closed_and_balanced(servers, &goods).await;
    assert!(!told.is_empty(), "nobody bought anything");
    assert_eq!(books.orders.len(), told.len());
    for (id, user) in told {
        assert_eq!((books.orders[&id].user, &*books.orders[&id].status), (user, "CONFIRMED"), "{id}");
    }
}
