//! Many buyers at two servers for few units.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::buyers::{Clients, body_of, seed};
use crate::chaos::load::Told;
use crate::support::cluster_site::ClusterSite;
use crate::support::process::Server;

const BUYERS: usize = 300;
const UNITS: i64 = 100;
const ROUNDS: usize = 50;

/// A buyer with a connection to each server.
struct Buyer {
    user: i64,
    clients: Clients,
}

fn buyers(count: usize) -> Vec<Buyer> {
    (1..=count).map(|n| Buyer { user: i64::try_from(n).expect("few"), clients: Clients::default() }).collect()
}

/// All buyers order what they want, at once, each at one of the servers. Returns what they were told.
async fn all_at_once(
    site: &ClusterSite,
    servers: &[Server; 2],
    buyers: &mut Vec<Buyer>,
    key: &str,
    wishes: Vec<BTreeMap<i64, i64>>,
) -> Vec<(i64, BTreeMap<i64, i64>, Told)> {
    let mut at_work = JoinSet::new();
    for (n, (mut buyer, lines)) in std::mem::take(buyers).into_iter().zip(wishes).enumerate() {
        let (target, token_of) = (servers[n % 2].target.clone(), site.customers());
        let key = key.to_owned();
        at_work.spawn(async move {
            let (body, mut told) = (body_of(&lines, None), Told::Nothing);
            while !told.is_final() {
                let answer = buyer.clients.order(&target, token_of(buyer.user), &key, &body).await;
                let (status, answer) = answer.expect("an answer");
                told = Told::by(status, &answer);
            }
            (buyer, lines, told)
        });
    }
    let mut told = Vec::new();
    while let Some(done) = at_work.join_next().await {
        let (buyer, lines, what) = done.expect("no panic");
        told.push((buyer.user, lines, what));
        buyers.push(buyer);
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_300_buyers_at_two_servers_exactly_100_get_one_of_100_units_50_times() {
    let site = ClusterSite::new().await;
    let goods: Vec<_> = (0..ROUNDS).map(|n| (format!("sku-{n}"), UNITS, 250)).collect();
    let ids = site.import(&goods).await;
    let servers = site.open_two().await;
    let (mut crowd, mut orders) = (buyers(BUYERS), Vec::new());
    for (sku, ..) in &goods {
        let wishes = vec![BTreeMap::from([(ids[sku], 1)]); BUYERS];
        let told = all_at_once(&site, &servers, &mut crowd, sku, wishes).await;
        let sold: Vec<_> = told
            .iter()
            .filter_map(|(user, _, told)| match told {
                Told::Confirmed(id) => Some((*user, *id)),
                _ => None,
            })
            .collect();
        let refused = told.iter().filter(|(.., told)| *told == Told::Refused).count();
        assert_eq!((sold.len(), refused), (100, 200), "{sku}");
        orders.extend(sold);
    }
    let books = site.closed_and_balanced(servers, &goods).await;
    assert_eq!(books.orders.len(), orders.len());
    for (user, id) in orders {
        let entry = &books.orders[&id];
        assert_eq!((entry.user, &*entry.status), (user, "CONFIRMED"), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baskets_at_two_servers_are_sold_whole_or_not_at_all_and_whoever_is_refused_would_not_fit() {
    const PRODUCTS: usize = 20;
    const ROUNDS: usize = 10;
    let mut dice = ChaCha8Rng::seed_from_u64(seed());
    let site = ClusterSite::new().await;
    let goods: Vec<_> = (0..ROUNDS * PRODUCTS).map(|n| (format!("sku-{n}"), 20, 250)).collect();
    let ids = site.import(&goods).await;
    let servers = site.open_two().await;
    let (mut crowd, mut orders) = (buyers(BUYERS), Vec::new());
    for (round, goods) in goods.chunks(PRODUCTS).enumerate() {
        let mut wish = || {
            let lines = dice.random_range(1..=5);
            (0..lines)
                .map(|_| (ids[&goods[dice.random_range(0..PRODUCTS)].0], dice.random_range(1..=2)))
                .collect()
        };
        let wishes: Vec<BTreeMap<i64, i64>> = (0..BUYERS).map(|_| wish()).collect();
        let told = all_at_once(&site, &servers, &mut crowd, &format!("round-{round}"), wishes).await;
        let mut left: BTreeMap<i64, i64> = goods.iter().map(|(sku, units, _)| (ids[sku], *units)).collect();
        let mut refused = Vec::new();
        for (user, lines, told) in told {
            match told {
                Told::Confirmed(id) => {
                    lines
                        .iter()
                        .for_each(|(product, units)| *left.get_mut(product).expect("sold here") -= units);
                    orders.push((user, id, lines));
                }
                Told::Refused => refused.push(lines),
                other => panic!("{other:?}"),
            }
        }
        assert!(left.values().all(|left| *left >= 0), "oversold: {left:?}");
        for lines in &refused {
            let fits = lines.iter().all(|(product, units)| left[product] >= *units);
            assert!(!fits, "{lines:?} was refused, and fits into {left:?}");
        }
        eprintln!("round {round}: {} refused, left {}", refused.len(), left.values().sum::<i64>());
    }
    let books = site.closed_and_balanced(servers, &goods).await;
    assert_eq!(books.orders.len(), orders.len());
    for (user, id, lines) in orders {
        let entry = &books.orders[&id];
        assert_eq!((entry.user, &*entry.status, &entry.lines), (user, "CONFIRMED", &lines), "{id}");
    }
}
