//! The gate is wrong in every way that it can be, and is mended hold by hold.

use std::sync::Arc;
use std::time::Duration;

use holdfast::domain::{Driver, Hold, InstanceId, Order, ProductId, Reason, Saga, StockChange, Timestamp};
use holdfast::ports::ledger::{Adjustment, Confirmation, CreateOrderError, NewOrder, SagaRef, Undoing};
use holdfast::saga::Summary;
use uuid::Uuid;

use crate::support::goods::{key_of, new_order_id, now, purchase};
use crate::support::shop::{Home, Shop};
use crate::support::slate;

/// Another server, which is gone in the middle of a purchase.
const OTHER: Driver = Driver { instance: InstanceId(Uuid::from_u128(77)), epoch: 1 };

/// A purchase of the other server.
fn attempt(product: ProductId, units: i64, deadline: Timestamp) -> (NewOrder, Hold) {
    let id = new_order_id();
    let mut purchase = purchase(1, &id.to_string(), &[(product, units)]);
    purchase.deadline = deadline;
    let purchase = Arc::new(purchase);
    let hold = Hold::of(&Saga::new(id, OTHER, Arc::clone(&purchase)));
    (NewOrder { id, driver: OTHER, purchase, at: now() }, hold)
}

struct Scene {
    _home: Home,
    shop: Shop,
    product: ProductId,
}

impl Scene {
    /// A shop with ten units of one product.
    async fn new() -> Self {
        let home = Home::new();
        let shop = Shop::open(&home).await;
        let product = shop.stock(&[10]).await[0];
        Self { _home: home, shop, product }
    }

    /// Another server holds units and, unless it dies before, creates the order and tells the gate.
    async fn held(&self, units: i64) -> (NewOrder, Hold) {
        let (new, hold) = attempt(self.product, units, now().plus(Duration::from_secs(60)));
        let answers = self.shop.gate.reserve(std::slice::from_ref(&hold)).await;
        answers.into_iter().for_each(|answer| assert_eq!(answer.expect("held"), hold.saga));
        (new, hold)
    }

    async fn created(&self, new: &NewOrder) -> Arc<Order> {
        self.shop.ledger.create_orders(vec![new.clone()]).await.remove(0).expect("created")
    }

    async fn confirmed(&self, new: &NewOrder, order: &Arc<Order>) {
        let saga = SagaRef { id: new.id, driver: new.driver, at: now() };
        let confirmation = Confirmation { saga, order: Arc::clone(order), capture: None };
        self.shop.ledger.confirm_orders(vec![confirmation]).await.remove(0).expect("confirmed");
    }

    async fn failed(&self, new: &NewOrder) {
        let saga = SagaRef { id: new.id, driver: new.driver, at: now() };
        let undoing = Undoing { saga, reason: Reason::PaymentDeclined, capture: None, refund: None };
        self.shop.ledger.fail_orders(vec![undoing]).await.remove(0).expect("failed");
    }

    /// `(stock, reserved)` at the gate.
    async fn gate(&self) -> (i64, i64) {
        let level = self.shop.gate.levels(&[self.product]).await.expect("levels")[0].expect("loaded");
        (level.stock, level.reserved)
    }

    async fn check(&self, settling: Duration) -> Summary {
        self.shop.keeper.check_all(settling).await.expect("ledger and gate answer")
    }

    /// Mends what differs: so many units of stock, so many holds; afterwards nothing differs.
    async fn mends(&self, units: u64, holds: u64) {
        let found = self.check(Duration::ZERO).await;
        assert_eq!((found.units, found.holds, found.drifted), (units, holds, 1));
        let levels = self.shop.ledger.stock_levels().await.expect("levels");
        assert_eq!(self.gate().await, (levels[0].stock, levels[0].reserved));
        assert_eq!(self.check(Duration::ZERO).await, Summary { compared: 1, ..Summary::default() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_the_gate_was_not_told_of_is_made_good() {
    let scene = Scene::new().await;
    let (new, hold) = scene.held(3).await;
    let order = scene.created(&new).await;
    scene.shop.gate.ordered(&[hold]).await.expect("told");
    scene.confirmed(&new, &order).await;
    assert_eq!(scene.gate().await, (10, 3));
    scene.mends(0, 1).await;
    assert_eq!(scene.gate().await, (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_the_gate_was_not_told_of_gives_its_units_back() {
    let scene = Scene::new().await;
    let (new, hold) = scene.held(3).await;
    scene.created(&new).await;
    scene.shop.gate.ordered(&[hold]).await.expect("told");
    scene.failed(&new).await;
    scene.mends(0, 1).await;
    assert_eq!(scene.gate().await, (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_hold_was_lost_is_held_again_by_its_driver() {
    let scene = Scene::new().await;
    let (new, hold) = attempt(scene.product, 4, now());
    let order = scene.created(&new).await;
    assert_eq!(scene.gate().await, (10, 0), "the gate would sell its units");
    scene.mends(0, 1).await;
    assert_eq!(scene.gate().await, (10, 4));
    scene.confirmed(&new, &order).await;
    scene.shop.gate.confirm(&[hold]).await.expect("its driver ends it");
    assert_eq!(scene.gate().await, (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_gate_has_not_heard_of_keeps_its_hold() {
    let scene = Scene::new().await;
    let (new, hold) = scene.held(3).await;
    scene.created(&new).await;
    assert_eq!(scene.check(Duration::ZERO).await.drifted, 0, "the figures are right");
    let keeper = &scene.shop.keeper;
    assert!(!keeper.give_up(&hold).await.expect("answers"), "the sweeper finds the order");
    let mended = keeper.mend(scene.product, Duration::ZERO).await.expect("answers").expect("loaded");
    assert_eq!((mended.stock, mended.holds), (0, 1));
    let found = scene.shop.gate.inspect(scene.product).await.expect("answers").expect("loaded");
    assert!(found.holds.iter().all(|(_, ordered)| *ordered), "it does not become overdue any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_without_an_order_is_given_back_once_none_can_come() {
    let scene = Scene::new().await;
    let long_ago = now().minus(Duration::from_secs(29));
    let (late, hold) = attempt(scene.product, 3, long_ago);
    assert!(scene.shop.gate.reserve(&[hold]).await.remove(0).is_ok());
    let (fresh, _) = scene.held(2).await;
    assert_eq!(scene.check(Duration::ZERO).await.holds, 0, "both may still become orders");
    crate::support::wait_for("its deadline is over", Duration::from_secs(10), async || {
        scene.check(Duration::ZERO).await.holds == 1
    })
    .await;
    assert_eq!(scene.gate().await, (10, 2), "the other one has time");
    let refused = scene.shop.ledger.create_orders(vec![late]).await.remove(0);
    assert!(matches!(refused, Err(CreateOrderError::Expired)), "{refused:?}");
    scene.created(&fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_differs_is_corrected_in_both_directions() {
    let scene = Scene::new().await;
    let adjust = async |delta: i64, key: &str, told: bool| {
        let (key, body) = (key_of(0, key), key_of(1, key));
        let adjustment =
            Adjustment { product: scene.product, delta, reason: "restock".into(), key, body, at: now() };
        let adjusted = scene.shop.ledger.adjust_stock(adjustment).await.expect("adjusted");
        let change = StockChange { product: scene.product, delta, version: adjusted.product.version };
        if told {
            scene.shop.gate.adjust(&[change]).await.expect("told");
        }
        change
    };
    let late = adjust(5, "a", false).await;
    scene.mends(5, 0).await;
    scene.shop.gate.adjust(&[late]).await.expect("it is late");
    assert_eq!(scene.gate().await, (15, 0), "what was corrected is not applied again");
    adjust(2, "b", true).await;
    adjust(-9, "c", false).await;
    scene.mends(9, 0).await;
    assert_eq!(scene.gate().await, (8, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_left_to_its_saga() {
    let scene = Scene::new().await;
    let (new, hold) = scene.held(3).await;
    let order = scene.created(&new).await;
    scene.shop.gate.ordered(std::slice::from_ref(&hold)).await.expect("told");
    scene.confirmed(&new, &order).await;
    let found = scene.check(Duration::from_secs(60)).await;
    assert_eq!((found.units, found.holds), (0, 0), "a moment ago it became CONFIRMED");
    assert_eq!(scene.gate().await, (10, 3));
    scene.shop.gate.confirm(&[hold]).await.expect("its driver ends it");
    assert_eq!(scene.gate().await, (7, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mending_while_everybody_buys_breaks_nothing() {
    let scene = Scene::new().await;
    let product = scene.shop.stock_more(400).await;
    let shop = Arc::new(scene.shop);
    let buyers: Vec<_> = (0..300)
        .map(|user| {
            let shop = Arc::clone(&shop);
            tokio::spawn(async move { shop.buy(purchase(user, "one", &[(product, 1)])).await })
        })
        .collect();
    while buyers.iter().any(|buyer| !buyer.is_finished()) {
        shop.keeper.check_all(Duration::ZERO).await.expect("ledger and gate answer");
        tokio::task::yield_now().await;
    }
    for buyer in buyers {
        buyer.await.expect("a buyer ends");
    }
    slate::assert_clean(&shop, 0, "mended all the time").await;
}
