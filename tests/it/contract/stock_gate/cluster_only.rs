//! What the gate of a Redis Cluster promises besides: holds over several nodes, and nodes that go away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::adapters::redis::{RedisCluster, RedisStockGate};
use holdfast::domain::{Digest, Hold, ProductId, Shelf, StockLevel, Timestamp};
use holdfast::ports::stock_gate::{HoldError, StockGate};
use tokio::time::Instant;

use crate::support::redis_cluster::{self, OneNode, PATIENCE};
use crate::support::wait_for;

use super::{
    A, ALWAYS, B, LOADED, available, by, change, driver, level, loaded, now, over_redis, part, reserve,
    retry, shelf, sold_out, standing, wish,
};

/// Deletes keys of a product, as a node does that has lost its data.
async fn lose(prefix: &str, product: ProductId, parts: &[&str]) {
    let mut client = redis_cluster::client().await;
    for part in parts {
        let mut delete = redis::cmd("DEL");
        delete.arg(format!("{prefix}product:{{{product}}}:{part}"));
        delete.exec_async(&mut client).await.expect("deleted");
    }
}

/// A gate whose keys are known.
async fn gate_with_prefix() -> (RedisStockGate, String) {
    let prefix = redis_cluster::fresh_prefix();
    (RedisStockGate::new(redis_cluster::cluster().await, &prefix), prefix)
}

#[tokio::test]
async fn a_hold_of_products_on_three_masters_is_sold_whole() {
    let gate = over_redis().await;
    let products: Vec<ProductId> = redis_cluster::a_product_on_each_master().await.into_values().collect();
    assert_eq!(products.len(), 3, "three masters");
    let shelves: Vec<_> = products.iter().map(|product| shelf(*product, 5)).collect();
    gate.load(&shelves).await.expect("loaded");
    let lines: Vec<_> = products.iter().map(|product| (*product, 2)).collect();
    let (sold, given_back) = (wish(&lines), wish(&lines));
    assert!(gate.reserve(&[sold.clone(), given_back.clone()]).await.iter().all(Result::is_ok));
    gate.ordered(std::slice::from_ref(&sold)).await.expect("ordered");
    for product in &products {
        assert_eq!(standing(&*gate, *product).await, (5, 4));
    }
    let refused = reserve(&*gate, &wish(&lines)).await;
    let (left, may_return) = sold_out(&refused).expect("sold out");
    assert!(left.iter().all(|(_, requested, left)| (*requested, *left) == (2, 1)), "{left:?}");
    assert!(may_return);
    gate.confirm(&[sold]).await.expect("confirmed");
    gate.release(&[given_back]).await.expect("released");
    for product in &products {
        assert_eq!(standing(&*gate, *product).await, (3, 0));
    }
}

#[tokio::test]
async fn a_reservation_after_its_deadline_holds_nothing() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let late = Hold { deadline: now().minus(Duration::from_secs(5)), ..wish(&[(A, 1), (B, 1)]) };
    assert!(matches!(reserve(&*gate, &late).await, Err(HoldError::Finished)));
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (5, 0)));
}

#[tokio::test]
async fn what_was_taken_at_home_is_given_back_when_another_line_is_short() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 1).await;
    let before = wish(&[(B, 1)]);
    reserve(&*gate, &before).await.expect("held");
    let hold = wish(&[(A, 2), (B, 1)]);
    for _ in 0..2 {
        let refused = reserve(&*gate, &hold).await;
        assert_eq!(sold_out(&refused), Some((vec![(A, 2, 5), (B, 1, 0)], true)));
        assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (1, 1)));
    }
    gate.release(&[before]).await.expect("released");
    assert_eq!(reserve(&*gate, &hold).await.expect("a refusal leaves nothing behind"), hold.saga);
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (1, 1)));
}

#[tokio::test]
async fn a_line_that_is_not_loaded_gives_home_back() {
    let (gate, prefix) = gate_with_prefix().await;
    loaded(&gate, 5, 5).await;
    lose(&prefix, B, &["stock"]).await;
    let hold = wish(&[(A, 2), (B, 1)]);
    let answer = reserve(&gate, &hold).await;
    assert!(matches!(&answer, Err(HoldError::NotLoaded(products)) if *products == [B]), "{answer:?}");
    assert_eq!(standing(&gate, A).await, (5, 0));
    gate.load(&[shelf(B, 5)]).await.expect("loaded");
    assert_eq!(reserve(&gate, &hold).await.expect("held"), hold.saga);
}

#[tokio::test]
async fn a_key_that_comes_twice_in_a_batch_leaves_nothing_when_refused() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 1).await;
    let hold = wish(&[(A, 2), (B, 2)]);
    let answers = gate.reserve(&[hold.clone(), retry(&hold)]).await;
    assert!(answers.iter().all(|answer| sold_out(answer).is_some()), "{answers:?}");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (1, 0)));
}

#[tokio::test]
async fn a_retry_that_meets_a_half_made_hold_goes_on_with_it() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let first = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &part(&first, A)).await.expect("its server stopped after home");
    let again = retry(&first);
    assert_eq!(reserve(&*gate, &again).await.expect("held"), first.saga);
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (5, 1)));
    gate.confirm(std::slice::from_ref(&first)).await.expect("it is the retry's now");
    assert_eq!(standing(&*gate, A).await, (5, 2));
    gate.confirm(&[by(again.driver, &first)]).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
}

#[tokio::test]
async fn a_refused_retry_leaves_what_an_earlier_attempt_holds() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 0).await;
    let first = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &part(&first, A)).await.expect("its server is still at it");
    let refused = reserve(&*gate, &retry(&first)).await;
    assert_eq!(sold_out(&refused), Some((vec![(A, 2, 5), (B, 1, 0)], false)), "its own units count");
    assert_eq!(standing(&*gate, A).await, (5, 2));
}

#[tokio::test]
async fn a_leftover_that_has_lost_its_home_is_replaced() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 1).await;
    let first = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &part(&first, B)).await.expect("held");
    let again = retry(&first);
    assert_eq!(reserve(&*gate, &again).await.expect("the unit is the key's"), again.saga);
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (1, 1)));
    gate.release(&[first]).await.expect("it holds nothing");
    gate.confirm(&[again]).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (0, 0)));
}

#[tokio::test]
async fn a_line_with_an_order_or_for_another_request_is_not_replaced() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let first = wish(&[(A, 2), (B, 1)]);
    let its_line = part(&first, B);
    reserve(&*gate, &its_line).await.expect("held");
    let other_body = Hold { body: Digest::of(&[b"other"]), ..retry(&first) };
    let answer = reserve(&*gate, &other_body).await;
    assert!(matches!(answer, Err(HoldError::KeyReused(saga)) if saga == first.saga), "{answer:?}");
    gate.ordered(&[its_line]).await.expect("ordered");
    let answer = reserve(&*gate, &retry(&first)).await;
    assert!(matches!(answer, Err(HoldError::KeySold(saga)) if saga == first.saga), "{answer:?}");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (5, 1)));
}

#[tokio::test]
async fn a_retry_during_the_end_of_a_hold_is_not_told_that_it_has_ended() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let sold = wish(&[(A, 1), (B, 1)]);
    reserve(&*gate, &sold).await.expect("held");
    gate.ordered(std::slice::from_ref(&sold)).await.expect("ordered");
    gate.confirm(&[part(&sold, B)]).await.expect("half of it is confirmed");
    let answer = reserve(&*gate, &retry(&sold)).await;
    assert!(matches!(answer, Err(HoldError::KeySold(saga)) if saga == sold.saga), "{answer:?}");
    gate.confirm(std::slice::from_ref(&sold)).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((4, 0), (4, 0)));

    let released = wish(&[(A, 1), (B, 1)]);
    reserve(&*gate, &released).await.expect("held");
    gate.release(&[part(&released, B)]).await.expect("half of it is released");
    let again = retry(&released);
    assert_eq!(reserve(&*gate, &again).await.expect("held again"), released.saga);
    gate.release(std::slice::from_ref(&released)).await.expect("it is the retry's now");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((4, 1), (4, 1)));
}

#[tokio::test]
async fn a_reservation_that_arrives_after_its_release_holds_nothing() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 1), (B, 1)]);
    gate.release(std::slice::from_ref(&hold)).await.expect("nothing to release");
    assert!(matches!(reserve(&*gate, &hold).await, Err(HoldError::Finished)));
    let again = retry(&hold);
    assert_eq!(reserve(&*gate, &again).await.expect("the key may be tried again"), again.saga);
}

#[tokio::test]
async fn overdue_lines_of_one_hold_come_as_one_hold() {
    let gate = over_redis().await;
    loaded(&*gate, 5, 5).await;
    let (hold, other) = (wish(&[(A, 1), (B, 2)]), wish(&[(B, 1)]));
    assert!(gate.reserve(&[hold.clone(), other.clone()]).await.iter().all(Result::is_ok));
    let mut overdue = gate.overdue(ALWAYS).await.expect("holds");
    overdue.sort_by_key(|hold| hold.saga);
    assert_eq!(overdue, [hold, other]);
}

#[tokio::test]
async fn a_batch_larger_than_one_call_is_served_in_order() {
    let gate = over_redis().await;
    loaded(&*gate, 600, 1_000).await;
    let wishes: Vec<Hold> = (0..700).map(|_| wish(&[(A, 1), (B, 1)])).collect();
    let answers = gate.reserve(&wishes).await;
    assert!(answers[..600].iter().all(Result::is_ok));
    assert!(answers[600..].iter().all(|answer| sold_out(answer).is_some()));
    gate.ordered(&wishes[..600]).await.expect("ordered");
    gate.confirm(&wishes[..300]).await.expect("confirmed");
    gate.release(&wishes).await.expect("released");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((300, 0), (700, 0)));
}

#[tokio::test]
async fn numbers_stay_whole_however_large() {
    let gate = over_redis().await;
    let many = 9_007_199_254_740_000;
    gate.load(&[shelf(A, many)]).await.expect("loaded");
    let hold = Hold { deadline: Timestamp(i64::MAX), ..wish(&[(A, 1)]) };
    reserve(&*gate, &hold).await.expect("held");
    gate.ordered(std::slice::from_ref(&hold)).await.expect("ordered");
    assert_eq!(gate.inspect(A).await.expect("answers").expect("loaded").holds, [(hold.clone(), true)]);
    gate.confirm(&[hold]).await.expect("confirmed");
    gate.adjust(&[change(A, -7, LOADED + 1)]).await.expect("adjusted");
    assert_eq!(standing(&*gate, A).await, (many - 8, 0));
    let seen = gate.inspect(A).await.expect("answers").expect("loaded").changes;
    assert!(gate.correct(A, many + 1, LOADED + 1, seen).await.expect("answers"));
    let refused = reserve(&*gate, &wish(&[(A, 1), (B, 1)])).await;
    assert!(matches!(&refused, Err(HoldError::NotLoaded(products)) if *products == [B]), "{refused:?}");
    assert_eq!(standing(&*gate, A).await, (many + 1, 0));
}

#[tokio::test]
async fn a_product_whose_keys_are_gone_is_loaded_again() {
    let (gate, prefix) = gate_with_prefix().await;
    loaded(&gate, 5, 5).await;
    let hold = wish(&[(A, 2)]);
    reserve(&gate, &hold).await.expect("held");
    let mut before = gate.inspect(A).await.expect("answers").expect("loaded").changes;
    for lost in [&["stock", "reserved", "holds", "gate"][..], &["gate"], &["reserved"], &["stock"]] {
        lose(&prefix, A, lost).await;
        assert_eq!(available(&gate, &[A]).await, [None], "{lost:?}");
        let refused = reserve(&gate, &wish(&[(A, 1), (B, 1)])).await;
        assert!(matches!(&refused, Err(HoldError::NotLoaded(products)) if *products == [A]), "{refused:?}");
        gate.ordered(std::slice::from_ref(&hold)).await.expect("loading will bring it");
        gate.confirm(std::slice::from_ref(&hold)).await.expect("ignored");
        assert_eq!(gate.inspect(A).await.expect("answers"), None);
        let shelf = Shelf {
            level: StockLevel { product: A, stock: 5, reserved: 2 },
            pending: vec![hold.clone()],
            version: LOADED,
        };
        gate.load(&[shelf]).await.expect("loaded");
        assert_eq!(standing(&gate, A).await, (5, 2), "{lost:?}");
        let changes = gate.inspect(A).await.expect("answers").expect("loaded").changes;
        assert!(changes > before, "what was seen before the loss is not taken for what is there now");
        before = changes;
    }
    gate.confirm(&[hold]).await.expect("confirmed");
    assert_eq!(standing(&gate, A).await, (3, 0));
}

#[tokio::test]
async fn a_hold_that_was_sold_since_the_ledger_was_read_is_not_loaded() {
    let (gate, prefix) = gate_with_prefix().await;
    loaded(&gate, 5, 5).await;
    let (sold, released, open) = (wish(&[(A, 2)]), wish(&[(A, 1)]), wish(&[(A, 1)]));
    assert!(gate.reserve(&[sold.clone(), released.clone()]).await.iter().all(Result::is_ok));
    gate.confirm(std::slice::from_ref(&sold)).await.expect("confirmed");
    gate.release(std::slice::from_ref(&released)).await.expect("released");
    lose(&prefix, A, &["stock", "reserved", "holds", "gate"]).await;
    let read_before = Shelf { pending: vec![sold, released, open], ..shelf(A, 5) };
    gate.load(&[read_before]).await.expect("loaded");
    assert_eq!(standing(&gate, A).await, (3, 1));
}

#[tokio::test]
async fn every_key_has_the_hash_tag_of_its_product() {
    let (gate, prefix) = gate_with_prefix().await;
    let products: Vec<ProductId> = redis_cluster::a_product_on_each_master().await.into_values().collect();
    let lines: Vec<_> = products.iter().map(|product| (*product, 1)).collect();
    for product in &products {
        gate.load(&[Shelf { pending: vec![wish(&[(*product, 1)])], ..shelf(*product, 9) }])
            .await
            .expect("loaded");
    }
    let (sold, released, open) = (wish(&lines), wish(&lines), wish(&lines));
    assert!(gate.reserve(&[sold.clone(), released.clone(), open]).await.iter().all(Result::is_ok));
    gate.ordered(std::slice::from_ref(&sold)).await.expect("ordered");
    gate.confirm(&[sold]).await.expect("confirmed");
    gate.release(&[released]).await.expect("released");
    let changes: Vec<_> = products.iter().map(|product| change(*product, 1, LOADED + 1)).collect();
    gate.adjust(&changes).await.expect("adjusted");
    let keys = redis_cluster::keys_with(&prefix).await;
    let kinds: BTreeSet<String> = keys
        .iter()
        .map(|key| {
            let tail = key.strip_prefix(&prefix).expect("the prefix");
            let mine = products.iter().map(|product| format!("product:{{{product}}}:"));
            let tail = mine.into_iter().find_map(|head| tail.strip_prefix(&head)).expect(key);
            tail.split(':').next().expect("a word").to_owned()
        })
        .collect();
    let expected = ["adjusted", "ended", "gate", "holds", "reserved", "stock"];
    assert_eq!(kinds.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}

/// Numbers that look random and are the same in each run. Source: Numerical Recipes, a linear
/// congruential generator.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[tokio::test]
async fn baskets_of_two_servers_over_scarce_products_never_oversell() {
    const PRODUCTS: i64 = 20;
    const STOCK: i64 = 15;
    let prefix = redis_cluster::fresh_prefix();
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(Arc::new(RedisStockGate::new(redis_cluster::cluster().await, &prefix)));
    }
    let shelves: Vec<_> = (1..=PRODUCTS).map(|id| shelf(ProductId(id), STOCK)).collect();
    servers[0].load(&shelves).await.expect("loaded");
    let sold: Arc<Vec<AtomicI64>> = Arc::new((0..=PRODUCTS).map(|_| AtomicI64::new(0)).collect());

    let buyers = (0..300).map(|buyer| {
        let (gate, sold) = (Arc::clone(&servers[buyer % 2]), Arc::clone(&sold));
        tokio::spawn(async move {
            let mut number = numbers(buyer as u64);
            let mut lines = Vec::new();
            for _ in 0..=number(4) {
                lines.push((ProductId(1 + number(PRODUCTS as u64) as i64), 1 + number(3) as i64));
            }
            let hold = Hold { driver: driver(buyer as u128), ..wish(&lines) };
            loop {
                match reserve(&*gate, &hold).await {
                    Ok(saga) => assert_eq!(saga, hold.saga),
                    // Whoever holds units without an order goes on or gives them back.
                    Err(HoldError::SoldOut { may_return: true, .. }) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    Err(HoldError::SoldOut { .. }) => return,
                    Err(error) => panic!("{error}"),
                }
                break;
            }
            if number(4) == 0 {
                gate.release(&[hold]).await.expect("released");
                return;
            }
            gate.ordered(std::slice::from_ref(&hold)).await.expect("ordered");
            for line in hold.lines.iter() {
                let units = i64::from(line.quantity.get());
                sold[line.product_id.0 as usize].fetch_add(units, Ordering::Relaxed);
            }
            gate.confirm(&[hold]).await.expect("confirmed");
        })
    });
    for buyer in join_all(buyers).await {
        buyer.expect("a buyer ends");
    }
    let mut sold_out = 0;
    for id in 1..=PRODUCTS {
        let sold = sold[id as usize].load(Ordering::Relaxed);
        assert!(sold <= STOCK, "{sold} of product {id} were sold");
        assert_eq!(standing(&*servers[1], ProductId(id)).await, (STOCK - sold, 0), "product {id}");
        sold_out += usize::from(sold >= STOCK - 2);
    }
    assert!(sold_out > 10, "most of it is sold, but only {sold_out} products are");
    for server in servers {
        assert!(server.overdue(ALWAYS).await.expect("holds").is_empty());
        assert_eq!(server.troubles(), 0);
    }
}

/// A gate over one node, which is reached through `port` only, and a product that this node has.
async fn gate_through(port: u16) -> (RedisStockGate, String, ProductId) {
    let (master, product) = redis_cluster::a_product_on_each_master().await.pop_first().expect("a master");
    let cluster = RedisCluster::new(&format!("127.0.0.1:{port}"), None).expect("an address");
    (RedisStockGate::new(Arc::new(cluster), &redis_cluster::fresh_prefix()), master, product)
}

/// Whether the gate does not answer; asserts that it says so soon.
async fn is_away(gate: &RedisStockGate, product: ProductId) -> bool {
    let (asked, troubles) = (Instant::now(), gate.troubles());
    let answer = reserve(gate, &wish(&[(product, 1)])).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "answered after {:?}", asked.elapsed());
    let is_unknown = matches!(answer, Err(HoldError::Unknown(_)));
    assert_eq!(gate.troubles() > troubles, is_unknown, "each failed call is counted");
    is_unknown
}

#[tokio::test]
async fn a_shop_starts_while_redis_is_away() {
    let port = redis_cluster::closed_port().await;
    let (gate, master, product) = gate_through(port).await;
    assert!(is_away(&gate, product).await);
    let error = gate.load(&[shelf(product, 3)]).await.expect_err("nobody is there").to_string();
    assert!(error.contains(&format!("Redis Cluster does not answer at 127.0.0.1:{port}")), "{error}");

    let _node = OneNode::before(&master, port).await;
    wait_for("it answers", PATIENCE, async || gate.load(&[shelf(product, 3)]).await.is_ok()).await;
    reserve(&gate, &wish(&[(product, 3)])).await.expect("held");
}

#[tokio::test]
async fn a_connection_comes_back_after_every_node_was_away() {
    let port = redis_cluster::closed_port().await;
    let (gate, master, product) = gate_through(port).await;
    let mut node = OneNode::before(&master, port).await;
    wait_for("it answers", PATIENCE, async || gate.load(&[shelf(product, 9)]).await.is_ok()).await;
    reserve(&gate, &wish(&[(product, 2)])).await.expect("held");
    for _ in 0..3 {
        drop(node);
        wait_for("it is away", PATIENCE, async || is_away(&gate, product).await).await;
        assert!(is_away(&gate, product).await);
        node = OneNode::before(&master, port).await;
        wait_for("it is back", PATIENCE, async || gate.levels(&[product]).await.is_ok()).await;
        assert_eq!(
            gate.levels(&[product]).await.expect("answers"),
            [Some(StockLevel { reserved: 2, ..level(product, 9) })]
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_name_it() {
    let (master, _) = redis_cluster::a_product_on_each_master().await.pop_first().expect("a master");
    let cluster = RedisCluster::new(&master, Some("hunter2-hunter2".into())).expect("an address");
    let error = cluster.check().await.expect_err("there is no such password").to_string();
    assert!(error.contains("Redis Cluster does not answer") && !error.contains("hunter2"), "{error}");
}
