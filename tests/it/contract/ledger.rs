//! What every ledger promises.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::sqlite::SqliteLedger;
use holdfast::domain::{
    Capture, Driver, Left, Money, NewProduct, NextAction, Order, OrderId, OrderStatus, PaymentToken, Product,
    ProductChange, ProductId, Purchase, Reason, StepName, StockChange, StockLevel, Timestamp, UserId,
};
use holdfast::ports::ledger::{
    AccountError, AccountQuery, AccountSummary, AdjustError, Adjustment, CancelRequest, Confirmation,
    CreateOrderError, Ledger, NewOrder, OpenSaga, OrderState, ProductError, ProductQuery, Progress, Rest,
    Role, RoleError, STOCK_LOG_REACH, SagaError, SagaOverview, SagaRef, SagaState, SoughtKey, StockLogEntry,
    StockLogSum, Undoing,
};
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::goods::{PRICE, driver, euro, key_of, new_order_id, new_product, now, purchase, stock};

use super::suite;

/// Where a ledger keeps what it knows; opened again it has to know it still.
trait Books: Send + Sync {
    async fn open(&self) -> Arc<dyn Ledger>;
    /// Does something to its tables behind its back.
    async fn tamper(&self, statement: &str);
}

struct File(TempDir);

impl File {
    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Books for File {
    async fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(SqliteLedger::open(&self.0.path().join("ledger.db"), now()).expect("it opens"))
    }

    async fn tamper(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.0.path().join("ledger.db")).expect("a store");
        connection.execute(statement, []).expect("done");
    }
}

impl Books for Database {
    async fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(self.ledger().await)
    }

    async fn tamper(&self, statement: &str) {
        let mut connection = self.connection().await;
        connection.query_drop(statement).await.expect("done");
        connection.disconnect().await.expect("it says goodbye");
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn new(purchase: Purchase) -> NewOrder {
    NewOrder { id: new_order_id(), driver: driver(1), purchase: Arc::new(purchase), at: now() }
}

/// An order of user 1 under a key of its own.
fn wish(lines: &[(ProductId, i64)]) -> NewOrder {
    new(purchase(1, &new_order_id().to_string(), lines))
}

async fn create(ledger: &dyn Ledger, new: &NewOrder) -> Result<Arc<Order>, CreateOrderError> {
    let mut answers = ledger.create_orders(vec![new.clone()]).await;
    assert_eq!(answers.len(), 1, "one answer an order");
    answers.remove(0)
}

async fn created(ledger: &dyn Ledger, lines: &[(ProductId, i64)]) -> (NewOrder, Arc<Order>) {
    let new = wish(lines);
    let order = create(ledger, &new).await.expect("created");
    (new, order)
}

fn saga(new: &NewOrder) -> SagaRef {
    SagaRef { id: new.id, driver: new.driver, at: now() }
}

fn by(driver: Driver, new: &NewOrder) -> NewOrder {
    NewOrder { driver, ..new.clone() }
}

fn paid(order: &Order) -> Capture {
    Capture { transaction_id: "money".into(), amount: order.total }
}

fn confirmation(new: &NewOrder, order: &Arc<Order>) -> Confirmation {
    Confirmation { saga: saga(new), order: Arc::clone(order), capture: Some(paid(order)) }
}

async fn confirm(ledger: &dyn Ledger, new: &NewOrder, order: &Arc<Order>) -> Result<Arc<Order>, SagaError> {
    ledger.confirm_orders(vec![confirmation(new, order)]).await.remove(0)
}

fn undoing(new: &NewOrder, reason: Reason) -> Undoing {
    Undoing { saga: saga(new), reason, capture: None, refund: None }
}

async fn fail(ledger: &dyn Ledger, new: &NewOrder, reason: Reason) -> Result<Option<Arc<Order>>, SagaError> {
    ledger.fail_orders(vec![undoing(new, reason)]).await.remove(0)
}

async fn mark(ledger: &dyn Ledger, new: &NewOrder, reason: Reason) -> Result<(), SagaError> {
    ledger.mark_undoing(vec![(saga(new), reason)]).await.remove(0)
}

async fn cancel(ledger: &dyn Ledger, order: OrderId, by: Driver) -> CancelRequest {
    ledger.request_cancel(order, UserId(1), by, now()).await.expect("the ledger answers")
}

fn word(request: &CancelRequest) -> &'static str {
    match request {
        CancelRequest::Recorded(_) => "recorded",
        CancelRequest::Undo(_) => "undo",
        CancelRequest::UnderWay(_) => "under way",
        CancelRequest::Done(_) => "done",
        CancelRequest::NotPossible(_) => "not possible",
        CancelRequest::NotFound => "not found",
    }
}

/// `(stock, reserved)` of a product.
async fn standing(ledger: &dyn Ledger, product: ProductId) -> (i64, i64) {
    let product = ledger.product(product).await.expect("the ledger answers").expect("a product");
    (product.stock, product.reserved)
}

async fn status(ledger: &dyn Ledger, order: OrderId) -> (OrderStatus, Option<Reason>) {
    let order = ledger.order(order).await.expect("the ledger answers").expect("an order");
    (order.status, order.reason)
}

async fn kinds(ledger: &dyn Ledger, order: OrderId) -> Vec<&'static str> {
    let events = ledger.events_of(order).await.expect("the ledger answers");
    for (event, sequence) in events.iter().zip(1..) {
        assert_eq!((event.saga_id, event.sequence), (order, sequence), "in sequence, without gaps");
    }
    events.iter().map(|event| event.body.kind()).collect()
}

const CREATED: [&str; 3] = ["SagaStarted", "InventoryReserved", "OrderCreated"];

fn after_created(more: &[&'static str]) -> Vec<&'static str> {
    [&CREATED, more].concat()
}

async fn open(ledger: &dyn Ledger) -> Vec<OpenSaga> {
    ledger.open_sagas(1_000).await.expect("the ledger answers")
}

async fn open_ids(ledger: &dyn Ledger) -> Vec<OrderId> {
    open(ledger).await.iter().map(|saga| saga.order.id).collect()
}

/// Everything that a refused call could have left behind.
#[derive(PartialEq, Debug)]
struct Snapshot {
    products: Vec<Product>,
    orders: Vec<Arc<Order>>,
    sagas: Vec<(OrderId, Driver, Progress, Option<StepName>, Timestamp)>,
    events: Vec<usize>,
    log: Vec<(ProductId, StockLogSum)>,
}

async fn snapshot(ledger: &dyn Ledger) -> Snapshot {
    let orders = ledger.orders_after(None, 1_000).await.expect("answers");
    let mut events = Vec::new();
    for order in &orders {
        events.push(ledger.events_of(order.id).await.expect("answers").len());
    }
    let saga = |saga: OpenSaga| (saga.order.id, saga.driver, saga.progress, saga.stuck, saga.updated_at);
    Snapshot {
        products: ledger
            .products(&ProductQuery { limit: 1_000, ..Default::default() })
            .await
            .expect("answers"),
        sagas: open(ledger).await.into_iter().map(saga).collect(),
        orders,
        events,
        log: ledger.stock_log_sums().await.expect("answers"),
    }
}

/// `(stocked, sold)` of a product in the stock log.
async fn logged(ledger: &dyn Ledger, product: ProductId) -> (i64, i64) {
    let sums = ledger.stock_log_sums().await.expect("the ledger answers");
    let sum = sums.iter().find(|(id, _)| *id == product).map(|(_, sum)| *sum).unwrap_or_default();
    (sum.stocked, sum.sold)
}

// ── creating orders ──────────────────────────────────────────────────────────────────────────────

async fn an_order_is_created_at_the_prices_of_the_ledger(books: impl Books) {
    let ledger = &*books.open().await;
    let batch = vec![new_product("a", 5, euro(250)), new_product("b", 5, euro(1))];
    let products = ledger.create_products(batch, now()).await.expect("created");
    let (a, b) = (products[0].id, products[1].id);
    let mut wish = purchase(7, "key", &[(b, 3), (a, 2)]);
    wish.payment_token = Some(PaymentToken("tok_ok".into()));
    wish.expected_total = Some(euro(503));
    let new = new(wish);
    let order = create(ledger, &new).await.expect("created");
    assert_eq!(
        (order.id, order.user_id, order.status, order.reason),
        (new.id, UserId(7), OrderStatus::Pending, None)
    );
    assert_eq!((order.total, order.created_at, order.updated_at), (euro(503), new.at, new.at));
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|line| (line.product_id, &*line.sku, &*line.name, line.quantity.get(), line.unit_price))
        .collect();
    assert_eq!(lines, [(a, "a", "Name of a", 2, euro(250)), (b, "b", "Name of b", 3, euro(1))]);
    assert_eq!(ledger.order(new.id).await.expect("answers").as_ref(), Some(&order), "read back the same");
    assert_eq!((standing(ledger, a).await, standing(ledger, b).await), ((5, 2), (5, 3)));
    assert_eq!(kinds(ledger, new.id).await, CREATED);

    let sagas = open(ledger).await;
    assert_eq!(sagas.len(), 1);
    let OpenSaga { order: its_order, purchase, driver, progress, stuck, .. } = &sagas[0];
    assert_eq!((its_order, *driver, *progress, *stuck), (&order, new.driver, Progress::Forward, None));
    assert_eq!(
        (purchase.user_id, purchase.key, purchase.body),
        (UserId(7), new.purchase.key, new.purchase.body)
    );
    assert_eq!(purchase.basket, new.purchase.basket);
    assert_eq!(purchase.payment_token, new.purchase.payment_token, "for repeating the charge");
}

async fn creating_again_gives_the_same_order_and_reserves_once(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[2]).await[0];
    let new = wish(&[(product, 2)]);
    let answers = ledger.create_orders(vec![new.clone(), new.clone()]).await;
    let first = create(ledger, &new).await.expect("it exists, though nothing is left");
    for answer in answers {
        assert_eq!(answer.expect("created"), first);
    }
    let later = NewOrder { at: new.at.plus(DAY), ..new.clone() };
    assert_eq!(create(ledger, &later).await.expect("it exists"), first);
    assert_eq!(standing(ledger, product).await, (2, 2));
    assert_eq!(kinds(ledger, new.id).await, CREATED);
}

async fn a_batch_is_served_in_order_of_arrival_by_whole_orders(books: impl Books) {
    let ledger = &*books.open().await;
    let products = stock(ledger, &[5, 1]).await;
    let (a, b) = (products[0], products[1]);
    let batch = vec![
        wish(&[(a, 3)]),
        wish(&[(a, 3)]),         // two are left
        wish(&[(a, 1), (b, 1)]), // fits
        wish(&[(a, 1), (b, 1)]), // b has gone, so a stays
        wish(&[(a, 1)]),         // fits
        wish(&[(a, 1)]),         // nothing is left
    ];
    let answers = ledger.create_orders(batch).await;
    let sold: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(sold, [true, false, true, false, true, false]);
    let left = |answer: &Result<_, CreateOrderError>| match answer {
        Err(CreateOrderError::InsufficientStock { lines }) => lines.clone(),
        _ => panic!("it should be sold out"),
    };
    let line = |product, requested, left| Left { product, requested, left };
    assert_eq!(left(&answers[1]), [line(a, 3, 2)]);
    assert_eq!(left(&answers[3]), [line(a, 1, 1), line(b, 1, 0)]);
    assert_eq!((standing(ledger, a).await, standing(ledger, b).await), ((5, 5), (1, 1)));
}

async fn lines_of_one_product_are_summed_first(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[3]).await[0];
    let refused = create(ledger, &wish(&[(product, 2), (product, 2)])).await;
    assert!(matches!(refused, Err(CreateOrderError::InsufficientStock { .. })), "{refused:?}");
    let order = create(ledger, &wish(&[(product, 2), (product, 1)])).await.expect("created");
    assert_eq!(order.lines.len(), 1);
    assert_eq!(order.total, euro(750));
    assert_eq!(standing(ledger, product).await, (3, 3));
}

async fn a_refused_order_leaves_nothing_behind(books: impl Books) {
    let ledger = &*books.open().await;
    let pounds = Money::new(100, holdfast::domain::Currency::GBP);
    let batch = vec![
        new_product("a", 5, PRICE),
        new_product("pounds", 5, pounds),
        new_product("dear", 5, euro(i64::MAX / 2)),
    ];
    let ids: Vec<_> =
        ledger.create_products(batch, now()).await.expect("created").iter().map(|p| p.id).collect();
    let (a, pounds, dear) = (ids[0], ids[1], ids[2]);
    let (sold, _) = created(ledger, &[(a, 1)]).await;
    let before = snapshot(ledger).await;

    let expecting = |total| Purchase { expected_total: Some(total), ..purchase(1, "key", &[(a, 2)]) };
    let taken = Arc::clone(&sold.purchase);
    type Check = fn(CreateOrderError) -> bool;
    let refusals: Vec<(Purchase, Check)> = vec![
        (purchase(1, "key", &[(a, 5)]), |e| matches!(e, CreateOrderError::InsufficientStock { .. })),
        (purchase(1, "key", &[(a, 1), (ProductId(99), 1)]), |e| {
            matches!(e, CreateOrderError::UnknownProduct(ProductId(99)))
        }),
        (purchase(1, "key", &[(a, 1), (pounds, 1)]), |e| matches!(e, CreateOrderError::MixedCurrencies)),
        (purchase(1, "key", &[(dear, 3)]), |e| matches!(e, CreateOrderError::TotalOverflow)),
        (purchase(1, "key", &[(a, 1), (dear, 2)]), |e| matches!(e, CreateOrderError::TotalOverflow)),
        (
            expecting(euro(499)),
            |e| matches!(e, CreateOrderError::PriceChanged { total } if total == euro(500)),
        ),
        (expecting(Money::new(500, holdfast::domain::Currency::GBP)), |e| {
            matches!(e, CreateOrderError::PriceChanged { .. })
        }),
        (Purchase { key: taken.key, ..purchase(1, "key", &[(a, 1)]) }, |e| {
            matches!(e, CreateOrderError::KeyTaken(_))
        }),
    ];
    for (number, (purchase, right)) in refusals.into_iter().enumerate() {
        let new = new(purchase);
        let refusal = create(ledger, &new).await.expect_err("refused");
        assert!(right(refusal.clone()), "{number}: {refusal:?}");
        assert_eq!(ledger.order(new.id).await.expect("answers"), None, "{number}");
        assert_eq!(snapshot(ledger).await, before, "{number}");
    }
    let found = ledger.find_purchase(UserId(1), key_of(1, "key"), Timestamp(0)).await.expect("answers");
    assert!(found.is_none(), "the key may be tried again");
    create(ledger, &new(expecting(euro(500)))).await.expect("and is");
}

async fn a_refused_order_spoils_none_of_its_batch(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let batch = vec![wish(&[(product, 1)]), wish(&[(ProductId(99), 1)]), wish(&[(product, 1)])];
    let answers = ledger.create_orders(batch).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(standing(ledger, product).await, (5, 2));
    assert!(ledger.create_orders(Vec::new()).await.is_empty());
}

async fn a_crowd_gets_exactly_what_there_is(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[30]).await[0];
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            let batch = vec![wish(&[(product, 1)]), wish(&[(product, 1)])];
            tokio::spawn(
                async move { ledger.create_orders(batch).await.iter().filter(|a| a.is_ok()).count() },
            )
        })
        .collect();
    let mut sold = 0;
    for task in tasks {
        sold += task.await.expect("a task ends");
    }
    assert_eq!(sold, 30);
    assert_eq!(standing(&*ledger, product).await, (30, 30));
}

async fn a_call_that_fails_spoils_none_beside_it(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[100]).await[0];
    let call = |n: i64| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            if n % 5 == 0 {
                // The database itself refuses what the edge would have refused.
                let impossible = vec![new_product(&format!("impossible {n}"), -1, PRICE)];
                ledger.create_products(impossible, now()).await.expect_err("negative stock");
            } else {
                create(&*ledger, &wish(&[(product, 1)])).await.expect("created");
            }
        })
    };
    for task in (0..100).map(call).collect::<Vec<_>>() {
        task.await.expect("answered for itself");
    }
    assert_eq!(standing(&*ledger, product).await, (100, 80));
    let snapshot = snapshot(&*ledger).await;
    assert_eq!((snapshot.orders.len(), snapshot.products.len()), (80, 1));
}

async fn an_order_goes_on_with_the_driver_who_created_it(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[2]).await[0];
    let (new, order) = created(ledger, &[(product, 2)]).await;
    let before = snapshot(ledger).await;
    for other in [driver(2), Driver { epoch: 2, ..new.driver }] {
        let answer = create(ledger, &by(other, &new)).await;
        assert!(matches!(&answer, Err(CreateOrderError::Driven(found)) if *found == order), "{answer:?}");
    }
    assert_eq!(snapshot(ledger).await, before);
    ledger.park_saga(saga(&new), StepName::ConfirmOrder, None).await.expect("parked");
    let answer = create(ledger, &new).await;
    assert!(matches!(answer, Err(CreateOrderError::Driven(_))), "stuck: {answer:?}");
}

// ── keys ─────────────────────────────────────────────────────────────────────────────────────────

async fn a_key_belongs_to_one_order_of_its_customer(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[2]).await[0];
    let (first, second) =
        (new(purchase(1, "key", &[(product, 2)])), new(purchase(1, "key", &[(product, 1)])));
    let answers = ledger.create_orders(vec![first.clone(), second.clone()]).await;
    assert!(answers[0].is_ok());
    for answer in [answers.into_iter().nth(1).expect("two answers"), create(ledger, &second).await] {
        assert!(
            matches!(answer, Err(CreateOrderError::KeyTaken(order)) if order == first.id),
            "told before it is told that nothing is left"
        );
    }
    // Whatever becomes of the order, the key stays its key.
    fail(ledger, &first, Reason::PaymentDeclined).await.expect("failed");
    assert!(
        matches!(create(ledger, &second).await, Err(CreateOrderError::KeyTaken(order)) if order == first.id)
    );
    // The digest of another customer's key is another one; should it not be, it is theirs all the same.
    let same_digest = Purchase { key: first.purchase.key, ..purchase(2, "key", &[(product, 1)]) };
    create(ledger, &new(same_digest)).await.expect("created");
}

async fn a_purchase_is_found_by_its_key_also_after_opening_again(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[2]).await[0];
    let new = new(purchase(1, "key", &[(product, 2)]));
    let key = new.purchase.key;
    assert!(ledger.find_purchase(UserId(1), key, Timestamp(0)).await.expect("answers").is_none());
    create(&*ledger, &new).await.expect("created");
    drop(ledger);
    let ledger = &*books.open().await;
    let found =
        ledger.find_purchase(UserId(1), key, new.at.minus(DAY)).await.expect("answers").expect("known");
    assert_eq!((found.order.id, found.body, found.stuck), (new.id, new.purchase.body, false));
    assert!(ledger.find_purchase(UserId(2), key, Timestamp(0)).await.expect("answers").is_none());
    assert!(
        ledger.find_purchase(UserId(1), key_of(1, "other"), Timestamp(0)).await.expect("answers").is_none()
    );
    let again = create(ledger, &NewOrder { id: new_order_id(), ..new.clone() }).await;
    assert!(matches!(again, Err(CreateOrderError::KeyTaken(order)) if order == new.id));
}

async fn many_keys_are_found_together_each_with_its_own_answer(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let confirmed = new(purchase(1, "confirmed", &[(product, 1)]));
    let pending = new(purchase(1, "pending", &[(product, 2)]));
    create(ledger, &pending).await.expect("created");
    let order = create(ledger, &confirmed).await.expect("created");
    confirm(ledger, &confirmed, &order).await.expect("confirmed");
    assert!(ledger.find_purchases(Vec::new()).await.expect("answers").is_empty());
    let since = Timestamp(0);
    let sought = |user, key| SoughtKey { user: UserId(user), key: key_of(1, key), since };
    let found = ledger
        .find_purchases(vec![
            sought(1, "pending"),
            sought(1, "nobody's"),
            sought(2, "confirmed"),
            SoughtKey { since: now().plus(DAY), ..sought(1, "confirmed") },
            sought(1, "confirmed"),
            sought(1, "pending"),
        ])
        .await
        .expect("answers");
    let found: Vec<_> =
        found.iter().map(|known| known.as_ref().map(|known| (known.order.id, known.order.status))).collect();
    let is_pending = Some((pending.id, OrderStatus::Pending));
    let is_confirmed = Some((confirmed.id, OrderStatus::Confirmed));
    assert_eq!(found, [is_pending, None, None, None, is_confirmed, is_pending]);
}

async fn a_key_is_free_again_after_a_day(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let before = now().minus(DAY).minus(Duration::from_secs(60));
    let id = OrderId(Uuid::from_u128(OrderId::earliest_at(before).0.as_u128() | (7 << 76) | (2 << 62) | 1));
    let old = NewOrder { id, at: before, ..new(purchase(1, "key", &[(product, 1)])) };
    create(&*ledger, &old).await.expect("created");
    for opened_again in [false, true] {
        let ledger = if opened_again { books.open().await } else { Arc::clone(&ledger) };
        let since = now().minus(DAY);
        let found = ledger.find_purchase(UserId(1), old.purchase.key, since).await.expect("answers");
        assert!(found.is_none(), "opened again: {opened_again}");
    }
    drop(ledger);
    create(&*books.open().await, &new(purchase(1, "key", &[(product, 1)]))).await.expect("created");
}

// ── confirming ───────────────────────────────────────────────────────────────────────────────────

async fn a_confirmed_order_has_left_the_stock(books: impl Books) {
    let ledger = &*books.open().await;
    let products = stock(ledger, &[5, 9]).await;
    let (a, b) = (products[0], products[1]);
    let (new, order) = created(ledger, &[(a, 2), (b, 3)]).await;
    let confirmed = confirm(ledger, &new, &order).await.expect("confirmed");
    assert_eq!((confirmed.status, confirmed.reason), (OrderStatus::Confirmed, None));
    assert_eq!(ledger.order(new.id).await.expect("answers"), Some(confirmed));
    assert_eq!((standing(ledger, a).await, standing(ledger, b).await), ((3, 0), (6, 0)));
    assert_eq!((logged(ledger, a).await, logged(ledger, b).await), ((5, -2), (9, -3)));
    assert_eq!(kinds(ledger, new.id).await, after_created(&["PaymentProcessed", "OrderConfirmed"]));
    assert!(open(ledger).await.is_empty());
}

async fn an_order_without_a_payment_tells_of_none(books: impl Books) {
    let ledger = &*books.open().await;
    let free =
        ledger.create_products(vec![new_product("free", 5, euro(0))], now()).await.expect("created")[0].id;
    let (new, order) = created(ledger, &[(free, 2)]).await;
    assert_eq!(order.total, euro(0));
    let free_of_charge = Confirmation { capture: None, ..confirmation(&new, &order) };
    ledger.confirm_orders(vec![free_of_charge]).await.remove(0).expect("confirmed");
    assert_eq!(kinds(ledger, new.id).await, after_created(&["OrderConfirmed"]));
}

async fn confirming_again_changes_nothing(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, order) = created(ledger, &[(product, 2)]).await;
    let answers = ledger.confirm_orders(vec![confirmation(&new, &order), confirmation(&new, &order)]).await;
    let first = answers.into_iter().map(|answer| answer.expect("confirmed")).next().expect("two answers");
    let before = snapshot(ledger).await;
    let again = confirm(ledger, &new, &order).await.expect("confirmed before");
    // A driver that lost the saga finds the wanted state all the same.
    let other = confirm(ledger, &by(driver(2), &new), &order).await.expect("confirmed before");
    assert_eq!((&*again, &*other), (&*first, &*first));
    assert_eq!(snapshot(ledger).await, before);
    assert_eq!(standing(ledger, product).await, (3, 0));
}

async fn a_driver_that_was_replaced_changes_nothing(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, order) = created(ledger, &[(product, 2)]).await;
    let claimed = ledger.claim_sagas(driver(2).instance, Duration::ZERO, now()).await.expect("answers");
    assert_eq!(claimed.len(), 1);
    let before = snapshot(ledger).await;
    let wrong_epoch = by(Driver { epoch: 9, ..claimed[0].driver }, &new);
    for old in [&new, &wrong_epoch] {
        assert!(matches!(confirm(ledger, old, &order).await, Err(SagaError::Superseded)));
        let marked = mark(ledger, old, Reason::PaymentUnknown).await;
        assert!(matches!(marked, Err(SagaError::Superseded)), "{marked:?}");
        assert!(matches!(fail(ledger, old, Reason::PaymentDeclined).await, Err(SagaError::Superseded)));
        let parked = ledger.park_saga(saga(old), StepName::ConfirmOrder, None).await;
        assert!(matches!(parked, Err(SagaError::Superseded)), "{parked:?}");
        assert_eq!(snapshot(ledger).await, before);
    }
    confirm(ledger, &by(claimed[0].driver, &new), &order).await.expect("the new driver confirms");
}

async fn one_bad_confirmation_spoils_none_of_its_batch(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (good, good_order) = created(ledger, &[(product, 1)]).await;
    let (bad, bad_order) = created(ledger, &[(product, 1)]).await;
    mark(ledger, &bad, Reason::PaymentUnknown).await.expect("marked");
    let batch = vec![confirmation(&bad, &bad_order), confirmation(&good, &good_order)];
    let answers = ledger.confirm_orders(batch).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    assert_eq!(standing(ledger, product).await, (4, 1));
}

// ── undoing ──────────────────────────────────────────────────────────────────────────────────────

async fn after_the_mark_nobody_confirms(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    for reason in [Reason::PaymentUnknown, Reason::ConfirmFailed] {
        mark(&*ledger, &new, reason).await.expect("marked");
    }
    drop(ledger);
    let ledger = &*books.open().await;
    let claimed =
        ledger.claim_sagas(driver(2).instance, Duration::ZERO, now()).await.expect("answers").remove(0);
    assert_eq!(claimed.progress, Progress::Undoing(Reason::PaymentUnknown), "the first reason stands");
    for old in [&new, &by(claimed.driver, &new)] {
        let refused = confirm(ledger, old, &order).await;
        assert!(
            matches!(refused, Err(SagaError::Superseded | SagaError::ToBeUndone(Reason::PaymentUnknown))),
            "{refused:?}"
        );
    }
    let again = create(ledger, &new).await;
    assert!(matches!(again, Err(CreateOrderError::Driven(_))), "nor goes on from a late create: {again:?}");
    assert_eq!(status(ledger, new.id).await.0, OrderStatus::Pending);
    assert_eq!(standing(ledger, product).await, (5, 2), "what is not undone yet is still promised");
}

async fn a_confirmed_order_is_not_undone(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, order) = created(ledger, &[(product, 2)]).await;
    confirm(ledger, &new, &order).await.expect("confirmed");
    let before = snapshot(ledger).await;
    assert!(matches!(mark(ledger, &new, Reason::ConfirmFailed).await, Err(SagaError::WrongState)));
    assert!(matches!(fail(ledger, &new, Reason::ConfirmFailed).await, Err(SagaError::WrongState)));
    let restocked = ledger.restock_orders(vec![undoing(&new, Reason::CancelledByCustomer)]).await.remove(0);
    assert!(matches!(restocked, Err(SagaError::Superseded)), "nobody wished for that");
    let parked = ledger.park_saga(saga(&new), StepName::ConfirmOrder, None).await;
    assert!(matches!(parked, Err(SagaError::WrongState)), "{parked:?}");
    assert!(matches!(create(ledger, &new).await, Err(CreateOrderError::Expired)), "a late create");
    assert!(!ledger.bury_saga(saga(&new), Reason::Expired).await.expect("answers"), "there is an order");
    assert_eq!(snapshot(ledger).await, before);
}

async fn a_failed_order_gives_its_reservation_back_once(books: impl Books) {
    let ledger = &*books.open().await;
    let products = stock(ledger, &[5, 5]).await;
    let (new, order) = created(ledger, &[(products[0], 2), (products[1], 1)]).await;
    let declined = undoing(&new, Reason::PaymentDeclined);
    let answers = ledger.fail_orders(vec![declined.clone(), declined]).await;
    for answer in answers {
        let failed = answer.expect("failed").expect("an order");
        assert_eq!((failed.status, failed.reason), (OrderStatus::Failed, Some(Reason::PaymentDeclined)));
    }
    assert_eq!(standing(ledger, products[0]).await, (5, 0));
    assert_eq!(standing(ledger, products[1]).await, (5, 0));
    let before = snapshot(ledger).await;
    let again = fail(ledger, &new, Reason::Expired).await.expect("failed before").expect("an order");
    assert_eq!(again.reason, Some(Reason::PaymentDeclined), "the first reason stands");
    mark(ledger, &new, Reason::Expired).await.expect("it is undone already");
    assert!(matches!(confirm(ledger, &new, &order).await, Err(SagaError::WrongState)));
    assert!(matches!(create(ledger, &new).await, Err(CreateOrderError::Expired)), "a late create");
    let restocked = ledger.restock_orders(vec![undoing(&new, Reason::CancelledByCustomer)]).await.remove(0);
    assert!(matches!(restocked, Err(SagaError::WrongState)), "there is nothing to restock");
    assert_eq!(snapshot(ledger).await, before);
    assert_eq!(kinds(ledger, new.id).await, after_created(&["InventoryReleaseRequested", "OrderFailed"]));
    assert_eq!(logged(ledger, products[0]).await, (5, 0));
    assert!(open(ledger).await.is_empty());
}

async fn a_failed_order_tells_of_its_refund(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    for (reason, end, last) in [
        (Reason::ConfirmFailed, OrderStatus::Failed, "OrderFailed"),
        (Reason::CancelledByCustomer, OrderStatus::Cancelled, "OrderCancelled"),
    ] {
        let (new, order) = created(ledger, &[(product, 1)]).await;
        let money = Some(paid(&order));
        let undo = Undoing { capture: money.clone(), refund: money, ..undoing(&new, reason) };
        ledger.fail_orders(vec![undo]).await.remove(0).expect("undone");
        assert_eq!(status(ledger, new.id).await, (end, Some(reason)));
        let wanted = ["PaymentProcessed", "PaymentRefunded", "InventoryReleaseRequested", last];
        assert_eq!(kinds(ledger, new.id).await, after_created(&wanted));
    }
}

async fn under_a_tombstone_no_order_comes(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (buried, given_up) = (wish(&[(product, 1)]), wish(&[(product, 1)]));
    for _ in 0..2 {
        assert!(ledger.bury_saga(saga(&buried), Reason::Expired).await.expect("answers"));
        assert!(fail(&*ledger, &given_up, Reason::CreateOrderFailed).await.expect("buried").is_none());
    }
    drop(ledger);
    let ledger = &*books.open().await;
    let before = snapshot(ledger).await;
    let batch = vec![buried.clone(), given_up.clone(), wish(&[(product, 5)]), buried.clone()];
    let answers = ledger.create_orders(batch).await;
    for n in [0, 1, 3] {
        assert!(matches!(answers[n], Err(CreateOrderError::Expired)), "{n}: {:?}", answers[n]);
    }
    assert!(answers[2].is_ok(), "late creates take nothing");
    assert!(matches!(create(ledger, &buried).await, Err(CreateOrderError::Expired)), "not sold out");
    assert!(ledger.order(buried.id).await.expect("answers").is_none());
    assert_eq!(kinds(ledger, buried.id).await, [""; 0]);
    assert_eq!(before.sagas, [], "a tombstone is no open saga");
    assert_eq!(open(ledger).await.len(), 1);
    assert_eq!(
        ledger.claim_sagas(driver(9).instance, Duration::ZERO, now()).await.expect("answers").len(),
        1
    );
    // The customer's key is not buried with it.
    create(ledger, &NewOrder { id: new_order_id(), ..buried.clone() }).await.expect_err("sold out");
    let found = ledger.find_purchase(UserId(1), buried.purchase.key, Timestamp(0)).await.expect("answers");
    assert!(found.is_none());
}

async fn an_order_is_not_buried(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, order) = created(ledger, &[(product, 1)]).await;
    let before = snapshot(ledger).await;
    assert!(!ledger.bury_saga(saga(&new), Reason::Expired).await.expect("answers"));
    assert_eq!(snapshot(ledger).await, before);
    confirm(ledger, &new, &order).await.expect("confirmed");
}

async fn a_late_create_does_not_outrun_its_burial(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[100]).await[0];
    let mut orders = 0;
    for _ in 0..50 {
        let new = wish(&[(product, 1)]);
        let (create, bury) = tokio::join!(create(&*ledger, &new), async {
            ledger.bury_saga(saga(&new), Reason::Expired).await.expect("answers")
        },);
        assert_ne!(create.is_ok(), bury, "either there is an order or there can be none");
        orders += i64::from(create.is_ok());
    }
    assert_eq!(standing(&*ledger, product).await, (100, orders));
}

// ── cancelling ───────────────────────────────────────────────────────────────────────────────────

async fn a_wish_to_cancel_keeps_a_pending_order_from_being_confirmed(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    for _ in 0..2 {
        assert_eq!(word(&cancel(&*ledger, new.id, driver(2)).await), "recorded");
    }
    drop(ledger);
    let ledger = &*books.open().await;
    let refused = confirm(ledger, &new, &order).await;
    assert!(matches!(refused, Err(SagaError::ToBeUndone(Reason::CancelledByCustomer))), "{refused:?}");
    assert_eq!(open(ledger).await[0].driver, new.driver, "its saga stays its driver's");
    assert_eq!(open(ledger).await[0].progress, Progress::Forward, "it settles the payment first");
    mark(ledger, &new, Reason::CancelledByCustomer).await.expect("marked");
    assert_eq!(word(&cancel(ledger, new.id, driver(2)).await), "under way");
    fail(ledger, &new, Reason::CancelledByCustomer).await.expect("undone");
    assert_eq!(status(ledger, new.id).await, (OrderStatus::Cancelled, Some(Reason::CancelledByCustomer)));
    assert_eq!(word(&cancel(ledger, new.id, driver(2)).await), "done");
    assert_eq!(standing(ledger, product).await, (5, 0));
}

async fn a_wish_and_a_confirmation_at_once_have_one_winner(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[100]).await[0];
    for _ in 0..30 {
        let (new, order) = created(&*ledger, &[(product, 1)]).await;
        let (wish, confirmed) =
            tokio::join!(cancel(&*ledger, new.id, driver(2)), confirm(&*ledger, &new, &order));
        match (word(&wish), &confirmed) {
            ("undo", Ok(_)) | ("recorded", Err(SagaError::ToBeUndone(Reason::CancelledByCustomer))) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn only_the_customer_cancels_and_only_what_can_be(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, _) = created(ledger, &[(product, 1)]).await;
    let others = ledger.request_cancel(new.id, UserId(2), driver(1), now()).await.expect("answers");
    assert_eq!(word(&others), "not found");
    assert_eq!(word(&cancel(ledger, new_order_id(), driver(1)).await), "not found");
    fail(ledger, &new, Reason::PaymentDeclined).await.expect("failed");
    let before = snapshot(ledger).await;
    assert_eq!(word(&cancel(ledger, new.id, driver(1)).await), "not possible");
    assert_eq!(snapshot(ledger).await, before);
}

async fn a_confirmed_order_is_taken_back_once(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    confirm(&*ledger, &new, &order).await.expect("confirmed");
    let CancelRequest::Undo(open_saga) = cancel(&*ledger, new.id, driver(5)).await else { panic!("undo it") };
    assert_eq!((open_saga.driver, open_saga.order.status), (driver(5), OrderStatus::Confirmed));
    assert_eq!(open_saga.progress, Progress::Undoing(Reason::CancelledByCustomer));
    assert_eq!(word(&cancel(&*ledger, new.id, driver(6)).await), "under way");
    drop(ledger);
    let ledger = &*books.open().await;
    assert_eq!(open_ids(ledger).await, [new.id], "the intent is durable");
    assert_eq!(standing(ledger, product).await, (3, 0), "nothing is in stock before the refund");

    let undo = |by: Driver| {
        let saga = SagaRef { driver: by, ..saga(&new) };
        let money = Some(paid(&order));
        Undoing { saga, reason: Reason::CancelledByCustomer, capture: money.clone(), refund: money }
    };
    let others = ledger.restock_orders(vec![undo(driver(6))]).await.remove(0);
    assert!(matches!(others, Err(SagaError::Superseded)));
    let mine = by(driver(5), &new);
    mark(ledger, &mine, Reason::CancelledByCustomer).await.expect("marked");
    let answers = ledger.restock_orders(vec![undo(driver(5)), undo(driver(5))]).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("restocked")).collect();
    let changes: Vec<_> = answers.iter().map(|answer| answer.changes.clone()).collect();
    let version = ledger.product(product).await.expect("answers").expect("a product").version;
    assert_eq!(changes, [vec![StockChange { product, delta: 2, version }], vec![]], "told once");
    assert!(answers.iter().all(|answer| answer.order.status == OrderStatus::Cancelled));
    let again = ledger.restock_orders(vec![undo(driver(6))]).await.remove(0).expect("restocked before");
    assert!(again.changes.is_empty());
    assert_eq!(standing(ledger, product).await, (5, 0));
    assert_eq!(logged(ledger, product).await, (5, 0));
    let wanted = [
        "PaymentProcessed",
        "OrderConfirmed",
        "PaymentRefunded",
        "InventoryReleaseRequested",
        "OrderCancelled",
    ];
    assert_eq!(kinds(ledger, new.id).await, after_created(&wanted));
    assert!(open(ledger).await.is_empty());
    assert_eq!(word(&cancel(ledger, new.id, driver(5)).await), "done");
}

async fn a_pending_order_is_not_restocked(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, _) = created(ledger, &[(product, 2)]).await;
    let nothing = wish(&[(product, 1)]);
    for new in [&new, &nothing] {
        let answer = ledger.restock_orders(vec![undoing(new, Reason::CancelledByCustomer)]).await.remove(0);
        assert!(matches!(answer, Err(SagaError::WrongState)));
    }
    assert_eq!(standing(ledger, product).await, (5, 2));
}

// ── open sagas ───────────────────────────────────────────────────────────────────────────────────

async fn the_overview_counts_sagas_and_names_the_stuck_ones(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    assert_eq!(ledger.saga_overview(9).await.expect("answers"), SagaOverview::default());
    let (done, order) = created(ledger, &[(product, 1)]).await;
    confirm(ledger, &done, &order).await.expect("confirmed");
    let (first, _) = created(ledger, &[(product, 1)]).await;
    let (second, _) = created(ledger, &[(product, 1)]).await;
    created(ledger, &[(product, 1)]).await;
    for new in [&second, &first] {
        ledger.park_saga(saga(new), StepName::ConfirmOrder, None).await.expect("parked");
    }
    let overview = ledger.saga_overview(1).await.expect("answers");
    assert_eq!((overview.open, overview.waiting), (3, 0));
    let [stuck] = overview.stuck[..] else { panic!("one was asked for: {overview:?}") };
    assert_eq!((stuck.id, stuck.step), (first.id, StepName::ConfirmOrder));
    assert_eq!(ledger.saga_overview(9).await.expect("answers").stuck.len(), 2);
}

async fn a_stuck_saga_waits_until_it_is_resumed(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    ledger.park_saga(saga(&new), StepName::ConfirmOrder, None).await.expect("parked");
    drop(ledger);
    let ledger = &*books.open().await;
    let stuck = open(ledger).await.remove(0);
    assert_eq!((stuck.stuck, stuck.progress), (Some(StepName::ConfirmOrder), Progress::Forward));
    let claimed =
        ledger.claim_sagas(driver(2).instance, Duration::ZERO, now()).await.expect("answers").remove(0);
    assert_eq!(claimed.stuck, Some(StepName::ConfirmOrder), "taking it over does not free it");
    let resumed =
        ledger.resume_saga(new.id, driver(3).instance, now()).await.expect("answers").expect("stuck");
    assert_eq!((resumed.stuck, resumed.progress), (None, Progress::Forward));
    assert_eq!(resumed.driver.instance, driver(3).instance);
    assert!(resumed.driver.epoch > claimed.driver.epoch && claimed.driver.epoch > new.driver.epoch);
    assert!(ledger.resume_saga(new.id, driver(3).instance, now()).await.expect("answers").is_none());
    for old in [&new, &by(claimed.driver, &new)] {
        assert!(matches!(confirm(ledger, old, &order).await, Err(SagaError::Superseded)));
    }
    confirm(ledger, &by(resumed.driver, &new), &order).await.expect("confirmed");
    assert!(ledger.resume_saga(new.id, driver(3).instance, now()).await.expect("answers").is_none());
    let nobody = ledger.resume_saga(new_order_id(), driver(3).instance, now()).await;
    assert!(nobody.expect("answers").is_none());
}

async fn a_saga_stuck_in_its_undo_is_marked_as_undoing(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let (new, order) = created(ledger, &[(product, 2)]).await;
    ledger.park_saga(saga(&new), StepName::CreateOrder, Some(Reason::PaymentDeclined)).await.expect("parked");
    let refused = confirm(ledger, &new, &order).await;
    assert!(matches!(refused, Err(SagaError::ToBeUndone(Reason::PaymentDeclined))), "{refused:?}");
    let resumed =
        ledger.resume_saga(new.id, driver(1).instance, now()).await.expect("answers").expect("stuck");
    assert_eq!(resumed.progress, Progress::Undoing(Reason::PaymentDeclined));
    let unknown = wish(&[(product, 1)]);
    let parked = ledger.park_saga(saga(&unknown), StepName::CreateOrder, Some(Reason::Expired)).await;
    assert!(matches!(parked, Err(SagaError::WrongState)), "{parked:?}");
}

async fn unfinished_sagas_are_taken_over_once(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (first, _) = created(ledger, &[(product, 1)]).await;
    let (second, _) = created(ledger, &[(product, 1)]).await;
    let (done, order) = created(ledger, &[(product, 1)]).await;
    confirm(ledger, &done, &order).await.expect("confirmed");
    let own = ledger.claim_sagas(first.driver.instance, Duration::ZERO, now()).await.expect("answers");
    assert!(own.is_empty(), "they are its own");
    let mut claimed = ledger.claim_sagas(driver(2).instance, Duration::ZERO, now()).await.expect("answers");
    claimed.sort_by_key(|saga| saga.order.id);
    let ids: Vec<_> = claimed.iter().map(|saga| saga.order.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    let wanted = Driver { instance: driver(2).instance, epoch: 2 };
    assert!(claimed.iter().all(|saga| saga.driver == wanted && saga.stuck.is_none()));
    assert!(ledger.claim_sagas(driver(2).instance, Duration::ZERO, now()).await.expect("answers").is_empty());
    let (third, _) = created(ledger, &[(product, 1)]).await;
    assert_eq!(open_ids(ledger).await, [first.id, second.id, third.id], "oldest first");
    let oldest = ledger.open_sagas(2).await.expect("answers");
    assert_eq!(oldest.iter().map(|saga| saga.order.id).collect::<Vec<_>>(), [first.id, second.id]);
}

// ── sagas that wait for their customers ──────────────────────────────────────────────────────────

const MINUTE: Duration = Duration::from_secs(60);

fn action() -> NextAction {
    NextAction::RedirectToUrl { url: "/challenge/'1\"".into() }
}

/// Rests for an hour, due in a minute.
fn rest_of(new: &NewOrder) -> Rest {
    let at = now();
    Rest { saga: saga(new), next_action: action(), until: at.plus(60 * MINUTE), look_at: at.plus(MINUTE) }
}

async fn rest(ledger: &dyn Ledger, new: &NewOrder) -> Result<(), SagaError> {
    ledger.rest_sagas(vec![rest_of(new)]).await.remove(0)
}

async fn wake(ledger: &dyn Ledger, order: OrderId, instance: u128) -> Option<OpenSaga> {
    ledger.wake_saga(order, driver(instance).instance, now()).await.expect("answers")
}

async fn wake_due(ledger: &dyn Ledger, at: Timestamp, limit: usize) -> Vec<OrderId> {
    let woken = ledger.wake_due_sagas(driver(7).instance, at, limit).await.expect("answers");
    assert!(
        woken.iter().all(|saga| saga.driver.instance == driver(7).instance && saga.waits_until.is_none())
    );
    woken.iter().map(|saga| saga.order.id).collect()
}

async fn a_saga_at_rest_is_nobodys_until_it_is_woken(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    let resting = rest_of(&new);
    assert!(ledger.rest_sagas(Vec::new()).await.is_empty());
    ledger.rest_sagas(vec![resting.clone()]).await.remove(0).expect("it rests");
    drop(ledger);
    let ledger = &*books.open().await;
    let saga = open(ledger).await.remove(0);
    assert_eq!((saga.waits_until, &saga.next_action), (Some(resting.until), &Some(action())));
    assert_eq!((saga.driver, saga.progress, saga.stuck), (new.driver, Progress::Forward, None));

    let later = now().plus(DAY);
    let claimed = ledger.claim_sagas(driver(2).instance, Duration::ZERO, later).await.expect("answers");
    assert!(claimed.is_empty(), "nobody has left it behind");
    let idle = ledger.idle_sagas(new.driver.instance, later, 10).await.expect("answers");
    assert!(idle.is_empty(), "nor has it stopped");
    let again = create(ledger, &new).await;
    assert!(matches!(again, Err(CreateOrderError::Driven(_))), "nor does a retry go on with it: {again:?}");
    assert!(!ledger.bury_saga(self::saga(&new), Reason::Expired).await.expect("answers"));
    assert_eq!(standing(ledger, product).await, (5, 2), "its units stay promised");
    let shelf = ledger.compare(product, &[new.id]).await.expect("answers").expect("a product").shelf;
    assert_eq!(shelf.pending.iter().map(|hold| hold.saga).collect::<Vec<_>>(), [new.id]);
    let known = ledger.find_purchase(UserId(1), new.purchase.key, Timestamp(0)).await.expect("answers");
    assert_eq!(known.expect("known").next_action, Some(action()));
    let actions = ledger.next_actions(&[new_order_id(), new.id]).await.expect("answers");
    assert_eq!(actions, [(new.id, action())].into());
    assert!(ledger.next_actions(&[]).await.expect("answers").is_empty());

    let woken = wake(ledger, new.id, 3).await.expect("it waits");
    assert_eq!(woken.driver, Driver { instance: driver(3).instance, epoch: 2 });
    assert_eq!((woken.waits_until, woken.progress), (None, Progress::Forward));
    assert_eq!(woken.next_action, Some(action()), "whoever looks knows that it waited");
    assert_eq!(woken.purchase.payment_token, new.purchase.payment_token);
    assert!(wake(ledger, new.id, 4).await.is_none(), "it is woken once");
    assert!(matches!(rest(ledger, &new).await, Err(SagaError::Superseded)));
    assert!(matches!(mark(ledger, &new, Reason::Expired).await, Err(SagaError::Superseded)));
    assert!(matches!(confirm(ledger, &new, &order).await, Err(SagaError::Superseded)));
    let actions = ledger.next_actions(&[new.id]).await.expect("answers");
    assert_eq!(actions.len(), 1, "the customer is shown the same while somebody looks");
    confirm(ledger, &by(woken.driver, &new), &order).await.expect("confirmed");
    assert!(ledger.next_actions(&[new.id]).await.expect("answers").is_empty());
    assert!(wake(ledger, new.id, 4).await.is_none() && wake(ledger, new_order_id(), 4).await.is_none());
    assert!(matches!(rest(ledger, &by(woken.driver, &new)).await, Err(SagaError::WrongState)));
}

/// Where an order stands.
async fn state(ledger: &dyn Ledger, id: OrderId) -> OrderState {
    ledger.order_states(&[id]).await.expect("answers").remove(0).expect("an order")
}

async fn an_order_and_its_saga_are_seen_as_they_stand(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (new, order) = created(ledger, &[(product, 1)]).await;
    let at_payment =
        SagaState { step: StepName::TakePayment, undoing: false, stuck: false, next_action: None };
    let pending = state(ledger, new.id).await;
    assert_eq!((pending.status, pending.reason), (OrderStatus::Pending, None));
    assert_eq!((pending.event_count, pending.updated_at), (3, order.updated_at));
    assert_eq!(pending.saga, Some(at_payment.clone()));

    rest(ledger, &new).await.expect("it rests");
    let waits = SagaState { next_action: Some(action()), ..at_payment.clone() };
    assert_eq!(state(ledger, new.id).await.saga, Some(waits.clone()));
    let woken = wake(ledger, new.id, 3).await.expect("it waits");
    assert_eq!(state(ledger, new.id).await.saga, Some(waits), "also while somebody looks");
    ledger.park_saga(saga(&by(woken.driver, &new)), StepName::ConfirmOrder, None).await.expect("parked");
    let stuck = SagaState { step: StepName::ConfirmOrder, stuck: true, ..at_payment };
    assert_eq!(state(ledger, new.id).await.saga, Some(stuck));
    let resumed =
        ledger.resume_saga(new.id, driver(3).instance, now()).await.expect("answers").expect("stuck");
    let confirmed = confirm(ledger, &by(resumed.driver, &new), &order).await.expect("confirmed");
    let seen = state(ledger, new.id).await;
    assert_eq!((seen.status, seen.event_count, seen.saga), (OrderStatus::Confirmed, 5, None));
    assert_eq!(seen.updated_at, confirmed.updated_at);

    let CancelRequest::Undo(_) = cancel(ledger, new.id, driver(4)).await else { panic!("undo it") };
    let seen = state(ledger, new.id).await;
    assert_eq!(seen.status, OrderStatus::Confirmed);
    assert!(seen.saga.is_some_and(|saga| saga.undoing && !saga.stuck), "its money is on its way back");
}

async fn the_states_of_many_orders_come_in_the_order_that_was_asked_for(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (failed, _) = created(ledger, &[(product, 1)]).await;
    fail(ledger, &failed, Reason::PaymentDeclined).await.expect("failed");
    let (wished, _) = created(ledger, &[(product, 1)]).await;
    assert_eq!(word(&cancel(ledger, wished.id, driver(1)).await), "recorded");
    let buried = wish(&[(product, 1)]);
    assert!(ledger.bury_saga(saga(&buried), Reason::Expired).await.expect("answers"));
    let asked = [wished.id, buried.id, new_order_id(), failed.id, wished.id];
    let states = ledger.order_states(&asked).await.expect("answers");
    assert_eq!(states.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true, true]);
    let [wish, .., end, again] = states.as_slice() else { panic!("five answers") };
    assert_eq!(wish, again);
    let wish = wish.as_ref().expect("an order");
    assert_eq!(wish.status, OrderStatus::Pending);
    assert!(wish.saga.as_ref().is_some_and(|saga| saga.undoing), "it will be undone");
    let end = end.as_ref().expect("an order");
    assert_eq!(
        (end.status, end.reason, &end.saga),
        (OrderStatus::Failed, Some(Reason::PaymentDeclined), &None)
    );
    assert!(ledger.order_states(&[]).await.expect("answers").is_empty());
}

async fn a_saga_at_rest_is_woken_when_it_is_due(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let mut orders = Vec::new();
    let at = now();
    for minutes in [3, 1, 2] {
        let (new, _) = created(ledger, &[(product, 1)]).await;
        let look_at = at.plus(minutes * MINUTE);
        ledger.rest_sagas(vec![Rest { look_at, ..rest_of(&new) }]).await.remove(0).expect("it rests");
        orders.push(new);
    }
    let (_, _) = created(ledger, &[(product, 1)]).await;
    let [third, first, second] = [0, 1, 2].map(|n: usize| orders[n].id);
    assert!(wake_due(ledger, Timestamp(at.plus(MINUTE).0 - 1), 10).await.is_empty());
    assert_eq!(wake_due(ledger, at.plus(MINUTE), 10).await, [first]);
    assert!(wake_due(ledger, at.plus(MINUTE), 10).await.is_empty(), "once");
    assert_eq!(wake_due(ledger, at.plus(DAY), 1).await, [second], "the longest due first");
    assert_eq!(wake_due(ledger, at.plus(DAY), 10).await, [third]);
    assert!(wake_due(ledger, at.plus(DAY), 10).await.is_empty());
    // Whoever woke them may die: then they are claimed like others.
    let claimed = ledger.claim_sagas(driver(9).instance, Duration::ZERO, at).await.expect("answers");
    assert_eq!(claimed.len(), 4);
    let waited = claimed.iter().filter(|saga| saga.next_action.is_some());
    assert!(waited.clone().all(|saga| saga.driver.epoch == 3) && waited.count() == 3);
}

async fn a_saga_that_is_looked_at_when_its_customer_acts_is_looked_at_again(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (new, _) = created(ledger, &[(product, 1)]).await;
    // Also before it rests for the first time.
    let mut driven = new.clone();
    for _ in 0..2 {
        assert!(wake(ledger, new.id, 8).await.is_none());
        rest(ledger, &driven).await.expect("it rests");
        assert_eq!(wake_due(ledger, now(), 10).await, [new.id]);
        let driver = open(ledger).await[0].driver;
        driven = by(driver, &new);
    }
    rest(ledger, &driven).await.expect("it rests");
    assert!(wake_due(ledger, now(), 10).await.is_empty(), "the mark is for once");
}

async fn a_wish_to_cancel_wakes_a_saga_to_be_undone(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[5]).await[0];
    let (new, order) = created(&*ledger, &[(product, 2)]).await;
    rest(&*ledger, &new).await.expect("it rests");
    let others = ledger.request_cancel(new.id, UserId(2), driver(1), now()).await.expect("answers");
    assert_eq!(word(&others), "not found");
    let CancelRequest::Undo(woken) = cancel(&*ledger, new.id, driver(5)).await else { panic!("undo it") };
    assert_eq!(woken.driver, Driver { instance: driver(5).instance, epoch: 2 });
    assert_eq!((woken.order.status, woken.waits_until), (OrderStatus::Pending, None));
    assert_eq!(woken.progress, Progress::Undoing(Reason::CancelledByCustomer));
    drop(ledger);
    let ledger = &*books.open().await;
    assert_eq!(word(&cancel(ledger, new.id, driver(6)).await), "under way");
    assert!(wake(ledger, new.id, 3).await.is_none());
    assert!(wake_due(ledger, now().plus(DAY), 10).await.is_empty());
    assert!(ledger.next_actions(&[new.id]).await.expect("answers").is_empty(), "there is nothing left to do");
    let known = ledger.find_purchase(UserId(1), new.purchase.key, Timestamp(0)).await.expect("answers");
    assert_eq!(known.expect("known").next_action, None);
    let mine = by(woken.driver, &new);
    assert!(matches!(rest(ledger, &mine).await, Err(SagaError::ToBeUndone(Reason::CancelledByCustomer))));
    assert!(matches!(confirm(ledger, &mine, &order).await, Err(SagaError::ToBeUndone(_))));
    mark(ledger, &mine, Reason::CancelledByCustomer).await.expect("marked");
    fail(ledger, &mine, Reason::CancelledByCustomer).await.expect("undone");
    assert_eq!(status(ledger, new.id).await, (OrderStatus::Cancelled, Some(Reason::CancelledByCustomer)));
    assert_eq!(standing(ledger, product).await, (5, 0));
}

async fn what_is_to_be_undone_does_not_rest(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (wished, _) = created(ledger, &[(product, 1)]).await;
    assert_eq!(word(&cancel(ledger, wished.id, driver(2)).await), "recorded");
    let (marked, _) = created(ledger, &[(product, 1)]).await;
    mark(ledger, &marked, Reason::PaymentUnknown).await.expect("marked");
    let (failed, _) = created(ledger, &[(product, 1)]).await;
    fail(ledger, &failed, Reason::PaymentDeclined).await.expect("failed");
    let buried = wish(&[(product, 1)]);
    assert!(ledger.bury_saga(saga(&buried), Reason::Expired).await.expect("answers"));
    let (good, _) = created(ledger, &[(product, 1)]).await;
    let other = by(driver(2), &good);
    let before = snapshot(ledger).await;
    let batch = [&wished, &marked, &failed, &buried, &other].map(rest_of);
    let answers = ledger.rest_sagas(batch.to_vec()).await;
    assert!(matches!(answers[0], Err(SagaError::ToBeUndone(Reason::CancelledByCustomer))), "{answers:?}");
    assert!(matches!(answers[1], Err(SagaError::ToBeUndone(Reason::PaymentUnknown))), "{answers:?}");
    assert!(matches!(answers[2..4], [Err(SagaError::WrongState), Err(SagaError::WrongState)]), "{answers:?}");
    assert!(matches!(answers[4], Err(SagaError::Superseded)), "{answers:?}");
    assert_eq!(snapshot(ledger).await, before);
    let answers = ledger.rest_sagas([&marked, &good].map(rest_of).to_vec()).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true], "each for itself");
}

async fn a_driver_who_never_heard_that_its_saga_rests_goes_on(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let at_rest = async || {
        let (new, order) = created(ledger, &[(product, 1)]).await;
        rest(ledger, &new).await.expect("it rests");
        rest(ledger, &new).await.expect("again");
        (new, order)
    };
    let (new, order) = at_rest().await;
    confirm(ledger, &new, &order).await.expect("confirmed");
    let (new, _) = at_rest().await;
    mark(ledger, &new, Reason::PaymentUnknown).await.expect("marked");
    assert!(wake(ledger, new.id, 2).await.is_none(), "what is undone is not woken");
    fail(ledger, &new, Reason::PaymentUnknown).await.expect("failed");
    let (new, _) = at_rest().await;
    ledger.park_saga(saga(&new), StepName::ConfirmOrder, None).await.expect("parked");
    assert!(wake(ledger, new.id, 2).await.is_none(), "what is stuck is resumed");
    assert!(wake_due(ledger, now().plus(DAY), 10).await.is_empty());
    let resumed = ledger.resume_saga(new.id, driver(1).instance, now()).await.expect("answers");
    assert_eq!(resumed.expect("stuck").waits_until, None);
}

async fn many_who_wake_one_saga_have_one_winner(books: impl Books) {
    let ledger = books.open().await;
    let product = stock(&*ledger, &[99]).await[0];
    for _ in 0..10 {
        let (new, order) = created(&*ledger, &[(product, 1)]).await;
        let at = now();
        let due = Rest { look_at: at, ..rest_of(&new) };
        ledger.rest_sagas(vec![due]).await.remove(0).expect("it rests");
        let attempt = |n: u128| {
            let (ledger, id, instance) = (Arc::clone(&ledger), new.id, driver(10 + n).instance);
            tokio::spawn(async move {
                match n % 3 {
                    0 => ledger.wake_due_sagas(instance, at, 10).await.expect("answers").len(),
                    1 => usize::from(ledger.wake_saga(id, instance, at).await.expect("answers").is_some()),
                    _ => {
                        let driver = Driver { instance, epoch: 1 };
                        let asked = ledger.request_cancel(id, UserId(1), driver, at).await.expect("answers");
                        usize::from(matches!(asked, CancelRequest::Undo(_)))
                    }
                }
            })
        };
        let mut winners = 0;
        for task in (0..9).map(attempt).collect::<Vec<_>>() {
            winners += task.await.expect("a task ends");
        }
        assert_eq!(winners, 1);
        let saga = open(&*ledger).await.pop().expect("open");
        assert_eq!((saga.order.id, saga.driver.epoch), (order.id, 2));
    }
}

// ── reading orders ───────────────────────────────────────────────────────────────────────────────

async fn orders_are_listed_in_parts(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[99]).await[0];
    let batch: Vec<_> = (0..12).map(|n| new(purchase(n % 2, &n.to_string(), &[(product, 1)]))).collect();
    assert!(ledger.create_orders(batch.clone()).await.iter().all(Result::is_ok));
    let all: Vec<_> = batch.iter().map(|new| new.id).collect();

    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let part = ledger.orders_after(after, 5).await.expect("answers");
        assert!(part.len() <= 5);
        let Some(last) = part.last() else { break };
        after = Some(last.id);
        read.extend(part.iter().map(|order| order.id));
    }
    assert_eq!(read, all, "everybody's, oldest first");

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let part = ledger.newest_orders(before, 5).await.expect("answers");
        assert!(part.len() <= 5);
        let Some(last) = part.last() else { break };
        assert_eq!((last.lines.len(), last.total), (1, euro(250)), "whole orders");
        before = Some(last.id);
        read.extend(part.iter().map(|order| order.id));
    }
    assert_eq!(read, all.iter().copied().rev().collect::<Vec<_>>(), "everybody's, newest first");

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let part = ledger.orders_of(UserId(1), before, 4).await.expect("answers");
        assert!(part.len() <= 4);
        let Some(last) = part.last() else { break };
        before = Some(last.id);
        read.extend(part.iter().map(|order| order.id));
    }
    let own: Vec<_> = all.iter().copied().skip(1).step_by(2).rev().collect();
    assert_eq!(read, own, "their own, newest first");
    assert!(ledger.orders_of(UserId(3), None, 4).await.expect("answers").is_empty());
    assert!(ledger.order(new_order_id()).await.expect("answers").is_none());
    assert!(ledger.events_of(new_order_id()).await.expect("answers").is_empty());
}

async fn an_order_keeps_what_was_sold(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[9]).await[0];
    let (_, order) = created(ledger, &[(product, 2)]).await;
    let change =
        ProductChange { name: Some("New name".into()), price: Some(euro(999)), ..Default::default() };
    ledger.change_product(product, change, now()).await.expect("changed");
    assert_eq!(ledger.order(order.id).await.expect("answers"), Some(order));
    let (_, later) = created(ledger, &[(product, 1)]).await;
    assert_eq!((later.total, &*later.lines[0].name), (euro(999), "New name"));
}

async fn everything_is_known_after_opening_again(books: impl Books) {
    let ledger = books.open().await;
    let products = stock(&*ledger, &[9, 9]).await;
    let lines = [(products[0], 2), (products[1], 1)];
    let (_, _) = created(&*ledger, &lines).await;
    let (failed, _) = created(&*ledger, &lines).await;
    fail(&*ledger, &failed, Reason::PaymentDeclined).await.expect("failed");
    let (sold, order) = created(&*ledger, &lines).await;
    confirm(&*ledger, &sold, &order).await.expect("confirmed");
    ledger.adjust_stock(adjustment(products[0], 5, "key")).await.expect("adjusted");
    let before = snapshot(&*ledger).await;
    drop(ledger);
    let ledger = &*books.open().await;
    assert_eq!(snapshot(ledger).await, before);
    ledger.ping().await.expect("it is open");
}

// ── products and stock ───────────────────────────────────────────────────────────────────────────

async fn products_are_created_all_or_none(books: impl Books) {
    let ledger = &*books.open().await;
    let batch = vec![new_product("a", 5, PRICE), new_product("b", 0, euro(0))];
    let products = ledger.create_products(batch.clone(), now()).await.expect("created");
    for (product, new) in products.iter().zip(&batch) {
        assert!(product.id.0 > 0);
        let NewProduct { sku, name, description, category, price, stock } = new;
        assert_eq!((&product.sku, &product.name, &product.description), (sku, name, description));
        assert_eq!((&product.category, product.price, product.stock), (category, *price, *stock));
        assert_eq!((product.reserved, product.available()), (0, *stock));
        assert_eq!(ledger.product(product.id).await.expect("answers").as_ref(), Some(product));
    }
    assert_eq!(logged(ledger, products[0].id).await, (5, 0), "opening stock is in the log");
    let before = snapshot(ledger).await;
    let taken = vec![new_product("c", 1, PRICE), new_product("a", 1, PRICE)];
    let twice = vec![new_product("c", 1, PRICE), new_product("d", 1, PRICE), new_product("c", 1, PRICE)];
    for (batch, taken) in [(taken, "a"), (twice, "c")] {
        let error = ledger.create_products(batch, now()).await.expect_err("a sku is taken");
        assert!(matches!(&error, ProductError::SkuTaken(sku) if sku == taken), "{error:?}");
        assert_eq!(snapshot(ledger).await, before, "none is created");
    }
    assert!(ledger.create_products(Vec::new(), now()).await.expect("nothing to do").is_empty());
    assert!(ledger.product(ProductId(99)).await.expect("answers").is_none());
}

async fn a_product_is_changed_only_as_it_was_seen(books: impl Books) {
    let ledger = &*books.open().await;
    let id = stock(ledger, &[5]).await[0];
    let seen = ledger.product(id).await.expect("answers").expect("a product");
    let change = |version| ProductChange {
        description: Some("other".into()),
        category: Some("elsewhere".into()),
        price: Some(Money::new(7, holdfast::domain::Currency::GBP)),
        version,
        ..Default::default()
    };
    let at = now().plus(DAY);
    let changed = ledger.change_product(id, change(Some(seen.version)), at).await.expect("changed");
    assert!(changed.version > seen.version);
    assert_eq!(
        (&changed.name, &*changed.description, &*changed.category),
        (&seen.name, "other", "elsewhere")
    );
    assert_eq!((changed.price.minor, changed.updated_at), (7, at));
    assert_eq!(ledger.product(id).await.expect("answers").as_ref(), Some(&changed));
    let late = ledger.change_product(id, change(Some(seen.version)), at).await.expect_err("it has changed");
    assert!(matches!(late, ProductError::VersionConflict { current } if current == changed.version));
    ledger.change_product(id, change(None), at).await.expect("changed whatever it was");
    let unknown = ledger.change_product(ProductId(99), change(None), at).await;
    assert!(matches!(unknown, Err(ProductError::NotFound)));
}

async fn every_change_of_stock_has_a_new_version(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    let version = async || ledger.product(product).await.expect("answers").expect("a product").version;
    let mut versions = vec![version().await];
    let (new, order) = created(ledger, &[(product, 1)]).await;
    versions.push(version().await);
    confirm(ledger, &new, &order).await.expect("confirmed");
    versions.push(version().await);
    let (new, _) = created(ledger, &[(product, 1)]).await;
    versions.push(version().await);
    fail(ledger, &new, Reason::PaymentDeclined).await.expect("failed");
    versions.push(version().await);
    ledger.adjust_stock(adjustment(product, 1, "key")).await.expect("adjusted");
    versions.push(version().await);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

fn adjustment(product: ProductId, delta: i64, key: &str) -> Adjustment {
    let body = holdfast::domain::Digest::of(&[&product.0.to_le_bytes(), &delta.to_le_bytes()]);
    Adjustment { product, delta, reason: "restock".into(), key: key_of(0, key), body, at: now() }
}

async fn stock_is_adjusted_once_a_key(books: impl Books) {
    let ledger = books.open().await;
    let products = stock(&*ledger, &[5, 5]).await;
    let (a, b) = (products[0], products[1]);
    let first = ledger.adjust_stock(adjustment(a, 3, "key")).await.expect("adjusted");
    assert_eq!((first.product.stock, first.repeated), (8, false));
    drop(ledger);
    let ledger = &*books.open().await;
    let again = ledger.adjust_stock(adjustment(a, 3, "key")).await.expect("adjusted before");
    assert_eq!((again.product.stock, again.repeated), (8, true));
    for other in [adjustment(a, 4, "key"), adjustment(b, 3, "key")] {
        let refused = ledger.adjust_stock(other).await;
        assert!(matches!(refused, Err(AdjustError::KeyReused)), "{refused:?}");
    }
    let down = ledger.adjust_stock(adjustment(a, -8, "other key")).await.expect("adjusted");
    assert_eq!((down.product.stock, down.product.available()), (0, 0));
    assert_eq!((logged(ledger, a).await, logged(ledger, b).await), ((0, 0), (5, 0)));
}

async fn only_available_units_are_taken_away(books: impl Books) {
    let ledger = &*books.open().await;
    let product = stock(ledger, &[5]).await[0];
    created(ledger, &[(product, 3)]).await;
    let before = snapshot(ledger).await;
    for delta in [-3, i64::MIN] {
        let refused = ledger.adjust_stock(adjustment(product, delta, "key")).await;
        assert!(matches!(refused, Err(AdjustError::TooFew { available: 2 })), "{refused:?}");
    }
    let refused = ledger.adjust_stock(adjustment(product, i64::MAX, "key")).await;
    assert!(matches!(refused, Err(AdjustError::TooMany)), "{refused:?}");
    let refused = ledger.adjust_stock(adjustment(ProductId(99), 1, "key")).await;
    assert!(matches!(refused, Err(AdjustError::NotFound)), "{refused:?}");
    assert_eq!(snapshot(ledger).await, before);
    ledger.adjust_stock(adjustment(product, -2, "key")).await.expect("a refusal leaves the key free");
    assert_eq!(standing(ledger, product).await, (3, 3));
}

async fn changes_of_stock_are_listed_by_product_newest_first(books: impl Books) {
    let ledger = &*books.open().await;
    let products = stock(ledger, &[5, 5, 0]).await;
    let (a, b, empty) = (products[0], products[1], products[2]);
    let (new, order) = created(ledger, &[(a, 2), (b, 1)]).await;
    confirm(ledger, &new, &order).await.expect("confirmed");
    ledger.adjust_stock(adjustment(b, 7, "other key")).await.expect("adjusted");
    let taken_away =
        Adjustment { reason: "fell off a lorry — größtenteils".into(), ..adjustment(a, -3, "key") };
    ledger.adjust_stock(taken_away.clone()).await.expect("adjusted");
    let CancelRequest::Undo(open_saga) = cancel(ledger, new.id, driver(5)).await else { panic!("undo it") };
    let back = SagaRef { driver: open_saga.driver, ..saga(&new) };
    let money = Some(paid(&order));
    let undoing =
        Undoing { saga: back, reason: Reason::CancelledByCustomer, capture: money.clone(), refund: money };
    ledger.restock_orders(vec![undoing]).await.remove(0).expect("taken back");

    let log = async |product, limit| ledger.stock_log(product, limit).await.expect("answers");
    let changes = log(a, 10).await;
    let without_time: Vec<_> = changes.iter().map(|c| (c.delta, &*c.reason, c.order)).collect();
    let expected = [
        (2, "cancel", Some(new.id)),
        (-3, "fell off a lorry — größtenteils", None),
        (-2, "sale", Some(new.id)),
        (5, "opening", None),
    ];
    assert_eq!(without_time, expected);
    assert_eq!((changes[0].at, changes[1].at), (back.at, taken_away.at));
    assert_eq!(log(a, 2).await, changes[..2]);
    let of_b: Vec<_> = log(b, 10).await.iter().map(|change| change.delta).collect();
    assert_eq!(of_b, [1, 7, -1, 5]);
    assert_eq!((log(empty, 10).await, log(ProductId(99), 10).await), (vec![], vec![]));
}

async fn changes_of_stock_are_looked_for_among_the_newest_of_all(books: impl Books) {
    let ledger = &*books.open().await;
    assert_eq!(ledger.stock_log(ProductId(1), 10).await.expect("answers"), [], "the log is empty");
    let product = stock(ledger, &[5]).await[0];
    let opening = ledger.stock_log(product, 10).await.expect("answers");
    assert!(matches!(&opening[..], [StockLogEntry { delta: 5, order: None, .. }]), "{opening:?}");
    // As if so many changes of another product had come after it.
    let others = async |entries: i64| {
        let statement = format!(
            "INSERT INTO inventory_logs (id, product_id, change_amount, reason, created_at) \
             SELECT MAX(id) + {entries}, 99, 1, 'restock', 0 FROM inventory_logs"
        );
        books.tamper(&statement).await;
    };
    others(STOCK_LOG_REACH - 1).await;
    assert_eq!(ledger.stock_log(product, 10).await.expect("answers"), opening);
    others(1).await;
    assert_eq!(ledger.stock_log(product, 10).await.expect("answers"), []);
    ledger.adjust_stock(adjustment(product, 3, "key")).await.expect("adjusted");
    assert_eq!(ledger.stock_log(product, 10).await.expect("answers").len(), 1);
}

async fn levels_are_those_of_every_product(books: impl Books) {
    let ledger = &*books.open().await;
    let products = stock(ledger, &[5, 0]).await;
    created(ledger, &[(products[0], 3)]).await;
    let level = |product, stock, reserved| StockLevel { product, stock, reserved };
    let levels = ledger.stock_levels().await.expect("answers");
    assert_eq!(levels, [level(products[0], 5, 3), level(products[1], 0, 0)]);
}

async fn products_are_found_by_text_and_category(books: impl Books) {
    let ledger = &*books.open().await;
    let product = |sku: &str, name: &str, category: &str| NewProduct {
        name: name.into(),
        category: category.into(),
        ..new_product(sku, 1, PRICE)
    };
    let batch = vec![
        product("LAMP-1", "Red lamp", "lamps"),
        product("LAMP-2", "Blue 100% lamp", "lamps"),
        product("CUP_1", "Red cup", "cups"),
        product("CUPX1", "Blue cup", "cups"),
    ];
    let ids: Vec<_> =
        ledger.create_products(batch, now()).await.expect("created").iter().map(|p| p.id).collect();
    let find = async |text: Option<&str>, category: Option<&str>, after: Option<ProductId>, limit| {
        let (text, category) = (text.map(str::to_owned), category.map(str::to_owned));
        let found = ledger.products(&ProductQuery { text, category, after, limit }).await.expect("answers");
        let place = |product: Product| ids.iter().position(|id| *id == product.id).expect("one of them");
        found.into_iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(find(None, None, None, 10).await, [0, 1, 2, 3]);
    assert_eq!(find(None, None, None, 2).await, [0, 1]);
    assert_eq!(find(None, None, Some(ids[1]), 2).await, [2, 3]);
    assert_eq!(find(None, Some("cups"), None, 10).await, [2, 3]);
    assert_eq!(find(Some("RED"), None, None, 10).await, [0, 2]);
    assert_eq!(find(Some("lamp-"), None, None, 10).await, [0, 1]);
    assert_eq!(find(Some("red"), Some("cups"), Some(ids[0]), 10).await, [2]);
    assert_eq!(find(Some("%"), None, None, 10).await, [1], "a percent sign is a percent sign");
    assert_eq!(find(Some("P_1"), None, None, 10).await, [2], "an underscore is an underscore");
    assert_eq!(find(Some("\\"), None, None, 10).await, [0; 0]);
    assert_eq!(find(Some("'; DROP TABLE products"), None, None, 10).await, [0; 0]);
    assert_eq!(ledger.categories(10).await.expect("answers"), ["cups", "lamps"]);
    assert_eq!(ledger.categories(1).await.expect("answers"), ["cups"]);
}

// ── accounts ─────────────────────────────────────────────────────────────────────────────────────

async fn an_address_has_one_account_in_any_case(books: impl Books) {
    let ledger = &*books.open().await;
    let create = async |email: &str, role| {
        ledger.create_account(email.to_owned(), format!("hash of {email}"), role, now()).await
    };
    assert!(!ledger.has_account_with(Role::Customer).await.expect("answers"));
    let ada = create("Ada@example.com", Role::Customer).await.expect("created");
    let taken = create("ada@EXAMPLE.com", Role::Admin).await;
    assert!(matches!(taken, Err(AccountError::EmailTaken)), "{taken:?}");
    assert!(!ledger.has_account_with(Role::Admin).await.expect("answers"));
    let bob = create("bob@example.com", Role::Admin).await.expect("created");
    assert_ne!(ada, bob);
    assert!(ledger.has_account_with(Role::Admin).await.expect("answers"));
    let found = ledger.account_by_email("ADA@example.COM").await.expect("answers").expect("an account");
    assert_eq!((found.id, found.role), (ada, Role::Customer));
    assert_eq!(found.password_hash, "hash of Ada@example.com");
    assert!(ledger.account_by_email("nobody@example.com").await.expect("answers").is_none());
}

/// An account with that role.
async fn account(ledger: &dyn Ledger, email: &str, role: Role) -> UserId {
    ledger.create_account(email.to_owned(), "hash".into(), role, now()).await.expect("created")
}

async fn admins(ledger: &dyn Ledger) -> Vec<UserId> {
    let query = AccountQuery { role: Some(Role::Admin), limit: 100, ..Default::default() };
    ledger.accounts(&query).await.expect("answers").iter().map(|account| account.id).collect()
}

async fn accounts_are_found_by_text_and_role(books: impl Books) {
    let ledger = &*books.open().await;
    let at = now();
    let mut ids = Vec::new();
    for (email, role) in [
        ("Ada.L@example.com", Role::Admin),
        ("bob_1@example.com", Role::Customer),
        ("bobx1@Example.org", Role::Customer),
        ("50%off@example.org", Role::Admin),
        ("b\\z@müller.example", Role::Customer),
    ] {
        let created = ledger.create_account(email.into(), "hash".into(), role, at).await;
        ids.push(created.expect("created"));
    }
    let all = AccountQuery { limit: 10, ..Default::default() };
    let listed = ledger.accounts(&all).await.expect("answers");
    let ada =
        AccountSummary { id: ids[0], email: "Ada.L@example.com".into(), role: Role::Admin, created_at: at };
    assert_eq!(listed[0], ada, "as it was written");
    let find = async |text: Option<&str>, role, after: Option<UserId>, limit| {
        let query = AccountQuery { text: text.map(str::to_owned), role, after, limit };
        let found = ledger.accounts(&query).await.expect("answers");
        let place =
            |account: AccountSummary| ids.iter().position(|id| *id == account.id).expect("one of them");
        found.into_iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(find(None, None, None, 10).await, [0, 1, 2, 3, 4]);
    assert_eq!(find(None, None, None, 2).await, [0, 1]);
    assert_eq!(find(None, None, Some(ids[1]), 2).await, [2, 3]);
    assert_eq!(find(None, None, Some(ids[4]), 2).await, [0; 0]);
    assert_eq!(find(None, Some(Role::Admin), None, 10).await, [0, 3]);
    assert_eq!(find(None, Some(Role::Admin), Some(ids[0]), 10).await, [3]);
    assert_eq!(find(Some(""), None, None, 10).await, [0, 1, 2, 3, 4]);
    assert_eq!(find(Some("ada.l@EXAMPLE.com"), None, None, 10).await, [0]);
    assert_eq!(find(Some("EXAMPLE.ORG"), None, None, 10).await, [2, 3]);
    assert_eq!(find(Some("example.org"), Some(Role::Customer), None, 10).await, [2]);
    assert_eq!(find(Some("b_1"), None, None, 10).await, [1], "an underscore is an underscore");
    assert_eq!(find(Some("%"), None, None, 10).await, [3], "a percent sign is a percent sign");
    assert_eq!(find(Some("\\"), None, None, 10).await, [4], "a backslash is a backslash");
    assert_eq!(find(Some("müller"), None, None, 10).await, [4]);
    assert_eq!(find(Some("muller"), None, None, 10).await, [0; 0], "letters are not taken for others");
    assert_eq!(find(Some("'; DROP TABLE accounts"), None, None, 10).await, [0; 0]);
}

async fn a_role_is_changed_and_somebody_stays_administrator(books: impl Books) {
    let ledger = books.open().await;
    let ada = account(&*ledger, "ada@example.com", Role::Admin).await;
    let bob = account(&*ledger, "bob@example.com", Role::Customer).await;
    let unknown = ledger.change_role(UserId(99), Role::Admin).await;
    assert!(matches!(unknown, Err(RoleError::NotFound)), "{unknown:?}");
    for _ in 0..2 {
        let refused = ledger.change_role(ada, Role::Customer).await;
        assert!(matches!(refused, Err(RoleError::LastAdmin)), "{refused:?}");
        let same = ledger.change_role(ada, Role::Admin).await.expect("it is one");
        assert_eq!((same.id, same.role), (ada, Role::Admin));
        let same = ledger.change_role(bob, Role::Customer).await.expect("it is one");
        assert_eq!((same.id, same.role), (bob, Role::Customer));
        assert_eq!(admins(&*ledger).await, [ada]);
    }
    let promoted = ledger.change_role(bob, Role::Admin).await.expect("promoted");
    assert_eq!((promoted.id, &*promoted.email, promoted.role), (bob, "bob@example.com", Role::Admin));
    assert_eq!(admins(&*ledger).await, [ada, bob]);
    let before = ledger.account_by_email("ada@example.com").await.expect("answers").expect("an account");
    let demoted = ledger.change_role(ada, Role::Customer).await.expect("there is another");
    assert_eq!((demoted.id, demoted.role), (ada, Role::Customer));
    drop(ledger);
    let ledger = &*books.open().await;
    assert_eq!(admins(ledger).await, [bob]);
    let after = ledger.account_by_email("ada@example.com").await.expect("answers").expect("an account");
    assert_eq!((after.role, after.password_hash), (Role::Customer, before.password_hash), "and signs in");
    let refused = ledger.change_role(bob, Role::Customer).await;
    assert!(matches!(refused, Err(RoleError::LastAdmin)), "{refused:?}");
}

async fn of_administrators_who_step_down_at_once_one_stays(books: impl Books) {
    let ledger = books.open().await;
    let mut people = vec![account(&*ledger, "0@example.com", Role::Admin).await];
    for n in 1..4 {
        people.push(account(&*ledger, &format!("{n}@example.com"), Role::Customer).await);
    }
    // Two are the hardest.
    for (round, crowd) in [2; 15].into_iter().chain([4; 5]).enumerate() {
        let crowd = &people[..crowd];
        for id in crowd {
            ledger.change_role(*id, Role::Admin).await.expect("promoted");
        }
        let step_down = |id: UserId| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.change_role(id, Role::Customer).await })
        };
        let mut refused = 0;
        for task in crowd.iter().map(|id| step_down(*id)).collect::<Vec<_>>() {
            match task.await.expect("a task ends") {
                Ok(account) => assert_eq!(account.role, Role::Customer),
                Err(RoleError::LastAdmin) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((refused, admins(&*ledger).await.len()), (1, 1), "round {round}");
    }
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                an_order_is_created_at_the_prices_of_the_ledger,
                creating_again_gives_the_same_order_and_reserves_once,
                an_order_goes_on_with_the_driver_who_created_it,
                a_batch_is_served_in_order_of_arrival_by_whole_orders,
                lines_of_one_product_are_summed_first,
                a_refused_order_leaves_nothing_behind,
                a_refused_order_spoils_none_of_its_batch,
                a_crowd_gets_exactly_what_there_is,
                a_call_that_fails_spoils_none_beside_it,
                a_key_belongs_to_one_order_of_its_customer,
                a_purchase_is_found_by_its_key_also_after_opening_again,
                many_keys_are_found_together_each_with_its_own_answer,
                a_key_is_free_again_after_a_day,
                a_confirmed_order_has_left_the_stock,
                an_order_without_a_payment_tells_of_none,
                confirming_again_changes_nothing,
                a_driver_that_was_replaced_changes_nothing,
                one_bad_confirmation_spoils_none_of_its_batch,
                after_the_mark_nobody_confirms,
                a_confirmed_order_is_not_undone,
                a_failed_order_gives_its_reservation_back_once,
                a_failed_order_tells_of_its_refund,
                under_a_tombstone_no_order_comes,
                an_order_is_not_buried,
                a_late_create_does_not_outrun_its_burial,
                a_wish_to_cancel_keeps_a_pending_order_from_being_confirmed,
                a_wish_and_a_confirmation_at_once_have_one_winner,
                only_the_customer_cancels_and_only_what_can_be,
                a_confirmed_order_is_taken_back_once,
                a_pending_order_is_not_restocked,
                the_overview_counts_sagas_and_names_the_stuck_ones,
                a_stuck_saga_waits_until_it_is_resumed,
                a_saga_stuck_in_its_undo_is_marked_as_undoing,
                unfinished_sagas_are_taken_over_once,
                a_saga_at_rest_is_nobodys_until_it_is_woken,
                an_order_and_its_saga_are_seen_as_they_stand,
                the_states_of_many_orders_come_in_the_order_that_was_asked_for,
                a_saga_at_rest_is_woken_when_it_is_due,
                a_saga_that_is_looked_at_when_its_customer_acts_is_looked_at_again,
                a_wish_to_cancel_wakes_a_saga_to_be_undone,
                what_is_to_be_undone_does_not_rest,
                a_driver_who_never_heard_that_its_saga_rests_goes_on,
                many_who_wake_one_saga_have_one_winner,
                orders_are_listed_in_parts,
                an_order_keeps_what_was_sold,
                everything_is_known_after_opening_again,
                products_are_created_all_or_none,
                a_product_is_changed_only_as_it_was_seen,
                every_change_of_stock_has_a_new_version,
                stock_is_adjusted_once_a_key,
                only_available_units_are_taken_away,
                changes_of_stock_are_listed_by_product_newest_first,
                changes_of_stock_are_looked_for_among_the_newest_of_all,
                levels_are_those_of_every_product,
                products_are_found_by_text_and_category,
                an_address_has_one_account_in_any_case,
                accounts_are_found_by_text_and_role,
                a_role_is_changed_and_somebody_stays_administrator,
                of_administrators_who_step_down_at_once_one_stays,
            ]
        );
    };
}

behaviours!(sqlite, super::File::fresh());
behaviours!(cluster, super::Database::fresh().await);
