//! Sales: many buyers at once, few units.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use holdfast::domain::{Currency, Money, NewProduct};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::http_client::{Answer, Client, lines};
use crate::support::test_app::TestApp;

const SEED: u64 = 20_260_119;

/// A client for each customer from 1 on, with its connection open.
async fn crowd(app: &TestApp, size: i64) -> Vec<Arc<Client>> {
    let clients: Vec<_> = (1..=size).map(|id| Arc::new(app.customer(id))).collect();
    join_all(clients.iter().map(|client| async { client.get("/healthz").await.expect(200) })).await;
    clients
}

/// Lets every client send its order at once.
async fn all_at_once(orders: Vec<(Arc<Client>, String, Value)>) -> Vec<Answer> {
    let send = |(client, key, body): (Arc<Client>, String, Value)| {
        tokio::spawn(async move { client.order(&key, &body).await })
    };
    let answers = join_all(orders.into_iter().map(send)).await;
    answers.into_iter().map(|answer| answer.expect("a client does not panic")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_300_buyers_at_once_of_100_units_exactly_100_get_one_in_each_of_100_rounds() {
    let app = TestApp::builder().products(100, 100).start().await;
    let buyers = crowd(&app, 300).await;
    for product in 1..=100 {
        let order =
            |buyer: &Arc<Client>| (Arc::clone(buyer), format!("key {product}"), lines(&[(product, 1)]));
        let answers = all_at_once(buyers.iter().map(order).collect()).await;
        let sold: BTreeSet<_> =
            answers.iter().filter(|answer| answer.status == 201).map(Answer::id).collect();
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 409).collect();
        assert_eq!((sold.len(), refused.len()), (100, 200), "round {product}");
        for refusal in refused {
            let left = json!([{"product_id": product, "requested": 1, "left": 0}]);
            assert_eq!(refusal.json()["lines"], left, "{}", refusal.shown());
        }
    }
    let report = app.finish().await;
    assert_eq!(report.orders, [("CONFIRMED", 10_000)].into());
    assert_eq!(report.charges, [("captured", 10_000)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_several_scarce_products_are_sold_whole_or_refused_where_they_do_not_fit() {
    const ROUNDS: usize = 25;
    const PRODUCTS: i64 = 20;
    let app = TestApp::builder().start().await;
    let buyers = crowd(&app, 200).await;
    let mut dice = ChaCha8Rng::seed_from_u64(SEED);
    let mut orders_sold = 0;
    for round in 0..ROUNDS {
        let new = |n: i64, stock: i64| NewProduct {
            sku: format!("{round}-{n}"),
            name: format!("Product {n}"),
            description: String::new(),
            category: String::new(),
            price: Money::new(n, Currency::EUR),
            stock,
        };
        let new: Vec<_> = (1..=PRODUCTS).map(|n| new(n, dice.random_range(0..=20))).collect();
        let products = app.shop.stock_room.create_products(new).await.expect("products are created");
        let mut left: HashMap<i64, i64> = products.iter().map(|p| (p.id.0, p.stock)).collect();
        let baskets: Vec<Vec<(i64, i64)>> = (0..buyers.len())
            .map(|_| {
                let mut pick = || products[dice.random_range(0..products.len())].id.0;
                let ids: BTreeSet<i64> = (0..5).map(|_| pick()).collect();
                let count = dice.random_range(1..=5);
                ids.into_iter().take(count).map(|id| (id, dice.random_range(1..=3))).collect()
            })
            .collect();
        let orders = buyers.iter().zip(&baskets);
        let orders =
            orders.map(|(buyer, basket)| (Arc::clone(buyer), format!("round {round}"), lines(basket)));
        let answers = all_at_once(orders.collect()).await;

        let mut refused = Vec::new();
        for (answer, basket) in answers.iter().zip(&baskets) {
            match answer.status {
                201 => {
                    assert_eq!(sold_lines(answer), *basket, "seed {SEED}, round {round}");
                    orders_sold += 1;
                    for (product, units) in basket {
                        *left.get_mut(product).expect("a product of this round") -= units;
                    }
                }
                409 => refused.push((answer, basket)),
                _ => panic!("seed {SEED}, round {round}: {}", answer.shown()),
            }
        }
        assert!(left.values().all(|units| *units >= 0), "seed {SEED}, round {round}: {left:?}");
        for (answer, basket) in refused {
            let fits = basket.iter().all(|(product, units)| left[product] >= *units);
            assert!(!fits, "seed {SEED}, round {round}: {basket:?} fits; {}", answer.shown());
        }
        for product in app.shop.stores.ledger.stock_levels().await.expect("the ledger answers") {
            if let Some(left) = left.get(&product.product.0) {
                assert_eq!((product.stock, product.reserved), (*left, 0), "seed {SEED}, round {round}");
            }
        }
    }
    let report = app.finish().await;
    assert_eq!(report.orders, [("CONFIRMED", orders_sold)].into(), "no order but those that were sold");
    assert!(orders_sold > 100, "{orders_sold}");
}

fn sold_lines(answer: &Answer) -> Vec<(i64, i64)> {
    let json = answer.json();
    let number = |value: &Value| value.as_i64().expect("a number");
    let lines = json["lines"].as_array().expect("lines");
    lines.iter().map(|line| (number(&line["product_id"]), number(&line["quantity"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_retries_of_one_purchase_from_50_connections_are_one_order_and_one_charge() {
    let app = TestApp::builder().product(5_000).start().await;
    let clients: Vec<_> = (0..50).map(|_| Arc::new(app.customer(1))).collect();
    let retry = |client: &Arc<Client>| {
        let client = Arc::clone(client);
        tokio::spawn(async move {
            let mut ids = BTreeSet::new();
            for _ in 0..20 {
                ids.insert(client.buy(1, 2, "the same").await.expect(201).id());
            }
            ids
        })
    };
    let ids: BTreeSet<_> = join_all(clients.iter().map(retry))
        .await
        .into_iter()
        .flat_map(|ids| ids.expect("every retry is answered"))
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(app.levels().await, [(4_998, 0)]);
    assert_eq!(app.charges().await.len(), 1);
    let report = app.finish().await;
    assert_eq!(report.orders, [("CONFIRMED", 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_told_of_its_order_whatever_else_comes_under_its_key() {
    let app = TestApp::builder().product(5_000).start().await;
    let first = app.customer(1).buy(1, 2, "the same").await.expect(201).id();
    let clients: Vec<_> = (0..40).map(|_| Arc::new(app.customer(1))).collect();
    let asked = clients.iter().enumerate().map(|(n, client)| {
        let (client, first) = (Arc::clone(client), first.clone());
        tokio::spawn(async move {
            for _ in 0..25 {
                if n % 2 == 0 {
                    assert_eq!(client.buy(1, 2, "the same").await.expect(201).id(), first);
                } else {
                    client.buy(1, 3, "the same").await.expect(422);
                }
            }
        })
    });
    for answered in join_all(asked).await {
        answered.expect("everybody gets the right answer");
    }
    assert_eq!(app.levels().await, [(4_998, 0)]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_of_the_last_unit_who_retry_under_their_keys_get_the_same_answer() {
    let app = TestApp::builder().product(1).start().await;
    let buyers = crowd(&app, 20).await;
    let order = |buyer: &Arc<Client>| (Arc::clone(buyer), "a".to_owned(), lines(&[(1, 1)]));
    let first = all_at_once(buyers.iter().map(order).collect()).await;
    let again = all_at_once(buyers.iter().map(order).collect()).await;
    let statuses = |answers: &[Answer]| answers.iter().map(|answer| answer.status).collect::<Vec<_>>();
    assert_eq!(statuses(&first), statuses(&again));
    assert_eq!(statuses(&first).iter().filter(|status| **status == 201).count(), 1);
    app.finish().await;
}
