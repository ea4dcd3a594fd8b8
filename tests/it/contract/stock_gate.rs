//! What every stock gate promises.

use std::sync::Arc;

use holdfast::adapters::memory::MemoryStockGate;
use holdfast::domain::{Driver, Left, OrderId, ProductId, StockLevel, Timestamp};
use holdfast::ports::stock_gate::{HoldError, HoldRef, HoldRequest, StockGate};

use crate::support::goods::{basket, driver, new_order_id};

use super::suite;

const A: ProductId = ProductId(1);
const B: ProductId = ProductId(2);
const DEADLINE: Timestamp = Timestamp(1_000);

fn level(product: ProductId, stock: i64) -> StockLevel {
    StockLevel { product, stock, reserved: 0 }
}

fn wish(lines: &[(ProductId, i64)]) -> HoldRequest {
    let lines = Arc::clone(basket(lines).lines());
    HoldRequest { saga: new_order_id(), driver: driver(1), lines, deadline: DEADLINE }
}

fn of(request: &HoldRequest) -> HoldRef {
    HoldRef { saga: request.saga, driver: request.driver }
}

fn by(driver: Driver, request: &HoldRequest) -> HoldRequest {
    HoldRequest { driver, ..request.clone() }
}

async fn loaded(gate: &dyn StockGate, a: i64, b: i64) {
    gate.load(&[level(A, a), level(B, b)], &[]).await.expect("loaded");
}

async fn reserve(gate: &dyn StockGate, request: &HoldRequest) -> Result<(), HoldError> {
    let mut answers = gate.reserve(std::slice::from_ref(request)).await;
    assert_eq!(answers.len(), 1, "one answer a request");
    answers.remove(0)
}

/// `(stock, reserved)` of a product.
async fn standing(gate: &dyn StockGate, product: ProductId) -> (i64, i64) {
    let levels = gate.levels().await.expect("levels");
    let level = levels.iter().find(|level| level.product == product).expect("loaded");
    (level.stock, level.reserved)
}

async fn overdue(gate: &dyn StockGate, now: i64) -> Vec<OrderId> {
    gate.overdue(Timestamp(now)).await.expect("holds").into_iter().map(|hold| hold.saga).collect()
}

/// `(product, requested, left)` of a refused line.
type Line = (ProductId, u32, i64);

fn sold_out(answer: &Result<(), HoldError>) -> Option<(Vec<Line>, bool)> {
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
    assert_eq!(gate.available(&[B, A]).await.expect("answers"), [Some(0), Some(3)]);
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
        reserve(&*gate, &hold).await.expect("held, though nothing is left");
    }
    assert!(gate.reserve(&[hold.clone(), hold]).await.iter().all(Result::is_ok));
    assert_eq!(standing(&*gate, A).await, (5, 5));
}

async fn a_confirmed_hold_leaves_stock_and_reserved_once(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &hold).await.expect("held");
    for _ in 0..2 {
        gate.confirm(&[of(&hold), of(&hold)]).await.expect("confirmed");
    }
    gate.release(&[of(&hold)]).await.expect("nothing to release");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
}

async fn a_released_hold_is_given_back_once(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 2), (B, 1)]);
    reserve(&*gate, &hold).await.expect("held");
    for _ in 0..2 {
        gate.release(&[of(&hold), of(&hold)]).await.expect("released");
    }
    gate.confirm(&[of(&hold)]).await.expect("nothing to confirm");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 0), (5, 0)));
}

async fn a_hold_that_has_ended_can_hold_nothing_more(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let (sold, released) = (wish(&[(A, 1)]), wish(&[(A, 1)]));
    assert!(gate.reserve(&[sold.clone(), released.clone()]).await.iter().all(Result::is_ok));
    gate.confirm(&[of(&sold)]).await.expect("confirmed");
    gate.release(&[of(&released)]).await.expect("released");
    for late in [sold, released] {
        assert!(matches!(reserve(&*gate, &late).await, Err(HoldError::Finished)));
    }
    assert_eq!(standing(&*gate, A).await, (4, 0));
}

async fn a_driver_that_was_replaced_ends_nothing(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let old = wish(&[(A, 2)]);
    let next_epoch = Driver { epoch: 2, ..old.driver };
    for new in [by(next_epoch, &old), by(driver(2), &old)] {
        reserve(&*gate, &old).await.expect("held");
        reserve(&*gate, &new).await.expect("taken over");
        gate.release(&[of(&old)]).await.expect("another's hold is left alone");
        gate.confirm(&[of(&old)]).await.expect("another's hold is left alone");
        assert_eq!(standing(&*gate, A).await, (5, 2));
    }
    gate.release(&[of(&by(driver(2), &old))]).await.expect("released");
    assert_eq!(standing(&*gate, A).await, (5, 0));
}

async fn a_hold_that_never_was_ends_without_effect(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let never = wish(&[(A, 2)]);
    gate.release(&[of(&never)]).await.expect("nothing to release");
    gate.confirm(&[of(&never)]).await.expect("nothing to confirm");
    gate.ordered(&[of(&never)]).await.expect("nothing to keep");
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
        gate.ordered(&[of(&first)]).await.expect("ordered");
    }
    assert!(may_return(2).await, "the second may go away");
    assert!(!may_return(3).await, "the first has its order");

    gate.release(&[of(&first)]).await.expect("released");
    assert!(may_return(4).await, "the first is back, the second may come");
    gate.confirm(&[of(&second)]).await.expect("confirmed");
    assert!(!may_return(4).await, "the second is sold");
    assert_eq!(standing(&*gate, A).await, (3, 0));
}

async fn every_short_line_has_to_be_explained(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 2, 2).await;
    let (a, b) = (wish(&[(A, 2)]), wish(&[(B, 2)]));
    assert!(gate.reserve(&[a, b.clone()]).await.iter().all(Result::is_ok));
    gate.ordered(&[of(&b)]).await.expect("ordered");
    let refused = reserve(&*gate, &wish(&[(A, 1), (B, 1)])).await;
    assert!(!sold_out(&refused).expect("sold out").1, "B will not come back");
}

async fn only_holds_without_an_order_become_overdue(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 9, 9).await;
    let (waiting, ordered, ended) = (wish(&[(A, 1)]), wish(&[(A, 1)]), wish(&[(A, 1)]));
    for hold in [&waiting, &ordered, &ended] {
        reserve(&*gate, hold).await.expect("held");
    }
    gate.ordered(&[of(&ordered)]).await.expect("ordered");
    gate.release(&[of(&ended)]).await.expect("released");
    assert!(overdue(&*gate, DEADLINE.0).await.is_empty(), "not before the deadline has passed");
    assert_eq!(overdue(&*gate, DEADLINE.0 + 1).await, [waiting.saga]);
    let taken_over = by(driver(2), &waiting);
    reserve(&*gate, &taken_over).await.expect("taken over");
    let found = gate.overdue(Timestamp(i64::MAX)).await.expect("holds");
    assert_eq!(found[0].driver, taken_over.driver, "named with its present driver");
    gate.release(&found).await.expect("released");
    assert_eq!(standing(&*gate, A).await, (9, 1), "only the ordered one is left");
}

async fn the_order_of_another_drivers_hold_is_not_believed(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 9, 9).await;
    let hold = wish(&[(A, 1)]);
    reserve(&*gate, &by(driver(2), &hold)).await.expect("held");
    gate.ordered(&[of(&hold)]).await.expect("left alone");
    assert_eq!(overdue(&*gate, i64::MAX).await, [hold.saga]);
}

async fn unknown_products_are_named(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let unknown = ProductId(77);
    let answer = reserve(&*gate, &wish(&[(A, 1), (unknown, 1)])).await;
    assert!(matches!(answer, Err(HoldError::UnknownProduct(product)) if product == unknown), "{answer:?}");
    assert_eq!(standing(&*gate, A).await, (5, 0), "nothing is held");
    assert_eq!(gate.available(&[unknown, A]).await.expect("answers"), [None, Some(5)]);
    gate.adjust(unknown, 5).await.expect("ignored");
    assert_eq!(gate.available(&[unknown]).await.expect("answers"), [None], "not loaded by a change");
}

async fn products_are_loaded_with_the_holds_of_their_orders(gate: Arc<dyn StockGate>) {
    let hold = wish(&[(A, 2), (B, 1)]);
    let reserved = |level: StockLevel, reserved| StockLevel { reserved, ..level };
    let levels = [reserved(level(A, 5), 2), reserved(level(B, 5), 1)];
    gate.load(&levels, std::slice::from_ref(&hold)).await.expect("loaded");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((5, 2), (5, 1)));
    assert!(overdue(&*gate, i64::MAX).await.is_empty(), "they have an order");
    let refused = reserve(&*gate, &wish(&[(A, 4)])).await;
    assert_eq!(sold_out(&refused), Some((vec![(A, 4, 3)], false)), "an order explains it");
    gate.confirm(&[of(&hold)]).await.expect("confirmed");
    assert_eq!((standing(&*gate, A).await, standing(&*gate, B).await), ((3, 0), (4, 0)));
}

async fn loading_again_changes_nothing(gate: Arc<dyn StockGate>) {
    let (sold, open) = (wish(&[(A, 2)]), wish(&[(A, 1)]));
    let holds = [sold.clone(), open.clone()];
    gate.load(&[level(A, 5)], &holds).await.expect("loaded");
    gate.confirm(&[of(&sold)]).await.expect("confirmed");
    reserve(&*gate, &by(driver(2), &open)).await.expect("taken over");
    gate.load(&[level(A, 5)], &holds).await.expect("loaded");
    assert_eq!(standing(&*gate, A).await, (3, 1));
    gate.release(&[of(&open)]).await.expect("another's hold is left alone");
    assert_eq!(standing(&*gate, A).await, (3, 1));
}

async fn changes_of_stock_are_followed(gate: Arc<dyn StockGate>) {
    loaded(&*gate, 5, 5).await;
    let hold = wish(&[(A, 4)]);
    reserve(&*gate, &hold).await.expect("held");
    gate.adjust(A, 2).await.expect("adjusted");
    assert_eq!(standing(&*gate, A).await, (7, 4));
    gate.adjust(A, -4).await.expect("adjusted");
    assert_eq!(standing(&*gate, A).await, (3, 4), "the ledger decides, the gate follows");
    assert_eq!(gate.available(&[A]).await.expect("answers"), [Some(0)], "never negative");
    let refused = reserve(&*gate, &wish(&[(A, 1)])).await;
    assert_eq!(sold_out(&refused), Some((vec![(A, 1, 0)], true)), "never negative");
    gate.release(&[of(&hold)]).await.expect("released");
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

suite!(
    memory,
    std::sync::Arc::new(super::MemoryStockGate::default()),
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
        the_order_of_another_drivers_hold_is_not_believed,
        unknown_products_are_named,
        products_are_loaded_with_the_holds_of_their_orders,
        loading_again_changes_nothing,
        changes_of_stock_are_followed,
        a_crowd_holds_no_more_than_there_is,
    ]
);
