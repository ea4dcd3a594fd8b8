//! Payments that need their customers first: whatever they do, and whatever goes wrong meanwhile, each order
//! ends in one way, with nothing left behind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::adapters::gateway::Faults;
use holdfast::domain::{
    NextAction, Order, OrderId, OrderStatus, Purchase, Reason, Refusal, StepName, UserId,
};
use holdfast::ports::payments::{ChargeState, Payments as _};
use holdfast::saga::{Answer, CancelAnswer, ContinueAnswer, EngineConfig, PurchaseAnswer};
use tokio::time::Instant;

use crate::support::goods::{paid_with, purchase};
use crate::support::misbehaving::{Fault, Half, Script};
use crate::support::shop::{CONFIG, Home, NO_FAULTS, PATIENCE, Process, Shop};
use crate::support::{slate, wait_for};

use Half::{Act, Undo};
use StepName::{ConfirmOrder, CreateOrder, ReserveStock, TakePayment};

/// Time that customers have who do not come.
const SHORT: Duration = Duration::from_millis(150);

/// What the customer does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Customer {
    Accepts,
    Refuses,
    StaysAway,
    Cancels,
}

use Customer::{Accepts, Cancels, Refuses, StaysAway};

impl Customer {
    fn ending(self) -> (OrderStatus, Option<Reason>) {
        match self {
            Accepts => (OrderStatus::Confirmed, None),
            Refuses => (OrderStatus::Failed, Some(Reason::PaymentDeclined)),
            StaysAway => (OrderStatus::Failed, Some(Reason::Expired)),
            Cancels => (OrderStatus::Cancelled, Some(Reason::CancelledByCustomer)),
        }
    }

    fn config(self) -> EngineConfig {
        let customer_within = if self == StaysAway { SHORT } else { CONFIG.customer_within };
        EngineConfig { customer_within, ..CONFIG }
    }
}

fn wish(user: i64, key: &str, product: holdfast::domain::ProductId, units: i64) -> Purchase {
    paid_with("tok_3ds", purchase(user, key, &[(product, units)]))
}

/// Where the gateway has the money of an order.
async fn charge(shop: &Shop, order: OrderId) -> Option<ChargeState> {
    shop.payments.look_up(order).await.expect("the gateway answers").map(|found| found.state)
}

/// Goes on with everything that waits, stopped or sticks.
async fn move_on(shop: &Shop) {
    shop.engine.recover_idle(Duration::ZERO).await.expect("the ledger answers");
    for saga in shop.waiting().await {
        shop.engine.nudge(saga).await.expect("the ledger answers");
    }
    for saga in shop.stuck().await {
        shop.engine.resume(saga).await.expect("the ledger answers");
    }
}

async fn has_ended(shop: &Shop) -> bool {
    shop.engine.in_flight() == 0 && shop.ledger.open_sagas(1).await.expect("the ledger answers").is_empty()
}

/// Plays one purchase of two of five units whose payment needs the customer, with a fault. When the fault is a
/// crash, the process dies with it.
fn play(customer: Customer, fault: Option<(StepName, Half, Fault)>) {
    let context = format!("{customer:?}, {fault:?}");
    let home = Home::new();
    let script = Script::new(&fault.into_iter().collect::<Vec<_>>());
    let crashes = matches!(fault, Some((_, _, Fault::Crash { .. })));
    let config = customer.config();
    let mut process = Process::start_as(&home, config, NO_FAULTS, &|step| script.wrap(step));
    let product = process.run(process.shop.stock(&[5]))[0];
    let shop = Arc::clone(&process.shop);
    // Whatever the buyer is told, and whether they are: the order is looked for in the ledger.
    drop(process.runtime.spawn(async move { shop.engine.purchase(wish(1, "key", product, 2)).await }));
    let mut has_acted = false;
    let until = Instant::now() + PATIENCE;
    loop {
        if crashes && script.has_struck() && !script.is_healed() {
            script.heal();
            process.kill();
            process = Process::start_as(&home, config, NO_FAULTS, &|step| step);
        }
        let done = process.run(async {
            let shop = &process.shop;
            let Some(order) = shop.only_order().await else { return false };
            if !has_acted && charge(shop, order.id).await == Some(ChargeState::Waiting) {
                let resting = shop.waiting().await == [order.id];
                if !resting && matches!(customer, Accepts | Refuses) {
                    // Before it rests the customer does not know where to go.
                    return false;
                }
                assert_eq!(order.status, OrderStatus::Pending, "{context}");
                has_acted = true;
                match customer {
                    Accepts | Refuses => {
                        let said = shop.payments.authenticate(order.id, customer == Accepts).await;
                        said.expect("the gateway answers").expect("it waits");
                    }
                    StaysAway => {}
                    Cancels => {
                        // It is not carried out while a crash keeps the saga from it.
                        let cancel = shop.engine.cancel_order(order.id, UserId(1));
                        let patience = if crashes { Duration::from_millis(100) } else { PATIENCE };
                        let _ = tokio::time::timeout(patience, cancel).await;
                    }
                }
            }
            if has_acted {
                move_on(shop).await;
            } else {
                shop.engine.recover_idle(Duration::ZERO).await.expect("the ledger answers");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            let order = shop.only_order().await.expect("an order");
            order.status != OrderStatus::Pending && (!crashes || script.is_healed()) && has_ended(shop).await
        });
        if done {
            break;
        }
        assert!(Instant::now() < until, "{context}: it does not end");
        std::thread::yield_now();
    }
    process.run(async {
        let shop = &process.shop;
        shop.sweep().await;
        slate::assert_clean(shop, 0, &context).await;
        let order = shop.only_order().await.expect("an order");
        assert_eq!((order.status, order.reason), customer.ending(), "{context}");
        let wanted = match customer {
            Accepts => ChargeState::Captured,
            Refuses => ChargeState::Declined,
            StaysAway | Cancels => ChargeState::Voided,
        };
        assert_eq!(charge(shop, order.id).await, Some(wanted), "{context}");
        // Later nothing changes any more.
        shop.payments.authenticate(order.id, true).await.expect("the gateway answers");
        assert_eq!(charge(shop, order.id).await, Some(wanted), "{context}");
        assert!(!shop.engine.nudge(order.id).await.expect("the ledger answers"), "{context}");
        let Answer::Order(again) = shop.buy(wish(1, "key", product, 2)).await else { panic!("{context}") };
        assert_eq!(*again, *order, "{context}: the key stands for the order");
        let left = if customer == Accepts { 3 } else { 5 };
        let Answer::Order(rest) = shop.buy(purchase(2, "rest", &[(product, left)])).await else {
            panic!("{context}")
        };
        assert_eq!(rest.status, OrderStatus::Confirmed, "{context}");
        slate::assert_clean(shop, 0, &format!("{context}, all sold")).await;
    });
    process.kill();
}

fn play_each(fault: impl Fn(Customer) -> Vec<(StepName, Half, Fault)>) {
    for customer in [Accepts, Refuses, StaysAway, Cancels] {
        for fault in fault(customer) {
            play(customer, Some(fault));
        }
    }
}

/// The steps that such a purchase takes: forward and back.
fn way(customer: Customer) -> Vec<(StepName, Half)> {
    let mut way = vec![(TakePayment, Act)];
    match customer {
        Accepts => way.push((ConfirmOrder, Act)),
        Refuses => way.extend([(CreateOrder, Undo), (ReserveStock, Undo)]),
        StaysAway | Cancels => way.extend([(TakePayment, Undo), (CreateOrder, Undo), (ReserveStock, Undo)]),
    }
    way
}

#[test]
fn each_thing_that_a_customer_can_do_ends_the_order_in_one_way() {
    for customer in [Accepts, Refuses, StaysAway, Cancels] {
        play(customer, None);
    }
}

#[test]
fn a_step_of_a_payment_that_waits_answers_at_the_fourth_try() {
    for effect in [false, true] {
        let silent = Fault::Silent { effect, times: 3 };
        play_each(|customer| way(customer).into_iter().map(|(step, half)| (step, half, silent)).collect());
    }
}

#[test]
fn a_step_of_a_payment_that_waits_is_done_twice() {
    play_each(|customer| way(customer).into_iter().map(|(step, half)| (step, half, Fault::Twice)).collect());
}

#[test]
fn a_process_dies_anywhere_on_the_way_of_a_payment_that_waits() {
    for effect in [false, true] {
        let crash = Fault::Crash { effect };
        play_each(|customer| way(customer).into_iter().map(|(step, half)| (step, half, crash)).collect());
    }
}

#[test]
fn a_worker_panics_anywhere_on_the_way_of_a_payment_that_waits() {
    for effect in [false, true] {
        let panic = Fault::Panic { effect };
        play_each(|customer| way(customer).into_iter().map(|(step, half)| (step, half, panic)).collect());
    }
}

async fn needs_customer(shop: &Shop, purchase: Purchase) -> (Arc<Order>, NextAction) {
    match shop.buy(purchase).await {
        Answer::NeedsCustomer(order, action) => (order, action),
        other => panic!("the customer should have to act: {other:?}"),
    }
}

async fn continued(shop: &Shop, order: OrderId) -> PurchaseAnswer {
    match shop.engine.continue_payment(order, UserId(1)).await.expect("the ledger answers") {
        ContinueAnswer::Known(answer) => answer,
        ContinueAnswer::NotFound => panic!("there is such an order"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_takes_no_place_and_a_retry_is_told_the_same() {
    let home = Home::new();
    let config = EngineConfig { in_flight_max: 2, ..CONFIG };
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| step).await;
    let product = shop.stock(&[20]).await[0];
    let mut waiting = Vec::new();
    for n in 0..10 {
        waiting.push(needs_customer(&shop, wish(1, &n.to_string(), product, 1)).await);
        wait_for("it to take no place", PATIENCE, async || shop.engine.in_flight() == 0).await;
    }
    for (n, told) in waiting.iter().enumerate() {
        let again = needs_customer(&shop, wish(1, &n.to_string(), product, 1)).await;
        assert_eq!((again.0.id, &again.1), (told.0.id, &told.1));
        let NextAction::RedirectToUrl { url } = &told.1;
        assert_eq!(**url, *format!("/challenge/{}", told.0.id));
    }
    let ids: Vec<_> = waiting.iter().map(|(order, _)| order.id).collect();
    assert_eq!(shop.waiting().await, ids);
    assert_eq!(shop.engine.look_at_waiting().await.expect("answers"), 0, "nothing is due yet");
    assert_eq!(shop.engine.recover_idle(Duration::ZERO).await.expect("answers"), 0, "nothing has stopped");
    assert!(shop.engine.drain(Duration::ZERO).await, "nobody waits for customers when the shop closes");
    drop(shop);

    // The next process leaves them at rest, too, and goes on with each when it is told to.
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| step).await;
    shop.keeper.load_all().await.expect("the gate loads");
    assert_eq!((shop.waiting().await, shop.engine.in_flight()), (ids.clone(), 0));
    let held = shop.gate.levels(&[product]).await.expect("the gate answers")[0].expect("loaded");
    assert_eq!((held.stock, held.reserved), (20, 10));
    for (n, id) in ids.iter().enumerate() {
        assert!(matches!(continued(&shop, *id).await, PurchaseAnswer::Ended(Answer::NeedsCustomer(..))));
        shop.payments.authenticate(*id, n % 2 == 0).await.expect("answers");
        let PurchaseAnswer::Ended(Answer::Order(order)) = continued(&shop, *id).await else { panic!() };
        let wanted = if n % 2 == 0 { OrderStatus::Confirmed } else { OrderStatus::Failed };
        assert_eq!((order.id, order.status), (*id, wanted));
    }
    let nobodys = shop.engine.continue_payment(ids[0], UserId(2)).await.expect("answers");
    assert!(matches!(nobodys, ContinueAnswer::NotFound), "{nobodys:?}");
    slate::assert_clean(&shop, 0, "continued").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_stays_held_while_its_customer_acts_and_comes_back_when_they_do_not() {
    let home = Home::new();
    let config = EngineConfig { customer_within: Duration::from_millis(600), ..CONFIG };
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| step).await;
    let product = shop.stock(&[1]).await[0];
    let (order, _) = needs_customer(&shop, wish(1, "key", product, 1)).await;
    let over = shop.buy(purchase(2, "key", &[(product, 1)])).await;
    assert!(matches!(over, Answer::Refused(Refusal::SoldOut(_))), "{over:?}");
    wait_for("its time to be over", PATIENCE, async || {
        shop.engine.look_at_waiting().await.expect("answers");
        shop.ledger.order(order.id).await.expect("answers").expect("an order").status == OrderStatus::Failed
    })
    .await;
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "expired").await;
    let sold = shop.buy(purchase(2, "key", &[(product, 1)])).await;
    assert!(matches!(sold, Answer::Order(order) if order.status == OrderStatus::Confirmed));
    assert_eq!(charge(&shop, order.id).await, Some(ChargeState::Voided));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_silent_for_a_while_sends_no_customer_away() {
    let home = Home::new();
    let silent = Faults { timeout_before_rate: 1.0, timeout_ms: 1, ..NO_FAULTS };
    let config = EngineConfig { customer_within: Duration::from_secs(60), ..CONFIG };
    let (order, product) = {
        let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| step).await;
        let product = shop.stock(&[1]).await[0];
        (needs_customer(&shop, wish(1, "key", product, 1)).await.0, product)
    };
    {
        // A token that is not known to the dice would be declined; what is stored stays a test token.
        let shop = Shop::open_with(&home, config, silent.clone(), &|step| step).await;
        for _ in 0..3 {
            let answer = continued(&shop, order.id).await;
            assert!(matches!(answer, PurchaseAnswer::Ended(Answer::NeedsCustomer(..))), "{answer:?}");
        }
    }
    let shop = Shop::open_with(&home, config, NO_FAULTS, &|step| step).await;
    shop.keeper.load_all().await.expect("the gate loads");
    shop.payments.authenticate(order.id, true).await.expect("answers");
    let answer = continued(&shop, order.id).await;
    assert!(matches!(&answer, PurchaseAnswer::Ended(Answer::Order(o)) if o.status == OrderStatus::Confirmed));
    slate::assert_clean(&shop, 0, &format!("confirmed after all, {product}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_accepts_as_the_time_ends_has_paid_or_has_not() {
    const ORDERS: i64 = 60;
    let home = Home::new();
    let within = Duration::from_millis(400);
    let config = EngineConfig { customer_within: within, ..CONFIG };
    let shop = Arc::new(Shop::open_with(&home, config, NO_FAULTS, &|step| step).await);
    let product = shop.stock(&[ORDERS]).await[0];
    let customer = |user: i64| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            let begun = Instant::now();
            let (order, _) = needs_customer(&shop, wish(user, "key", product, 1)).await;
            let moment = within + Duration::from_millis(user.unsigned_abs() / 2) - Duration::from_millis(15);
            tokio::time::sleep_until(begun + moment).await;
            shop.payments.authenticate(order.id, true).await.expect("the gateway answers");
            if user % 2 == 0 {
                shop.engine.nudge(order.id).await.expect("the ledger answers");
            }
        })
    };
    let customers: Vec<_> = (0..ORDERS).map(customer).collect();
    let looking = {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            loop {
                shop.engine.look_at_waiting().await.expect("the ledger answers");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    for customer in join_all(customers).await {
        customer.expect("a customer's task ends");
    }
    wait_for("every order has ended", PATIENCE, async || has_ended(&shop).await).await;
    looking.abort();
    shop.until_quiet().await;
    slate::assert_clean(&shop, 0, "at the last moment").await;
    let orders = shop.ledger.orders_after(None, 1_000).await.expect("answers");
    let mut counts = (0, 0, 0);
    for order in &orders {
        match (order.status, charge(&shop, order.id).await) {
            (OrderStatus::Confirmed, Some(ChargeState::Captured)) => counts.0 += 1,
            (OrderStatus::Failed, Some(ChargeState::Voided)) => counts.1 += 1,
            (OrderStatus::Failed, Some(ChargeState::Refunded)) => counts.2 += 1,
            other => panic!("{other:?}"),
        }
        let expired = order.status == OrderStatus::Failed;
        assert_eq!(order.reason, expired.then_some(Reason::Expired));
    }
    eprintln!("{} paid in time, {} voided, {} refunded", counts.0, counts.1, counts.2);
    assert_eq!(orders.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_order_that_waits_drives_it_once() {
    let home = Home::new();
    let shop = Arc::new(Shop::open(&home).await);
    let product = shop.stock(&[50]).await[0];
    for round in 0..20 {
        let key = round.to_string();
        let (order, _) = needs_customer(&shop, wish(1, &key, product, 1)).await;
        let (accepts, cancels) = (round % 4 != 1, round % 4 == 3);
        let task = |n: usize| {
            let (shop, id, key) = (Arc::clone(&shop), order.id, key.clone());
            tokio::spawn(async move {
                match n % 4 {
                    0 => drop(shop.engine.nudge(id).await.expect("answers")),
                    1 => drop(shop.engine.continue_payment(id, UserId(1)).await.expect("answers")),
                    2 => drop(shop.engine.purchase(wish(1, &key, product, 1)).await.expect("answers")),
                    _ if cancels => drop(shop.engine.cancel_order(id, UserId(1)).await.expect("answers")),
                    _ => drop(shop.engine.look_at_waiting().await.expect("answers")),
                }
            })
        };
        let mut tasks: Vec<_> = (0..12).map(task).collect();
        shop.payments.authenticate(order.id, accepts).await.expect("the gateway answers");
        tasks.extend((0..8).map(task));
        for task in join_all(tasks).await {
            task.expect("a task ends");
        }
        // Nothing is left to the looks that come later: the last one who asked saw that the customer had acted.
        let answer = continued(&shop, order.id).await;
        let PurchaseAnswer::Ended(Answer::Order(order)) = answer else { panic!("{round}: {answer:?}") };
        match order.status {
            OrderStatus::Confirmed => assert!(accepts && !cancels, "{round}"),
            OrderStatus::Failed => assert!(!accepts, "{round}"),
            OrderStatus::Cancelled => assert!(cancels, "{round}"),
            OrderStatus::Pending => panic!("{round}: it has ended"),
        }
    }
    wait_for("all to end", PATIENCE, async || has_ended(&shop).await).await;
    slate::assert_clean(&shop, 0, "after the crowd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_an_order_that_waits_is_carried_out_at_once() {
    let home = Home::new();
    let shop = Shop::open(&home).await;
    let product = shop.stock(&[1]).await[0];
    for (n, acts) in [None, Some(true), Some(false)].into_iter().enumerate() {
        let (order, _) = needs_customer(&shop, wish(1, &n.to_string(), product, 1)).await;
        // The customer may have acted just before, and nobody has heard of it.
        if let Some(accepts) = acts {
            shop.payments.authenticate(order.id, accepts).await.expect("answers");
        }
        let answer = shop.engine.cancel_order(order.id, UserId(1)).await.expect("answers");
        let CancelAnswer::Done(cancelled) = answer else { panic!("{answer:?}") };
        assert_eq!((cancelled.id, cancelled.status), (order.id, OrderStatus::Cancelled));
        let wanted = match acts {
            None => ChargeState::Voided,
            Some(true) => ChargeState::Refunded,
            Some(false) => ChargeState::Declined,
        };
        assert_eq!(charge(&shop, order.id).await, Some(wanted));
        slate::assert_clean(&shop, 0, "cancelled while it waited").await;
    }
    let listed = shop.payments.list(None, 10).await.expect("the list");
    assert_eq!(listed.len(), 3);
}
