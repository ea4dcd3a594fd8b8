//! The customer takes it back, at every moment there is.

use std::time::Duration;

use holdfast::domain::{OrderStatus, Reason, StepName, UserId};
use holdfast::saga::{Answer, CancelAnswer, EngineConfig, PurchaseAnswer};

use crate::support::goods::{PRICE, euro, new_order_id, new_product, now, paid_with, purchase};
use crate::support::misbehaving::{Fault, Half, Script};
use crate::support::shop::{CONFIG, Home, NO_FAULTS, PATIENCE, Shop};
use crate::support::{slate, wait_for};

use super::plot::{Cancel, Expected, Plot, Then};

use Half::{Act, Undo};
use StepName::{ConfirmOrder, CreateOrder, TakePayment};

fn cancelled_while_waiting(at: (StepName, Half), more: &[(StepName, Half, Fault)]) -> Plot {
    let mut faults = vec![(at.0, at.1, Fault::Wait)];
    faults.extend(more);
    Plot::new(&faults, Then::Ends, Expected::Cancelled).cancelled(Cancel::WhilePending)
}

#[test]
fn a_wish_before_the_payment_cancels() {
    cancelled_while_waiting((TakePayment, Act), &[]).play();
}

#[test]
fn a_wish_after_the_payment_cancels_and_refunds() {
    cancelled_while_waiting((ConfirmOrder, Act), &[]).play();
}

#[test]
fn a_wish_does_not_change_why_an_order_fails() {
    let declined = cancelled_while_waiting((TakePayment, Act), &[]).paid_with("tok_declined");
    Plot { expected: Expected::Failed(Reason::PaymentDeclined), ..declined }.play();
    let refused = [(ConfirmOrder, Act, Fault::Rejected(Reason::ConcurrentModification))];
    for step in [TakePayment, CreateOrder] {
        let failing = cancelled_while_waiting((step, Undo), &refused);
        Plot { expected: Expected::Failed(Reason::ConcurrentModification), ..failing }.play();
    }
}

#[test]
fn a_wish_outlives_the_process() {
    for (step, half) in [(TakePayment, Act), (ConfirmOrder, Act), (TakePayment, Undo), (CreateOrder, Undo)] {
        for effect in [false, true] {
            let plot = cancelled_while_waiting((TakePayment, Act), &[(step, half, Fault::Crash { effect })]);
            Plot { then: Then::Dies, ..plot }.play();
        }
    }
}

#[test]
fn a_wish_about_a_stuck_order_is_carried_out_when_it_is_resumed() {
    for then in [Then::Sticks, Then::SticksAndDies] {
        for step in [TakePayment, CreateOrder] {
            let refused = Fault::Rejected(Reason::ConcurrentModification);
            let plot = cancelled_while_waiting((TakePayment, Act), &[(step, Undo, refused)]);
            Plot { then, ..plot }.play();
        }
    }
}

#[test]
fn a_refund_that_fails_at_first_is_made_once() {
    for effect in [false, true] {
        let faults = [(TakePayment, Undo, Fault::Silent { effect, times: 3 })];
        Plot::new(&faults, Then::Ends, Expected::Cancelled).cancelled(Cancel::OnceConfirmed).play();
    }
}

#[test]
fn a_process_that_dies_between_refund_and_restock_does_each_once() {
    for fault in [
        (TakePayment, Undo, Fault::Crash { effect: true }),
        (ConfirmOrder, Undo, Fault::Crash { effect: false }),
    ] {
        Plot::new(&[fault], Then::Dies, Expected::Cancelled).cancelled(Cancel::OnceConfirmed).play();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_is_answered_by_what_the_order_is() {
    let home = Home::new();
    let shop = Shop::open(&home).await;
    let product = shop.stock(&[10]).await[0];
    let cancel = async |order, user| shop.engine.cancel_order(order, UserId(user)).await.expect("answers");

    let Answer::Order(order) = shop.buy(purchase(1, "a", &[(product, 2)])).await else { panic!() };
    assert!(matches!(cancel(new_order_id(), 1).await, CancelAnswer::NotFound));
    assert!(matches!(cancel(order.id, 2).await, CancelAnswer::NotFound), "somebody else's order");
    for _ in 0..2 {
        let CancelAnswer::Done(done) = cancel(order.id, 1).await else { panic!("it can be cancelled") };
        assert_eq!(done.status, OrderStatus::Cancelled);
    }
    let Answer::Order(failed) = shop.buy(paid_with("tok_declined", purchase(1, "b", &[(product, 2)]))).await
    else {
        panic!()
    };
    assert!(matches!(cancel(failed.id, 1).await, CancelAnswer::NotPossible(_)));
    let Answer::Order(again) = shop.buy(purchase(1, "a", &[(product, 2)])).await else { panic!() };
    assert_eq!((again.id, again.status), (order.id, OrderStatus::Cancelled), "the key stands for that order");
    slate::assert_clean(&shop, 0, "cancelled and failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_shop_records_the_wish_and_answers_in_time() {
    let home = Home::new();
    let config = EngineConfig { in_flight_max: 1, answer_within: Duration::from_millis(300), ..CONFIG };
    let script = Script::new(&[(CreateOrder, Act, Fault::Wait)]);
    let sold = {
        let shop = Shop::open(&home).await;
        let product = shop.stock(&[10]).await[0];
        let Answer::Order(sold) = shop.buy(purchase(1, "a", &[(product, 2)])).await else { panic!() };
        sold
    };
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| script.wrap(step)).await;
    let waiting = shop.engine.purchase(purchase(2, "b", &[(sold.lines[0].product_id, 1)])).await;
    assert!(matches!(waiting, Ok(PurchaseAnswer::TimedOut)), "{waiting:?}");
    let answer = tokio::time::timeout(PATIENCE, shop.engine.cancel_order(sold.id, UserId(1))).await;
    let answer = answer.expect("an answer, though the shop is full").expect("the ledger answers");
    assert!(matches!(answer, CancelAnswer::Recorded(_)), "{answer:?}");
    script.go();
    wait_for("the wish is carried out", PATIENCE, async || {
        shop.engine.recover_idle(Duration::ZERO).await.expect("the ledger answers");
        let order = shop.ledger.order(sold.id).await.expect("answers").expect("an order");
        order.status == OrderStatus::Cancelled
    })
    .await;
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "cancelled when there was room").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_shop_answers_in_time_that_a_stuck_saga_is_resumed() {
    let home = Home::new();
    let config = EngineConfig { in_flight_max: 1, answer_within: Duration::from_millis(300), ..CONFIG };
    let refused = Fault::Rejected(Reason::ConfirmFailed);
    let script = Script::new(&[(ConfirmOrder, Act, refused), (TakePayment, Undo, refused)]);
    let shop = Shop::open_with(&home, CONFIG, NO_FAULTS, &|step| script.wrap(step)).await;
    let product = shop.stock(&[10]).await[0];
    let Answer::Stuck(order) = shop.buy(purchase(1, "a", &[(product, 2)])).await else { panic!() };
    let next_script = Script::new(&[(CreateOrder, Act, Fault::Wait)]);
    drop(shop);
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| next_script.wrap(step)).await;
    let waiting = shop.engine.purchase(purchase(2, "b", &[(product, 1)])).await;
    assert!(matches!(waiting, Ok(PurchaseAnswer::TimedOut)), "{waiting:?}");
    let resumed = tokio::time::timeout(PATIENCE, shop.engine.resume(order.id)).await;
    assert!(resumed.expect("an answer, though the shop is full").expect("the ledger answers"));
    next_script.go();
    wait_for("the saga goes on", PATIENCE, async || {
        shop.engine.recover_idle(Duration::ZERO).await.expect("the ledger answers");
        let order = shop.ledger.order(order.id).await.expect("answers").expect("an order");
        order.status == OrderStatus::Failed
    })
    .await;
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "resumed when there was room").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_nothing_takes_no_payment_and_can_be_cancelled() {
    let home = Home::new();
    let shop = Shop::open(&home).await;
    let free = vec![new_product("free", 3, euro(0)), new_product("dear", 3, PRICE)];
    let free = shop.ledger.create_products(free, now()).await.expect("created")[0].id;
    shop.keeper.load_all().await.expect("the gate loads");
    // No card stands behind the token, and none is asked.
    let Answer::Order(order) = shop.buy(paid_with("tok_declined", purchase(1, "a", &[(free, 2)]))).await
    else {
        panic!()
    };
    assert_eq!(order.status, OrderStatus::Confirmed);
    slate::assert_clean(&shop, 0, "given away").await;
    let answer = shop.engine.cancel_order(order.id, UserId(1)).await.expect("answers");
    assert!(matches!(answer, CancelAnswer::Done(_)), "{answer:?}");
    slate::assert_clean(&shop, 0, "taken back").await;
}
