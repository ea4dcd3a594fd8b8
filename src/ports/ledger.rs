//! The ledger: products, orders, sagas, stock log, outbox and accounts. What it has committed is true.
//!
//! Everything about sagas is a compare-and-set that names the saga's [`Driver`]: a driver that
//! was replaced changes nothing and is told [`Superseded`](SagaError::Superseded). Every call can
//! be repeated with the same ids and then finds its own effect. To add an adapter, see
//! [`crate::ports`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    Capture, Digest, Driver, Event, InstanceId, Left, Money, NewProduct, NextAction, Order, OrderId,
    OrderStatus, Product, ProductChange, ProductId, Purchase, Reason, Shelf, StepName, StockChange,
    StockLevel, Timestamp, UserId,
};

use super::Unavailable;

/// An order to be created as PENDING with its units reserved.
#[derive(Clone)]
pub struct NewOrder {
    pub id: OrderId,
    pub driver: Driver,
    pub purchase: Arc<Purchase>,
    pub at: Timestamp,
}

/// Why an order was not created; nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateOrderError {
    #[error("too few units are left")]
    InsufficientStock { lines: Vec<Left> },
    #[error("product {0} is not known")]
    UnknownProduct(ProductId),
    /// The lines are priced in more than one currency.
    #[error("the lines are in different currencies")]
    MixedCurrencies,
    #[error("the total is larger than any amount of money can be")]
    TotalOverflow,
    #[error("the total is {total}, not what the customer expected")]
    PriceChanged { total: Money },
    /// The customer's key belongs to another order.
    #[error("the key belongs to order {0}")]
    KeyTaken(OrderId),
    /// The order is PENDING, and its saga is another driver's, is being undone or is stuck: it does not go
    /// on from here.
    #[error("the order's saga is under way elsewhere")]
    Driven(Arc<Order>),
    /// A tombstone, or an order that has ended, stands under the id.
    #[error("the attempt has expired")]
    Expired,
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// Names a saga and who says so.
#[derive(Clone, Copy, Debug)]
pub struct SagaRef {
    pub id: OrderId,
    pub driver: Driver,
    pub at: Timestamp,
}

/// Why a change of a saga was not made; nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SagaError {
    /// Another driver owns the saga.
    #[error("another driver owns the saga")]
    Superseded,
    /// The order may not be confirmed any more.
    #[error("it is to be undone: {0}")]
    ToBeUndone(Reason),
    /// The order is in a state from which the change makes no sense.
    #[error("the order is not in a state for this")]
    WrongState,
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// An order to be confirmed, with the money taken for it (`None` when the total is 0).
#[derive(Clone)]
pub struct Confirmation {
    pub saga: SagaRef,
    pub order: Arc<Order>,
    pub capture: Option<Capture>,
}

/// An order to be given up: FAILED or CANCELLED by the reason, its reservation given back.
#[derive(Clone)]
pub struct Undoing {
    pub saga: SagaRef,
    pub reason: Reason,
    /// Money that had been taken.
    pub capture: Option<Capture>,
    /// Money that was given back.
    pub refund: Option<Capture>,
}

/// An order whose units are in stock again.
#[derive(Clone)]
pub struct Restocked {
    pub order: Arc<Order>,
    /// What the stock gate has to be told; nothing when they were before this call.
    pub changes: Vec<StockChange>,
}

/// A saga that comes to rest until its customer has acted.
#[derive(Clone, Debug)]
pub struct Rest {
    pub saga: SagaRef,
    /// What the customer has to do.
    pub next_action: NextAction,
    /// From here on it is undone.
    pub until: Timestamp,
    /// When it is due to be looked at, unless somebody says before that the customer has acted.
    pub look_at: Timestamp,
}

/// A saga that is not finished, with all that is needed to go on.
pub struct OpenSaga {
    pub order: Arc<Order>,
    pub purchase: Arc<Purchase>,
    pub driver: Driver,
    pub progress: Progress,
    pub stuck: Option<StepName>,
    /// It waits for its customer, until then at most. Nobody drives it.
    pub waits_until: Option<Timestamp>,
    /// What its customer has to do, or had to.
    pub next_action: Option<NextAction>,
    pub updated_at: Timestamp,
}

/// Unfinished sagas, counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SagaOverview {
    pub open: u64,
    /// Those among them that wait for their customers.
    pub waiting: u64,
    pub stuck: Vec<StuckSaga>,
}

/// A saga that needs an administrator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StuckSaga {
    pub id: OrderId,
    pub step: StepName,
    pub since: Timestamp,
}

/// What the ledger knows of an unfinished saga's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The order is PENDING and may become CONFIRMED.
    Forward,
    /// It may only be undone.
    Undoing(Reason),
}

/// What came of a customer's wish to cancel.
pub enum CancelRequest {
    /// The order is PENDING: its saga will see the wish.
    Recorded(Arc<Order>),
    /// The order was CONFIRMED, or waited for its customer: this saga undoes it now.
    Undo(Box<OpenSaga>),
    /// It is being undone already, for whatever reason.
    UnderWay(Arc<Order>),
    /// It was CANCELLED before.
    Done(Arc<Order>),
    /// It FAILED: there is nothing to cancel.
    NotPossible(Arc<Order>),
    /// The customer has no such order.
    NotFound,
}

/// A customer's key that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct SoughtKey {
    pub user: UserId,
    pub key: Digest,
    /// What is older does not count.
    pub since: Timestamp,
}

/// A purchase that the ledger remembers under a customer's key.
#[derive(Clone, Debug)]
pub struct KnownPurchase {
    pub order: Arc<Order>,
    pub body: Digest,
    /// Its saga waits for an administrator.
    pub stuck: bool,
    /// It is PENDING, and its customer has to do this.
    pub next_action: Option<NextAction>,
}

/// What an order has come to, and how many events tell of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderStanding {
    pub status: OrderStatus,
    pub event_count: u32,
}

/// An order at one moment, without what never changes, and what its saga is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderState {
    pub status: OrderStatus,
    pub reason: Option<Reason>,
    pub updated_at: Timestamp,
    /// How many events tell of it.
    pub event_count: u32,
    /// `None` once the saga has ended.
    pub saga: Option<SagaState>,
}

/// What a saga that has not ended is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SagaState {
    pub step: StepName,
    /// It is being undone, or will be because its customer wishes to cancel.
    pub undoing: bool,
    pub stuck: bool,
    /// What the customer has to do, where the order waits for that.
    pub next_action: Option<NextAction>,
}

/// A change of stock by an administrator.
#[derive(Clone, Debug)]
pub struct Adjustment {
    pub product: ProductId,
    /// Units that come (positive) or go (negative), not 0.
    pub delta: i64,
    /// In the administrator's words.
    pub reason: String,
    pub key: Digest,
    pub body: Digest,
    pub at: Timestamp,
}

/// Why a change of stock was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdjustError {
    #[error("there is no such product")]
    NotFound,
    #[error("only {available} units are available to take away")]
    TooFew { available: i64 },
    #[error("the stock would be larger than can be counted")]
    TooMany,
    #[error("the key was used for another change")]
    KeyReused,
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// Stock after a change. `repeated` when the change had been made before under its key.
#[derive(Clone, Debug)]
pub struct Adjusted {
    pub product: Product,
    pub repeated: bool,
}

/// Why a product was not created or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProductError {
    #[error("there is no such product")]
    NotFound,
    #[error("the sku {0:?} is taken")]
    SkuTaken(String),
    #[error("the product has changed since: it is at version {current}")]
    VersionConflict { current: i64 },
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// Which products to list, in id order.
#[derive(Clone, Default, Debug)]
pub struct ProductQuery {
    /// Part of a name or sku, in any case.
    pub text: Option<String>,
    pub category: Option<String>,
    pub after: Option<ProductId>,
    pub limit: usize,
}

/// An account with what is needed to sign in.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: UserId,
    pub email: String,
    /// In PHC string format.
    pub password_hash: String,
    pub role: Role,
}

/// What an account may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys, and sees their own orders.
    Customer,
    /// Changes products and stock, sees and resumes sagas.
    Admin,
}

/// Why an account was not created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccountError {
    #[error("the address has an account already")]
    EmailTaken,
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// An account without what is needed to sign in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountSummary {
    pub id: UserId,
    pub email: String,
    pub role: Role,
    pub created_at: Timestamp,
}

/// Which accounts to list, in id order.
#[derive(Clone, Default, Debug)]
pub struct AccountQuery {
    /// Part of an address, in any case of ASCII letters.
    pub text: Option<String>,
    pub role: Option<Role>,
    pub after: Option<UserId>,
    pub limit: usize,
}

/// Why an account's role was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RoleError {
    #[error("there is no such account")]
    NotFound,
    /// Nobody could make anybody an administrator again.
    #[error("nobody else is an administrator")]
    LastAdmin,
    #[error(transparent)]
    Unknown(#[from] Unavailable),
}

/// How many of the newest changes of stock, of all products together, are looked through for those of one.
///
/// No index leads from a product to its changes: every sale would have to write it.
pub const STOCK_LOG_REACH: i64 = 100_000;

/// A change of a product's stock, as the log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockLogEntry {
    pub at: Timestamp,
    /// Units that came (positive) or went (negative), not 0.
    pub delta: i64,
    /// The administrator's words, or a word of the log's own: see [`StockReason`](crate::domain::StockReason).
    pub reason: String,
    /// The order that was sold or taken back.
    pub order: Option<OrderId>,
}

/// Sum of the stock log by product, split by what the change was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StockLogSum {
    /// Opening stock and administrators' changes.
    pub stocked: i64,
    /// Sales and cancels; negative when more was sold.
    pub sold: i64,
}

/// A product beside what became of orders that a gate holds units for: all of it seen at one moment.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub shelf: Shelf,
    /// The status of each order that was asked for and since when, in that order; `None` where there is
    /// no order.
    pub statuses: Vec<Option<(OrderStatus, Timestamp)>>,
}

/// What the ledger can be asked and told.
///
/// What is said about products may be a few seconds old where a method says so; everything else is
/// what the last commit has left.
#[async_trait]
pub trait Ledger: Send + Sync {
    // ── purchases ────────────────────────────────────────────────────────────────────────────

    /// What stands under each of these keys, in their order.
    async fn find_purchases(&self, sought: Vec<SoughtKey>)
    -> Result<Vec<Option<KnownPurchase>>, Unavailable>;

    /// What stands under a customer's key since `since`.
    async fn find_purchase(
        &self,
        user: UserId,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<KnownPurchase>, Unavailable> {
        let sought = vec![SoughtKey { user, key, since }];
        Ok(self.find_purchases(sought).await?.pop().flatten())
    }

    /// Creates each order as PENDING, in order of arrival, where `stock - reserved` suffices for
    /// all of its lines; reserves the units; prices come from this transaction. An order that
    /// exists already under its id, is PENDING and has the same driver is given back as it is.
    async fn create_orders(&self, batch: Vec<NewOrder>) -> Vec<Result<Arc<Order>, CreateOrderError>>;

    /// Makes each order CONFIRMED: its units leave stock and reservation. Not when it is being
    /// undone or its customer wishes to cancel.
    async fn confirm_orders(&self, batch: Vec<Confirmation>) -> Vec<Result<Arc<Order>, SagaError>>;

    /// Marks each saga as undoing: from here on nobody may confirm it. Before money is given back.
    async fn mark_undoing(&self, batch: Vec<(SagaRef, Reason)>) -> Vec<Result<(), SagaError>>;

    /// Gives each order up and gives its reservation back. For an id without an order it writes a
    /// tombstone, so that none can come, and answers `None`.
    async fn fail_orders(&self, batch: Vec<Undoing>) -> Vec<Result<Option<Arc<Order>>, SagaError>>;

    /// Takes each CONFIRMED order back after its refund: CANCELLED, its units in stock again.
    async fn restock_orders(&self, batch: Vec<Undoing>) -> Vec<Result<Restocked, SagaError>>;

    /// Makes sure that no order can come under the saga's id; `false` when there is one already.
    async fn bury_saga(&self, saga: SagaRef, reason: Reason) -> Result<bool, Unavailable>;

    /// Records a customer's wish to cancel; for a CONFIRMED order it opens a saga under `driver`. A saga that
    /// waits for the customer is marked as undoing and is the driver's instance's, with the next epoch.
    async fn request_cancel(
        &self,
        order: OrderId,
        user: UserId,
        driver: Driver,
        at: Timestamp,
    ) -> Result<CancelRequest, Unavailable>;

    /// Writes down that sagas wait for their customers: nobody drives them from here on, and `driver` stays as
    /// it is until one of the next two gives them another. One that is marked as undoing, or whose customer
    /// wishes to cancel, is [`ToBeUndone`](SagaError::ToBeUndone).
    async fn rest_sagas(&self, batch: Vec<Rest>) -> Vec<Result<(), SagaError>>;

    /// Gives a saga that waits for its customer to `instance`, with the next epoch. When somebody is at work
    /// on it instead, a mark is left, so that it is due as soon as it waits again; `None` then, and when there
    /// is nothing to go on with.
    async fn wake_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> Result<Option<OpenSaga>, Unavailable>;

    /// Gives up to `limit` sagas that wait and are due to be looked at to `instance`, whosever they were, with
    /// the next epoch.
    async fn wake_due_sagas(
        &self,
        instance: InstanceId,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<OpenSaga>, Unavailable>;

    /// What the customers of these orders have to do, where the order is PENDING and needs them.
    async fn next_actions(&self, orders: &[OrderId]) -> Result<HashMap<OrderId, NextAction>, Unavailable>;

    /// Writes down that the saga is stuck at `step` (its undo, when it is marked as undoing).
    async fn park_saga(
        &self,
        saga: SagaRef,
        step: StepName,
        undoing: Option<Reason>,
    ) -> Result<(), SagaError>;

    /// Says that the instance lives. It owns sagas only after the first time.
    async fn heartbeat(&self, instance: InstanceId) -> Result<(), Unavailable>;

    /// The instance ends: what it leaves may be claimed at once.
    async fn retire(&self, instance: InstanceId) -> Result<(), Unavailable>;

    /// Gives the unfinished sagas of instances that have not said for `silent` that they live to
    /// `instance`, with the next epoch. Stuck ones stay stuck, and those that wait for their customer are
    /// nobody's to be claimed. Where only one instance can live at a
    /// time, every other one is silent.
    async fn claim_sagas(
        &self,
        instance: InstanceId,
        silent: Duration,
        at: Timestamp,
    ) -> Result<Vec<OpenSaga>, Unavailable>;

    /// Up to `limit` sagas of `instance` that have not moved since `before`, are not stuck and wait for nobody.
    async fn idle_sagas(
        &self,
        instance: InstanceId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OpenSaga>, Unavailable>;

    /// Unfinished sagas, oldest first; those that wait for their customers come after the others and stuck ones
    /// last, so that they never hide those that should be moving.
    async fn open_sagas(&self, limit: usize) -> Result<Vec<OpenSaga>, Unavailable>;

    /// How many sagas are open, and up to `stuck_max` of those that are stuck, the first ones first. Cheap, however many
    /// there are.
    async fn saga_overview(&self, stuck_max: usize) -> Result<SagaOverview, Unavailable>;

    /// Takes a stuck saga up again under `instance`; `None` when it is not stuck.
    async fn resume_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> Result<Option<OpenSaga>, Unavailable>;

    // ── orders ───────────────────────────────────────────────────────────────────────────────

    /// An order by id.
    async fn order(&self, id: OrderId) -> Result<Option<Arc<Order>>, Unavailable>;

    /// Up to `limit` orders of a customer, newest first, older than `before`.
    async fn orders_of(
        &self,
        user: UserId,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable>;

    /// Up to `limit` orders of everybody after `after`, in id order.
    async fn orders_after(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable>;

    /// Up to `limit` orders of everybody, newest first, older than `before`.
    async fn newest_orders(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable>;

    /// Where orders stand, in the order of `ids`; it may be a few seconds old.
    async fn standings(&self, ids: &[OrderId]) -> Result<Vec<Option<OrderStanding>>, Unavailable>;

    /// Where orders and their sagas stand now, in the order of `ids`; `None` where there is no order.
    async fn order_states(&self, ids: &[OrderId]) -> Result<Vec<Option<OrderState>>, Unavailable>;

    /// The events of an order in sequence.
    async fn events_of(&self, id: OrderId) -> Result<Vec<Event>, Unavailable>;

    // ── products and stock ───────────────────────────────────────────────────────────────────

    /// A product by id; it may be a few seconds old.
    async fn product(&self, id: ProductId) -> Result<Option<Product>, Unavailable>;

    /// Products in id order; they may be a few seconds old.
    async fn products(&self, query: &ProductQuery) -> Result<Vec<Product>, Unavailable>;

    /// The products with these skus, in no order; those that nothing has are left out.
    async fn products_by_sku(&self, skus: Vec<String>) -> Result<Vec<Product>, Unavailable>;

    /// Up to `limit` names of categories that have products, in order.
    async fn categories(&self, limit: usize) -> Result<Vec<String>, Unavailable>;

    /// Stock of every product, in id order.
    async fn stock_levels(&self) -> Result<Vec<StockLevel>, Unavailable>;

    /// Up to `limit` products after `after`, in id order, as a gate is loaded with them.
    async fn shelves(&self, after: Option<ProductId>, limit: usize) -> Result<Vec<Shelf>, Unavailable>;

    /// One product as a gate is loaded with it, beside what became of `orders`. `None` when there is no
    /// such product.
    async fn compare(
        &self,
        product: ProductId,
        orders: &[OrderId],
    ) -> Result<Option<Comparison>, Unavailable>;

    /// Units of a product in CONFIRMED orders, all of them seen at one moment. Looks at every order: not for where
    /// somebody waits.
    async fn confirmed_units(&self, product: ProductId) -> Result<i64, Unavailable>;

    /// Sums of the stock log by product.
    async fn stock_log_sums(&self) -> Result<Vec<(ProductId, StockLogSum)>, Unavailable>;

    /// Up to `limit` changes of a product's stock, newest first, as far as they are among the last
    /// [`STOCK_LOG_REACH`] changes of all products.
    async fn stock_log(&self, product: ProductId, limit: usize) -> Result<Vec<StockLogEntry>, Unavailable>;

    /// Creates all of the products or, when one cannot be, none.
    async fn create_products(
        &self,
        batch: Vec<NewProduct>,
        at: Timestamp,
    ) -> Result<Vec<Product>, ProductError>;

    /// Changes a product.
    async fn change_product(
        &self,
        id: ProductId,
        change: ProductChange,
        at: Timestamp,
    ) -> Result<Product, ProductError>;

    /// Adds units to a product's stock or takes available ones away, once a key.
    async fn adjust_stock(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError>;

    // ── accounts ─────────────────────────────────────────────────────────────────────────────

    /// Creates an account; the address is compared without regard to case.
    async fn create_account(
        &self,
        email: String,
        password_hash: String,
        role: Role,
        at: Timestamp,
    ) -> Result<UserId, AccountError>;

    /// The account of an address.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, Unavailable>;

    /// An account by id; it may be a few seconds old.
    async fn account(&self, id: UserId) -> Result<Option<Account>, Unavailable>;

    /// Whether any account has the role.
    async fn has_account_with(&self, role: Role) -> Result<bool, Unavailable>;

    /// Accounts in id order.
    async fn accounts(&self, query: &AccountQuery) -> Result<Vec<AccountSummary>, Unavailable>;

    /// Gives an account a role; the one that it has is fine. Somebody always stays administrator, also when two of
    /// them step down at once.
    async fn change_role(&self, id: UserId, role: Role) -> Result<AccountSummary, RoleError>;

    // ── state ────────────────────────────────────────────────────────────────────────────────

    /// Forgets keys and tombstones from before `before`, which no request can come back to.
    async fn forget(&self, before: Timestamp) -> Result<(), Unavailable>;

    /// Whether nothing can be written, and that for longer than a moment: a purchase that began now could not become
    /// an order.
    fn is_down(&self) -> bool {
        false
    }

    /// Whether a commit would be answered: used by readiness.
    async fn ping(&self) -> Result<(), Unavailable>;
}
