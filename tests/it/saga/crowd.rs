//! Many buyers at once.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use holdfast::domain::{OrderStatus, ProductId, Purchase, Refusal, UserId};
use holdfast::saga::{Answer, CancelAnswer, PurchaseAnswer};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::goods::{paid_with, purchase};
use crate::support::shop::{CONFIG, Home, NO_FAULTS, PATIENCE, Shop};
use crate::support::{slate, wait_for};

/// Every purchase in a task of its own.
async fn buy_all(shop: &Arc<Shop>, purchases: Vec<Purchase>) -> Vec<Answer> {
    let buy = |purchase| {
        let shop = Arc::clone(shop);
        tokio::spawn(async move { shop.buy(purchase).await })
    };
    let tasks: Vec<_> = purchases.into_iter().map(buy).collect();
    join_all(tasks).await.into_iter().map(|answer| answer.expect("a buyer's task ends")).collect()
}

fn confirmed(answer: &Answer) -> bool {
    matches!(answer, Answer::Order(order) if order.status == OrderStatus::Confirmed)
}

/// Baskets of one to five lines over the products, one to three units each.
fn baskets(products: &[ProductId], count: i64, seed: u64) -> Vec<Vec<(ProductId, i64)>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut basket = || {
        let mut chosen = HashSet::new();
        for _ in 0..rng.random_range(1..=5) {
            chosen.insert(products[rng.random_range(0..products.len())]);
        }
        let mut lines: Vec<_> =
            chosen.into_iter().map(|product| (product, rng.random_range(1..=3))).collect();
        lines.sort();
        lines
    };
    (0..count).map(|_| basket()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_buyers_of_a_hundred_units_make_a_hundred_orders() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let product = shop.stock(&[100]).await[0];
    let purchases = (0..300).map(|user| purchase(user, "one", &[(product, 1)])).collect();
    let answers = buy_all(&shop, purchases).await;
    let sold = answers.iter().filter(|answer| confirmed(answer)).count();
    let sold_out = |answer: &&Answer| matches!(answer, Answer::Refused(Refusal::SoldOut(left)) if left[0].left == 0 && left[0].requested == 1);
    assert_eq!((sold, answers.iter().filter(sold_out).count()), (100, 200));
    slate::assert_clean(&shop, 0, "sold out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tries_with_one_key_make_one_order() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let product = shop.stock(&[1]).await[0];
    let purchases = (0..1_000).map(|_| purchase(1, "the key", &[(product, 1)])).collect();
    let answers = buy_all(&shop, purchases).await;
    assert!(answers.iter().all(confirmed), "the key has the unit, whoever else was refused");
    let orders: HashSet<_> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Order(order) => order.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(orders.len(), 1);
    slate::assert_clean(&shop, 0, "one key").await;

    let other_body = shop.engine.purchase(purchase(1, "the key", &[(product, 2)])).await.expect("answers");
    assert!(matches!(other_body, PurchaseAnswer::KeyReused), "{other_body:?}");
    let other_user = shop.buy(purchase(2, "the key", &[(product, 1)])).await;
    assert!(matches!(other_user, Answer::Refused(Refusal::SoldOut(_))), "{other_user:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_retry_gets_its_order_while_others_misuse_its_key() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let product = shop.stock(&[10]).await[0];
    let Answer::Order(order) = shop.buy(purchase(1, "the key", &[(product, 1)])).await else { panic!() };
    let order_id = order.id;
    let ask = |asker: i64| {
        let (shop, units) = (Arc::clone(&shop), 1 + asker % 2);
        tokio::spawn(async move {
            for _ in 0..200 {
                let answer = shop.engine.purchase(purchase(1, "the key", &[(product, units)])).await;
                match answer.expect("the ledger answers") {
                    PurchaseAnswer::Ended(Answer::Order(found)) if units == 1 => {
                        assert_eq!(found.id, order_id)
                    }
                    PurchaseAnswer::KeyReused if units == 2 => {}
                    other => panic!("{units} units: {other:?}"),
                }
            }
        })
    };
    for asker in join_all((0..6).map(ask).collect::<Vec<_>>()).await {
        asker.expect("every answer is right");
    }
    slate::assert_clean(&shop, 0, "one key, two bodies").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baskets_over_scarce_products_are_sold_whole_and_refused_only_when_they_do_not_fit() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let products = shop.stock(&[30; 20]).await;
    let baskets = baskets(&products, 400, 7);
    let purchases = (0..).zip(&baskets).map(|(user, lines)| purchase(user, "basket", lines)).collect();
    let answers = buy_all(&shop, purchases).await;
    slate::assert_clean(&shop, 0, "scarce").await;

    let levels = shop.ledger.stock_levels().await.expect("levels");
    let left = |product| levels.iter().find(|level| level.product == product).expect("a level").stock;
    let mut refused = 0;
    for (lines, answer) in baskets.iter().zip(&answers) {
        match answer {
            Answer::Order(order) => {
                let sold: Vec<_> =
                    order.lines.iter().map(|l| (l.product_id, i64::from(l.quantity.get()))).collect();
                assert_eq!((order.status, &sold), (OrderStatus::Confirmed, lines), "sold whole");
            }
            Answer::Refused(Refusal::SoldOut(_)) => {
                refused += 1;
                let fits = lines.iter().all(|(product, units)| left(*product) >= *units);
                assert!(!fits, "{lines:?} was refused and fits what is left");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((50..350).contains(&refused), "{refused} of 400 were refused: the goods are not scarce");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baskets_with_declined_payments_among_them_leave_a_clean_slate() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let products = shop.stock(&[30; 20]).await;
    let tokens = ["tok_ok", "tok_ok", "tok_declined", "tok_timeout_after", "tok_late", "tok_duplicate"];
    let purchase_of = |(user, lines): (usize, &Vec<_>)| {
        let user_id = i64::try_from(user).expect("few");
        paid_with(tokens[user % tokens.len()], purchase(user_id, "basket", lines))
    };
    let purchases = baskets(&products, 300, 8).iter().enumerate().map(purchase_of).collect();
    let answers = buy_all(&shop, purchases).await;
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "declines among them").await;
    let failed =
        |answer: &&Answer| matches!(answer, Answer::Order(order) if order.status == OrderStatus::Failed);
    assert!(answers.iter().filter(failed).count() > 20, "payments failed");
    assert!(answers.iter().filter(|answer| confirmed(answer)).count() > 20, "payments worked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_cancelled_while_others_buy_can_be_sold_again() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let product = shop.stock(&[20]).await[0];
    let buyer = |user: i64| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            let Answer::Order(order) = shop.buy(purchase(user, "one", &[(product, 1)])).await else { return };
            if user % 2 == 0 {
                let answer = shop.engine.cancel_order(order.id, UserId(user)).await.expect("answers");
                assert!(matches!(answer, CancelAnswer::Done(_)), "{answer:?}");
            }
        })
    };
    for task in join_all((0..200).map(buyer).collect::<Vec<_>>()).await {
        task.expect("a buyer's task ends");
    }
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "cancelled and sold again").await;
    let left = shop.ledger.stock_levels().await.expect("levels")[0].stock;
    let rest = shop.buy(purchase(1_000, "rest", &[(product, left.max(1))])).await;
    assert_eq!(confirmed(&rest), left > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_bound_buyers_are_told_to_come_back() {
    let home = Home::new();
    let config = holdfast::saga::EngineConfig { in_flight_max: 8, ..CONFIG };
    let shop = Arc::new(Shop::open_with(&home, config, NO_FAULTS, &|step| step).await);
    let product = shop.stock(&[100]).await[0];
    let buy = |user| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move { shop.engine.purchase(purchase(user, "one", &[(product, 1)])).await })
    };
    let answers = join_all((0..200).map(buy).collect::<Vec<_>>()).await;
    let (mut sold, mut busy) = (0, 0);
    for answer in answers {
        match answer.expect("a buyer's task ends").expect("the ledger answers") {
            PurchaseAnswer::Ended(Answer::Order(_)) => sold += 1,
            PurchaseAnswer::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sold + busy, 200);
    assert!(sold >= 8 && busy > 0, "{sold} sold, {busy} told to come back");
    slate::assert_clean(&shop, 0, "busy").await;
    wait_for("there is room again", PATIENCE, async || shop.engine.in_flight() == 0).await;
    assert!(confirmed(&shop.buy(purchase(1_000, "one", &[(product, 1)])).await));
}
