//! What every stock gate promises.

mod cluster_only;

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::memory::MemoryStockGate;
use holdfast::adapters::redis::RedisStockGate;
use holdfast::domain::{
    Digest, Driver, Hold, Left, OrderId, ProductId, Shelf, StockChange, StockLevel, Timestamp,
};
use holdfast::ports::stock_gate::{HoldError, StockGate};

use crate::support::goods::{basket, driver, new_order_id, now};
use crate::support::redis_cluster;

use super::suite;

const A: ProductId = ProductId(1);
const B: ProductId = ProductId(2);

/// The version of a product when it is loaded.
const LOADED: i64 = 10;

fn level(product: ProductId, stock: i64) -> StockLevel {
    StockLevel { product, stock, reserved: 0 }
}

fn shelf(product: ProductId, stock: i64) -> Shelf {
    Shelf { level: level(product, stock), version: LOADED, pending: Vec::new() }
}

/// A hold of a key of its own.
fn wish(lines: &[(ProductId, i64)]) -> Hold {
    let saga = new_order_id();
    let lines = Arc::clone(basket(lines).lines());
    let key = Digest::of(&[saga.0.as_bytes()]);
    let body = Digest::of(&[b"body"]);
    Hold { saga, key, body, driver: driver(1), lines, deadline: now().plus(Duration::from_secs(60)) }
}

/// The same wish in another attempt, on another server.
fn retry(hold: &Hold) -> Hold {
    Hold { saga: new_order_id(), driver: driver(2), ..hold.clone() }
}

fn by(driver: Driver, hold: &Hold) -> Hold {
    Hold { driver, ..hold.clone() }
}

/// The part of a hold that is of one product.
fn part(hold: &Hold, product: ProductId) -> Hold {
    let lines = hold.lines.iter().copied().filter(|line| line.product_id == product).collect();
    Hold { lines, ..hold.clone() }
}

fn change(product: ProductId, delta: i64, version: i64) -> StockChange {
    StockChange { product, delta, version }
}

async fn loaded(gate: &dyn StockGate, a: i64, b: i64) {
    gate.load(&[shelf(A, a), shelf(B, b)]).await.expect("loaded");
}

async fn reserve(gate: &dyn StockGate, request: &Hold) -> Result<OrderId, HoldError> {
    let mut answers = gate.reserve(std::slice::from_ref(request)).await;
    assert_eq!(answers.len(), 1, "one answer a request");
    answers.remove(0)
}

/// `(stock, reserved)` of a product.
async fn standing(gate: &dyn StockGate, product: ProductId) -> (i64, i64) {
    let level = gate.levels(&[product]).await.expect("levels")[0].expect("loaded");
    assert_eq!(level.product, product);
    (level.stock, level.reserved)
}

/// Units that can be had.
async fn available(gate: &dyn StockGate, products: &[ProductId]) -> Vec<Option<i64>> {
    let levels = gate.levels(products).await.expect("levels");
    levels.into_iter().map(|level| level.map(|level| level.stock - level.reserved)).collect()
}

async fn overdue(gate: &dyn StockGate, now: Timestamp) -> Vec<OrderId> {
    gate.overdue(now).await.expect("holds").into_iter().map(|hold| hold.saga).collect()
}

const ALWAYS: Timestamp = Timestamp(i64::MAX);

/// `(product, requested, left)` of a refused line.
type Line = (ProductId, u32, i64);

fn sold_out(answer: &Result<OrderId, HoldError>) -> Option<(Vec<Line>, bool)> {
    let Err(HoldError::SoldOut { lines, may_return }) = answer else { return None };
    let lines = lines.iter().map(|Left { product, requested, left }| (*product, *requested, *left));
    Some((lines.collect(), *may_return))
}

async fn all_lines_are_held_or_none(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 1).await;
    reserve(&*gate, &wish(&[(A, 2), (B, 1)])).await.expect("held");
    let refused = reserve(&*gate, &wish(&[(A, 1), (B, 1)])).await;
    assert_eq!(sold_out(&refused).expect("sold out").0, [(A, 1, 3), (B, 1, 0)]);
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (1, 1)));
    assert_eq!(available(&*gate, &[B, A]).await, [Some(0), Some(3)]);
}

async fn a_batch_is_served_in_order_of_arrival(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let wishes = [wish(&[(A, 3)]), wish(&[(A, 3)]), wish(&[(A, 2)]), wish(&[(B, 5)])];
    let answers = gate.reserve(&wishes).await;
    let held: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(held, [true, false, true, true], "whole orders, first come first served");
}

async fn the_same_hold_is_held_once(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 5)]);
    for _ in 0..3 {
        assert_eq!(reserve(&*gate, &hold).await.expect("held, though nothing is left"), hold.saga);
    }
    assert!(gate.reserve(&[hold.clone(), hold]).await.iter().all(Result::is_ok));
    assert_eq!(standing(&*gate, A).await, (5, 5));
}

async fn a_confirmed_hold_leaves_stock_and_reserved_once(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &hold).await.expect("held");
    for _ in 0..2 {
        gate.confirm(&[hold.clone(), hold.clone()]).await.expect("confirmed");
    }
    gate.release(std::slice::from_ref(&hold)).await.expect("nothing to release");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
}

async fn a_released_hold_is_given_back_once(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &hold).await.expect("held");
    for _ in 0..2 {
        gate.release(&[hold.clone(), hold.clone()]).await.expect("released");
    }
    gate.confirm(std::slice::from_ref(&hold)).await.expect("nothing to confirm");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (5, 0)));
}

async fn a_hold_that_has_ended_can_hold_nothing_more(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let (sold, released) = (wish(&[(A, 1)]), wish(&[(A, 1)]));
    assert!(gate.reserve(&[sold.clone(), released.clone()]).await.iter().all(Result::is_ok));
    gate.confirm(std::slice::from_ref(&sold)).await.expect("confirmed");
    gate.release(std::slice::from_ref(&released)).await.expect("released");
    for late in [sold, released] {
        assert!(matches!(reserve(&*gate, &late).await, Err(HoldError::Finished)));
    }
    assert_eq!(standing(&*gate, A).await, (4, 0));
}

async fn a_driver_that_was_replaced_ends_nothing(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let old = wish(&[(A, 2)]);
    reserve(&*gate, &old).await.expect("held");
    let (other, next, other_next) =
        (driver(2), Driver { epoch: 2, ..old.driver }, Driver { epoch: 2, ..driver(2) });
    for new in [other, next, other_next] {
        let new = by(new, &old);
        assert_eq!(reserve(&*gate, &new).await.expect("taken over"), old.saga);
        gate.release(std::slice::from_ref(&old)).await.expect("another's hold is left alone");
        gate.confirm(std::slice::from_ref(&old)).await.expect("another's hold is left alone");
        assert_eq!(standing(&*gate, A).await, (5, 2));
    }
    reserve(&*gate, &old).await.expect("it is held, by a later epoch");
    gate.release(std::slice::from_ref(&old)).await.expect("a late driver does not take it back");
    assert_eq!(standing(&*gate, A).await, (5, 2));
    gate.release(&[by(other_next, &old)]).await.expect("released");
    assert_eq!(standing(&*gate, A).await, (5, 0));
}

async fn a_hold_that_never_was_ends_without_effect(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let never = wish(&[(A, 2)]);
    gate.release(std::slice::from_ref(&never)).await.expect("nothing to release");
    gate.confirm(std::slice::from_ref(&never)).await.expect("nothing to confirm");
    assert_eq!(standing(&*gate, A).await, (5, 0));
}

async fn a_refusal_says_whether_holds_without_an_order_explain_it(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let (first, second) = (wish(&[(A, 3)]), wish(&[(A, 2)]));
    assert!(gate.reserve(&[first.clone(), second.clone()]).await.iter().all(Result::is_ok));
    let may_return = async |units| {
        let refused = reserve(&*gate, &wish(&[(A, units), (B, 1)])).await;
        sold_out(&refused).expect("sold out").1
    };
    assert!(may_return(5).await, "both may go away");
    assert!(!may_return(6).await, "more than there ever was");

    for _ in 0..2 {
        gate.ordered(std::slice::from_ref(&first)).await.expect("ordered");
    }
    assert!(may_return(2).await, "the second may go away");
    assert!(!may_return(3).await, "the first has its order");

    gate.release(std::slice::from_ref(&first)).await.expect("released");
    assert!(may_return(4).await, "the first is back, the second may come");
    gate.confirm(std::slice::from_ref(&second)).await.expect("confirmed");
    assert!(!may_return(4).await, "the second is sold");
    assert_eq!(standing(&*gate, A).await, (3, 0));
}

async fn every_short_line_has_to_be_explained(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 2, 2).await;
    let (a, b) = (wish(&[(A, 2)]), wish(&[(B, 2)]));
    assert!(gate.reserve(&[a, b.clone()]).await.iter().all(Result::is_ok));
    gate.ordered(std::slice::from_ref(&b)).await.expect("ordered");
    let refused = reserve(&*gate, &wish(&[(A, 1), (B, 1)])).await;
    assert!(!sold_out(&refused).expect("sold out").1, "B will not come back");
}

async fn only_holds_without_an_order_become_overdue(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 9, 9).await;
    let (waiting, ordered, ended) = (wish(&[(A, 1)]), wish(&[(A, 1)]), wish(&[(A, 1)]));
    for hold in [&waiting, &ordered, &ended] {
        reserve(&*gate, hold).await.expect("held");
    }
    gate.ordered(std::slice::from_ref(&ordered)).await.expect("ordered");
    gate.release(std::slice::from_ref(&ended)).await.expect("released");
    let deadline = waiting.deadline;
    assert!(overdue(&*gate, deadline).await.is_empty(), "not before the deadline has passed");
    assert_eq!(overdue(&*gate, Timestamp(deadline.0 + 1)).await, [waiting.saga]);
    let taken_over = by(driver(2), &waiting);
    reserve(&*gate, &taken_over).await.expect("taken over");
    let found = gate.overdue(ALWAYS).await.expect("holds");
    assert_eq!(found[0].driver, taken_over.driver, "named with its present driver");
    gate.release(&found).await.expect("released");
    assert_eq!(standing(&*gate, A).await, (9, 1), "only the ordered one is left");
}

async fn a_hold_belongs_to_the_driver_who_owns_its_order(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 9, 9).await;
    let (first, second) = (wish(&[(A, 1), (B, 2)]), driver(2));
    reserve(&*gate, &first).await.expect("held");
    reserve(&*gate, &by(second, &first)).await.expect("taken over by a retry");
    gate.ordered(std::slice::from_ref(&first)).await.expect("the first has created the order");
    reserve(&*gate, &by(second, &first)).await.expect("held, and not taken over any more");
    gate.release(&[by(second, &first)]).await.expect("the retry is not its driver");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((9, 1), (9, 2)));
    let later = Driver { epoch: 2, ..second };
    gate.ordered(&[by(later, &first)]).await.expect("another server has claimed the order");
    gate.ordered(std::slice::from_ref(&first)).await.expect("too late");
    gate.confirm(std::slice::from_ref(&first)).await.expect("too late");
    assert_eq!(standing(&*gate, A).await, (9, 1));
    gate.confirm(&[by(later, &first)]).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((8, 0), (7, 0)));
}

async fn an_order_whose_hold_was_lost_has_it_again(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let lost = wish(&[(A, 2), (B, 1)]);
    for _ in 0..2 {
        gate.ordered(std::slice::from_ref(&lost)).await.expect("made good");
    }
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (5, 1)));
    assert!(overdue(&*gate, ALWAYS).await.is_empty(), "it has an order");
    gate.confirm(std::slice::from_ref(&lost)).await.expect("confirmed");
    gate.ordered(std::slice::from_ref(&lost)).await.expect("it has ended");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
    let not_loaded = wish(&[(ProductId(77), 1)]);
    gate.ordered(&[not_loaded]).await.expect("loading will bring it");
    assert_eq!(available(&*gate, &[ProductId(77)]).await, [None]);
}

async fn a_retry_on_another_server_goes_on_with_the_first_hold(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 1, 9).await;
    let first = wish(&[(A, 1), (B, 2)]);
    reserve(&*gate, &first).await.expect("held");
    for _ in 0..2 {
        assert_eq!(reserve(&*gate, &retry(&first)).await.expect("the key has the last unit"), first.saga);
    }
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((1, 1), (9, 2)));
    gate.release(std::slice::from_ref(&first)).await.expect("it is the retry's now");
    assert_eq!(standing(&*gate, A).await, (1, 1));
    let others = wish(&[(A, 1)]);
    assert!(sold_out(&reserve(&*gate, &others).await).is_some(), "another key has no unit");

    let other_body = Hold { body: Digest::of(&[b"other"]), ..retry(&first) };
    let refused = reserve(&*gate, &other_body).await;
    assert!(matches!(refused, Err(HoldError::KeyReused(saga)) if saga == first.saga), "{refused:?}");
    let both = gate.reserve(&[retry(&first), retry(&first)]).await;
    assert!(both.iter().all(|answer| matches!(answer, Ok(saga) if *saga == first.saga)), "{both:?}");
}

async fn a_key_that_has_bought_is_not_sold_again(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let first = wish(&[(A, 1), (B, 2)]);
    reserve(&*gate, &first).await.expect("held");
    gate.ordered(std::slice::from_ref(&first)).await.expect("ordered");
    gate.confirm(std::slice::from_ref(&first)).await.expect("confirmed");
    let again = reserve(&*gate, &retry(&first)).await;
    assert!(matches!(again, Err(HoldError::KeySold(saga)) if saga == first.saga), "{again:?}");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((4, 0), (3, 0)));
}

async fn a_key_that_was_given_up_may_be_tried_again(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let first = wish(&[(A, 1), (B, 2)]);
    reserve(&*gate, &first).await.expect("held");
    gate.release(std::slice::from_ref(&first)).await.expect("released");
    let again = retry(&first);
    assert_eq!(reserve(&*gate, &again).await.expect("held"), again.saga);
    assert!(matches!(reserve(&*gate, &first).await, Ok(saga) if saga == again.saga), "a late first try");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 1), (5, 2)));
}

async fn everything_about_a_product_is_seen_at_once(gate: Arc<dyn StockGate>) {
    assert_eq!(gate.inspect(A).await.expect("answers"), None);
    loaded(&*gate, 9, 9).await;
    let before = gate.inspect(A).await.expect("answers").expect("loaded");
    assert_eq!((before.level, before.holds), (level(A, 9), Vec::new()));
    let (open, ordered) = (wish(&[(A, 1), (B, 1)]), wish(&[(A, 2)]));
    assert!(gate.reserve(&[open.clone(), ordered.clone()]).await.iter().all(Result::is_ok));
    gate.ordered(std::slice::from_ref(&ordered)).await.expect("ordered");
    let now = gate.inspect(A).await.expect("answers").expect("loaded");
    assert_eq!(now.level, StockLevel { reserved: 3, ..level(A, 9) });
    assert!(now.changes > before.changes, "every change is counted");
    let mut holds = now.holds;
    holds.sort_by_key(|(hold, _)| hold.saga);
    assert_eq!(holds, [(part(&open, A), false), (ordered, true)]);
}

async fn stock_is_corrected_only_while_nothing_changes(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 9, 9).await;
    let hold = wish(&[(A, 2)]);
    reserve(&*gate, &hold).await.expect("held");
    let seen = gate.inspect(A).await.expect("answers").expect("loaded").changes;
    reserve(&*gate, &wish(&[(A, 1)])).await.expect("held");
    assert!(!gate.correct(A, 20, LOADED + 5, seen).await.expect("answers"), "it has changed since");
    assert_eq!(standing(&*gate, A).await, (9, 3));
    let seen = gate.inspect(A).await.expect("answers").expect("loaded").changes;
    assert!(gate.correct(A, 20, LOADED + 5, seen).await.expect("answers"));
    assert!(!gate.correct(A, 30, LOADED + 6, seen).await.expect("answers"), "that was a change");
    assert_eq!(standing(&*gate, A).await, (20, 3));
    gate.adjust(&[change(A, 7, LOADED + 5), change(A, 1, LOADED + 6)]).await.expect("adjusted");
    assert_eq!(standing(&*gate, A).await, (21, 3), "earlier changes are in the correction");
    assert!(!gate.correct(ProductId(77), 1, 1, 0).await.expect("answers"), "it is not loaded");
}

async fn products_that_are_not_loaded_are_named(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let unknown = ProductId(77);
    let answer = reserve(&*gate, &wish(&[(A, 1), (unknown, 1)])).await;
    assert!(matches!(&answer, Err(HoldError::NotLoaded(products)) if *products == [unknown]), "{answer:?}");
    assert_eq!(standing(&*gate, A).await, (5, 0), "nothing is held");
    assert_eq!(available(&*gate, &[unknown, A]).await, [None, Some(5)]);
    gate.adjust(&[change(unknown, 5, LOADED + 1)]).await.expect("ignored");
    assert_eq!(available(&*gate, &[unknown]).await, [None], "not loaded by a change");
    gate.confirm(&[wish(&[(unknown, 1)])]).await.expect("ignored");
    gate.release(&[wish(&[(unknown, 1)])]).await.expect("ignored");
    assert_eq!(available(&*gate, &[unknown]).await, [None]);
}

async fn products_are_loaded_with_the_holds_of_their_orders(gate: Arc<dyn StockGate>) {
    let hold = wish(&[(A, 2), (B, 1)]);
    let stocked = |product, reserved| Shelf {
        level: StockLevel { reserved, ..level(product, 5) },
        pending: vec![part(&hold, product)],
        ..shelf(product, 5)
    };
    gate.load(&[stocked(A, 2)]).await.expect("loaded");
    gate.load(&[stocked(B, 1)]).await.expect("loaded");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (5, 1)));
    assert!(overdue(&*gate, ALWAYS).await.is_empty(), "they have an order");
    let refused = reserve(&*gate, &wish(&[(A, 4)])).await;
    assert_eq!(sold_out(&refused), Some((vec![(A, 4, 3)], false)), "an order explains it");
    gate.confirm(std::slice::from_ref(&hold)).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
}

async fn loading_again_changes_nothing(gate: Arc<dyn StockGate>) {
    let (sold, open) = (wish(&[(A, 2)]), wish(&[(A, 1)]));
    let stocked = [Shelf { pending: vec![sold.clone(), open.clone()], ..shelf(A, 5) }];
    gate.load(&stocked).await.expect("loaded");
    gate.confirm(std::slice::from_ref(&sold)).await.expect("confirmed");
    let later = Driver { epoch: 2, ..driver(2) };
    gate.ordered(&[by(later, &open)]).await.expect("taken over");
    gate.load(&stocked).await.expect("loaded");
    assert_eq!(standing(&*gate, A).await, (3, 1));
    gate.release(std::slice::from_ref(&open)).await.expect("another's hold is left alone");
    assert_eq!(standing(&*gate, A).await, (3, 1));
}

async fn changes_of_stock_are_followed(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 4)]);
    reserve(&*gate, &hold).await.expect("held");
    let later = change(A, -4, LOADED + 9);
    for _ in 0..2 {
        gate.adjust(&[later, later]).await.expect("adjusted");
        assert_eq!(standing(&*gate, A).await, (1, 4), "once; the ledger decides, the gate follows");
    }
    gate.adjust(&[change(A, 2, LOADED + 8)]).await.expect("adjusted");
    assert_eq!(standing(&*gate, A).await, (3, 4), "in any order");
    gate.adjust(&[change(A, 50, LOADED), change(A, 50, LOADED - 1)]).await.expect("ignored");
    assert_eq!(standing(&*gate, A).await, (3, 4), "it was loaded with them");
    let refused = reserve(&*gate, &wish(&[(A, 1)])).await;
    assert_eq!(sold_out(&refused), Some((vec![(A, 1, 0)], true)), "never negative");
    gate.release(std::slice::from_ref(&hold)).await.expect("released");
    assert_eq!(standing(&*gate, A).await, (3, 0));
}

async fn a_crowd_holds_no_more_than_there_is(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 50, 50).await;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { reserve(&*gate, &wish(&[(A, 1), (B, 1)])).await.is_ok() })
        })
        .collect();
    let mut held = 0;
    for task in tasks {
        held += i64::from(task.await.expect("a task ends"));
    }
    assert_eq!(held, 50);
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((50, 50), (50, 50)));
}

async fn over_redis() -> Arc<RedisStockGate> {
    Arc::new(RedisStockGate::new(redis_cluster::cluster().await, &redis_cluster::fresh_prefix()))
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                all_lines_are_held_or_none,
                a_batch_is_served_in_order_of_arrival,
                the_same_hold_is_held_once,
                a_confirmed_hold_leaves_stock_and_reserved_once,
                a_released_hold_is_given_back_once,
                a_hold_that_has_ended_can_hold_nothing_more,
                a_driver_that_was_replaced_ends_nothing,
                a_hold_that_never_was_ends_without_effect,
                a_refusal_says_whether_holds_without_an_order_explain_it,
                every_short_line_has_to_be_explained,
                only_holds_without_an_order_become_overdue,
                a_hold_belongs_to_the_driver_who_owns_its_order,
                an_order_whose_hold_was_lost_has_it_again,
                a_retry_on_another_server_goes_on_with_the_first_hold,
                a_key_that_has_bought_is_not_sold_again,
                a_key_that_was_given_up_may_be_tried_again,
                everything_about_a_product_is_seen_at_once,
                stock_is_corrected_only_while_nothing_changes,
                products_that_are_not_loaded_are_named,
                products_are_loaded_with_the_holds_of_their_orders,
                loading_again_changes_nothing,
                changes_of_stock_are_followed,
                a_crowd_holds_no_more_than_there_is,
            ]
        );
    };
}

behaviours!(memory, std::sync::Arc::new(super::MemoryStockGate::default()));
behaviours!(cluster, super::over_redis().await);
