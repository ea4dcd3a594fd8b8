//! [`Ledger`] over MySQL: which member is asked, and what is done when it does not answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use mysql_async::Conn;
use tokio::time::{Instant, timeout_at};

use crate::domain::{
    Driver, Event, InstanceId, NewProduct, NextAction, Order, OrderId, Product, ProductChange, ProductId,
    Reason, Shelf, StepName, StockLevel, Timestamp, UserId,
};
use crate::ports::Unavailable;
use crate::ports::ledger::{
    Account, AccountError, AccountQuery, AccountSummary, AdjustError, Adjusted, Adjustment, CancelRequest,
    Comparison, Confirmation, CreateOrderError, KnownPurchase, Ledger, NewOrder, OpenSaga, OrderStanding,
    OrderState, ProductError, ProductQuery, Rest, Restocked, Role, RoleError, SagaError, SagaOverview,
    SagaRef, SoughtKey, StockLogEntry, StockLogSum, Undoing,
};

use super::error::{DbError, Remedy, Result};
use super::members::{Members, OpenError, Settings, give_up};
use super::outbox::Feed;
use super::rows::{SELECT_ORDER, digest, find_order, find_orders, order_head, order_id, with_lines, word};
use super::session::{ask, roll_back, take};
use super::sql::Message;
use super::{
    accounts, cancel_order, confirm_orders, create_orders, migrations, outbox, products, sagas, shelves,
    undo_orders, waiting,
};

/// How long a call of a saga, or of what runs in the background, goes on trying. A database that is restarted, or
/// fails over, is back within this time as a rule.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same where somebody waits for the answer.
const PATIENCE_OF_PEOPLE: Duration = Duration::from_secs(4);

/// How long one try may take: a transaction that takes longer waits for somebody who does not come.
const TRY_PATIENCE: Duration = Duration::from_secs(6);

/// How long the first try of what is read may take before another member is asked; the next one twice as long, and
/// so on.
const READ_PATIENCE: Duration = Duration::from_millis(750);

/// Pause before what failed is tried on the same member again, though it says that it works.
const PAUSE_ELSEWHERE: Duration = Duration::from_millis(20);

/// Pause before another try where nothing has to change for it to work.
const PAUSE: Duration = Duration::from_millis(2);

/// What it is called in metrics, as in the embedded profile.
const DATABASE: &str = "ledger";

/// How long a start waits for a database that can be written.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The ledger of the cluster profile.
#[derive(Clone)]
pub struct MysqlLedger {
    members: Arc<Members>,
    feed: Feed,
}

/// Something to do on a connection, again if need be.
pub(super) trait Work<T>: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync {}

impl<T, F> Work<T> for F where F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync {}

impl MysqlLedger {
    /// Finds the writable member and brings its tables to this version. What is committed goes to `feed`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: &Settings, feed: Feed) -> std::result::Result<Self, OpenError> {
        let members = Arc::new(Members::new(settings));
        let unreachable = |reason| OpenError::Unreachable { addresses: settings.shown(), reason };
        members.wait_for_writer(START_PATIENCE).await.map_err(unreachable)?;
        let writer = members.writer(Instant::now() + START_PATIENCE).await;
        let (_, mut writer) = writer.map_err(|error| unreachable(error.to_string()))?;
        migrations::migrate(&mut writer).await?;
        Ok(Self { members, feed })
    }

    /// Asks a member that may be seconds behind.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Work<T> + 'static,
    ) -> std::result::Result<T, Unavailable> {
        self.carry_through(Side::Any, PATIENCE_OF_PEOPLE, work).await
    }

    /// Does something on the writable member.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Work<T> + 'static,
    ) -> std::result::Result<T, Unavailable> {
        self.carry_through(Side::Writer, PATIENCE, work).await
    }

    /// The same for somebody who waits for it: while no database can be written they are told so.
    pub(super) async fn write_now<T: Send + 'static>(
        &self,
        work: impl Work<T> + 'static,
    ) -> std::result::Result<T, Unavailable> {
        self.carry_through(Side::Writer, PATIENCE_OF_PEOPLE, work).await
    }

    /// Once begun it is carried through, also when whoever asked for it goes away: a transaction that is let go of
    /// half-way would keep its locks, and an answer that nobody takes would be there for the next question.
    async fn carry_through<T: Send + 'static>(
        &self,
        side: Side,
        patience: Duration,
        work: impl Work<T> + 'static,
    ) -> std::result::Result<T, Unavailable> {
        let members = Arc::clone(&self.members);
        match tokio::spawn(carry_out(members, side, patience, work)).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Unavailable(format!("the ledger: {error}"))),
        }
    }

    /// Asks about each of these for somebody who waits; about none nobody is asked.
    async fn of_each<I: Clone + Send + Sync + 'static, T: Send + 'static>(
        &self,
        side: Side,
        items: &[I],
        question: impl for<'c> Fn(&'c mut Conn, Arc<[I]>) -> BoxFuture<'c, Result<Vec<T>>> + Send + Sync + 'static,
    ) -> std::result::Result<Vec<T>, Unavailable> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let items: Arc<[I]> = items.into();
        let patience = PATIENCE_OF_PEOPLE;
        self.carry_through(side, patience, move |connection| question(connection, Arc::clone(&items))).await
    }

    /// Runs `work` on a batch and answers each of its items; a failure answers all of them.
    async fn write_batch<B, T, E>(
        &self,
        batch: Vec<B>,
        work: impl for<'c> Fn(&'c mut Conn, Arc<[B]>) -> BoxFuture<'c, Result<Vec<std::result::Result<T, E>>>>
        + Send
        + Sync
        + 'static,
    ) -> Vec<std::result::Result<T, E>>
    where
        B: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let batch: Arc<[B]> = batch.into();
        let shared = Arc::clone(&batch);
        let begun = Instant::now();
        let done = self.write(move |connection| work(connection, Arc::clone(&shared))).await;
        metrics::histogram!("holdfast_db_commit_duration_seconds", "database" => DATABASE)
            .record(begun.elapsed());
        metrics::histogram!("holdfast_db_commit_batch_size", "database" => DATABASE)
            .record(batch.len() as f64);
        match done {
            Ok(answers) => answers,
            Err(why) => batch.iter().map(|_| Err(E::from(why.clone()))).collect(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Writer,
    Any,
}

/// Tries until it is done, there is no use in trying, or the patience is at its end.
async fn carry_out<T>(
    members: Arc<Members>,
    side: Side,
    patience: Duration,
    work: impl Work<T>,
) -> Result<T> {
    let until = Instant::now() + patience;
    let mut try_patience = if side == Side::Any { READ_PATIENCE } else { TRY_PATIENCE };
    loop {
        let error = match attempt(&members, side, &work, until.min(Instant::now() + try_patience)).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let remedy = error.remedy();
        let hopeless = patience == PATIENCE_OF_PEOPLE
            && matches!(error, DbError::NoMember(_) | DbError::Left(_))
            && members.is_down();
        if remedy == Remedy::None || hopeless || Instant::now() >= until {
            return Err(error);
        }
        metrics::counter!("holdfast_db_retries_total", "reason" => error.kind()).increment(1);
        try_patience = TRY_PATIENCE.min(2 * try_patience);
        match (remedy, side, &error) {
            (Remedy::Again, ..) => tokio::time::sleep(PAUSE).await,
            // Others can be read.
            (_, Side::Any, DbError::TimedOut) => {}
            _ => {
                tracing::debug!(%error, "the database is looked for");
                members.look_again(until).await;
                tokio::time::sleep(PAUSE_ELSEWHERE).await;
            }
        }
    }
}

async fn attempt<T>(members: &Members, side: Side, work: &impl Work<T>, until: Instant) -> Result<T> {
    let (member, mut connection) = match side {
        Side::Writer => members.writer(until).await?,
        Side::Any => members.reader(until).await?,
    };
    let work = async { timeout_at(until, work(&mut connection)).await.unwrap_or(Err(DbError::TimedOut)) };
    let done = members.while_it_lasts(member, side == Side::Writer, work).await;
    if let Err(error) = &done {
        // A connection in the middle of something must not go back to the others.
        let spared = error.spares_connection() && roll_back(&mut connection).await.is_ok();
        if !spared {
            give_up(connection);
        }
    }
    done
}

/// The purchase of each of these customers' keys.
async fn find_purchases(connection: &mut Conn, sought: &[SoughtKey]) -> Result<Vec<Option<KnownPurchase>>> {
    let message = Message::default()
        .words(
            "SELECT k.user_id, k.key_digest, k.created_at, k.order_id, o.body_digest \
             FROM purchase_keys k JOIN orders o ON o.id = k.order_id WHERE (k.user_id, k.key_digest) IN ",
        )
        .pairs(sought.iter().map(|sought| (sought.user.0, &sought.key)));
    let mut found = HashMap::new();
    for mut row in ask(connection, message).await? {
        let key = (UserId(take(&mut row, 0)?), digest(&mut row, 1)?);
        let created_at = Timestamp(take(&mut row, 2)?);
        found.insert(key, (created_at, order_id(&mut row, 3)?, digest(&mut row, 4)?));
    }
    let ids: Vec<_> = found.values().map(|(_, id, _)| *id).collect();
    // The sagas first: one that has ended by then is seen in its order.
    let sagas = sagas::find_all(connection, &ids).await?;
    let orders = find_orders(connection, &ids).await?;
    let known = |sought: &SoughtKey| {
        let (_, id, body) =
            found.get(&(sought.user, sought.key)).filter(|(created_at, ..)| *created_at >= sought.since)?;
        let saga = sagas.get(id);
        let stuck = saga.is_some_and(|saga| saga.stuck);
        let next_action = saga.filter(|saga| saga.needs_customer()).and_then(|saga| saga.next_action.clone());
        let order = Arc::clone(orders.get(id)?);
        Some(KnownPurchase { order, body: *body, stuck, next_action })
    };
    Ok(sought.iter().map(known).collect())
}

async fn standings(connection: &mut Conn, ids: &[OrderId]) -> Result<Vec<Option<OrderStanding>>> {
    let message =
        Message::default().words("SELECT id, status, event_count FROM orders WHERE id IN ").list(ids);
    let mut found = HashMap::with_capacity(ids.len());
    for mut row in ask(connection, message).await? {
        let standing = OrderStanding { status: word(&mut row, 1)?, event_count: take(&mut row, 2)? };
        found.insert(order_id(&mut row, 0)?, standing);
    }
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

async fn orders(connection: &mut Conn, which: Message) -> Result<Vec<Arc<Order>>> {
    let heads = ask(connection, which).await?.iter_mut().map(order_head).collect::<Result<_>>()?;
    with_lines(connection, heads).await
}

/// Adds how many rows are wanted.
pub(super) fn limited(message: Message, limit: usize) -> Message {
    message.words(" LIMIT ").value(i64::try_from(limit).unwrap_or(i64::MAX))
}

#[async_trait]
impl Ledger for MysqlLedger {
    async fn find_purchases(
        &self,
        sought: Vec<SoughtKey>,
    ) -> std::result::Result<Vec<Option<KnownPurchase>>, Unavailable> {
        self.of_each(Side::Writer, &sought, |connection, sought| {
            Box::pin(async move { find_purchases(connection, &sought).await })
        })
        .await
    }

    async fn create_orders(
        &self,
        batch: Vec<NewOrder>,
    ) -> Vec<std::result::Result<Arc<Order>, CreateOrderError>> {
        let feed = self.feed.clone();
        self.write_batch(batch, move |connection, batch| {
            let feed = feed.clone();
            Box::pin(async move {
                match create_orders::create_orders(connection, &batch, &feed, false).await {
                    Err(error) if error.is_check() => {
                        roll_back(connection).await?;
                        create_orders::create_orders(connection, &batch, &feed, true).await
                    }
                    done => done,
                }
            })
        })
        .await
    }

    async fn confirm_orders(
        &self,
        batch: Vec<Confirmation>,
    ) -> Vec<std::result::Result<Arc<Order>, SagaError>> {
        let feed = self.feed.clone();
        self.write_batch(batch, move |connection, batch| {
            let feed = feed.clone();
            Box::pin(async move { confirm_orders::confirm_orders(connection, &batch, &feed).await })
        })
        .await
    }

    async fn mark_undoing(&self, batch: Vec<(SagaRef, Reason)>) -> Vec<std::result::Result<(), SagaError>> {
        self.write_batch(batch, |connection, batch| {
            Box::pin(async move { undo_orders::mark_undoing(connection, &batch).await })
        })
        .await
    }

    async fn fail_orders(
        &self,
        batch: Vec<Undoing>,
    ) -> Vec<std::result::Result<Option<Arc<Order>>, SagaError>> {
        let feed = self.feed.clone();
        self.write_batch(batch, move |connection, batch| {
            let feed = feed.clone();
            Box::pin(async move { undo_orders::fail_orders(connection, &batch, &feed).await })
        })
        .await
    }

    async fn restock_orders(&self, batch: Vec<Undoing>) -> Vec<std::result::Result<Restocked, SagaError>> {
        let feed = self.feed.clone();
        self.write_batch(batch, move |connection, batch| {
            let feed = feed.clone();
            Box::pin(async move { undo_orders::restock_orders(connection, &batch, &feed).await })
        })
        .await
    }

    async fn bury_saga(&self, saga: SagaRef, reason: Reason) -> std::result::Result<bool, Unavailable> {
        self.write(move |connection| {
            Box::pin(async move { undo_orders::bury(connection, &saga, reason).await })
        })
        .await
    }

    async fn request_cancel(
        &self,
        order: OrderId,
        user: UserId,
        driver: Driver,
        at: Timestamp,
    ) -> std::result::Result<CancelRequest, Unavailable> {
        self.write_now(move |connection| {
            Box::pin(cancel_order::request_cancel(connection, order, user, driver, at))
        })
        .await
    }

    async fn rest_sagas(&self, batch: Vec<Rest>) -> Vec<std::result::Result<(), SagaError>> {
        self.write_batch(batch, |connection, batch| {
            Box::pin(async move { waiting::rest(connection, &batch).await })
        })
        .await
    }

    async fn wake_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> std::result::Result<Option<OpenSaga>, Unavailable> {
        self.write_now(move |connection| Box::pin(waiting::wake(connection, saga, instance, at))).await
    }

    async fn wake_due_sagas(
        &self,
        instance: InstanceId,
        at: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<OpenSaga>, Unavailable> {
        self.write(move |connection| Box::pin(waiting::wake_due(connection, instance, at, limit))).await
    }

    async fn next_actions(
        &self,
        orders: &[OrderId],
    ) -> std::result::Result<HashMap<OrderId, NextAction>, Unavailable> {
        let orders: Arc<[OrderId]> = orders.into();
        self.write_now(move |connection| {
            let orders = Arc::clone(&orders);
            Box::pin(async move { waiting::next_actions(connection, &orders).await })
        })
        .await
    }

    async fn park_saga(
        &self,
        saga: SagaRef,
        step: StepName,
        undoing: Option<Reason>,
    ) -> std::result::Result<(), SagaError> {
        self.write(move |connection| {
            Box::pin(async move { sagas::park(connection, &saga, step, undoing).await })
        })
        .await?
    }

    async fn heartbeat(&self, instance: InstanceId) -> std::result::Result<(), Unavailable> {
        self.write(move |connection| Box::pin(sagas::heartbeat(connection, instance))).await
    }

    async fn retire(&self, instance: InstanceId) -> std::result::Result<(), Unavailable> {
        self.write(move |connection| Box::pin(sagas::retire(connection, instance))).await
    }

    async fn claim_sagas(
        &self,
        instance: InstanceId,
        silent: Duration,
        at: Timestamp,
    ) -> std::result::Result<Vec<OpenSaga>, Unavailable> {
        self.write(move |connection| Box::pin(sagas::claim(connection, instance, silent, at))).await
    }

    async fn idle_sagas(
        &self,
        instance: InstanceId,
        before: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<OpenSaga>, Unavailable> {
        self.write(move |connection| Box::pin(sagas::idle(connection, instance, before, limit))).await
    }

    async fn open_sagas(&self, limit: usize) -> std::result::Result<Vec<OpenSaga>, Unavailable> {
        self.write_now(move |connection| Box::pin(sagas::open(connection, limit))).await
    }

    async fn saga_overview(&self, stuck_max: usize) -> std::result::Result<SagaOverview, Unavailable> {
        self.write_now(move |connection| Box::pin(sagas::overview(connection, stuck_max))).await
    }

    async fn resume_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> std::result::Result<Option<OpenSaga>, Unavailable> {
        self.write_now(move |connection| Box::pin(sagas::resume(connection, saga, instance, at))).await
    }

    async fn order(&self, id: OrderId) -> std::result::Result<Option<Arc<Order>>, Unavailable> {
        self.write_now(move |connection| Box::pin(find_order(connection, id))).await
    }

    async fn orders_of(
        &self,
        user: UserId,
        before: Option<OrderId>,
        limit: usize,
    ) -> std::result::Result<Vec<Arc<Order>>, Unavailable> {
        self.write_now(move |connection| {
            let mut which = Message::default().words(SELECT_ORDER).words("WHERE user_id = ").value(user.0);
            if let Some(before) = &before {
                which = which.words(" AND id < ").value(before);
            }
            Box::pin(orders(connection, limited(which.words(" ORDER BY id DESC"), limit)))
        })
        .await
    }

    async fn orders_after(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> std::result::Result<Vec<Arc<Order>>, Unavailable> {
        self.write(move |connection| {
            let mut which = Message::default().words(SELECT_ORDER);
            if let Some(after) = &after {
                which = which.words("WHERE id > ").value(after);
            }
            Box::pin(orders(connection, limited(which.words(" ORDER BY id"), limit)))
        })
        .await
    }

    async fn newest_orders(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> std::result::Result<Vec<Arc<Order>>, Unavailable> {
        self.write_now(move |connection| {
            let mut which = Message::default().words(SELECT_ORDER);
            if let Some(before) = &before {
                which = which.words("WHERE id < ").value(before);
            }
            Box::pin(orders(connection, limited(which.words(" ORDER BY id DESC"), limit)))
        })
        .await
    }

    async fn standings(
        &self,
        ids: &[OrderId],
    ) -> std::result::Result<Vec<Option<OrderStanding>>, Unavailable> {
        self.of_each(Side::Any, ids, |connection, ids| {
            Box::pin(async move { standings(connection, &ids).await })
        })
        .await
    }

    async fn order_states(
        &self,
        ids: &[OrderId],
    ) -> std::result::Result<Vec<Option<OrderState>>, Unavailable> {
        self.of_each(Side::Writer, ids, |connection, ids| {
            Box::pin(async move { sagas::order_states(connection, &ids).await })
        })
        .await
    }

    async fn events_of(&self, id: OrderId) -> std::result::Result<Vec<Event>, Unavailable> {
        self.write_now(move |connection| Box::pin(outbox::of_saga(connection, id))).await
    }

    async fn product(&self, id: ProductId) -> std::result::Result<Option<Product>, Unavailable> {
        self.read(move |connection| Box::pin(products::find(connection, id))).await
    }

    async fn products_by_sku(&self, skus: Vec<String>) -> std::result::Result<Vec<Product>, Unavailable> {
        self.write_now(move |connection| {
            let skus = skus.clone();
            Box::pin(async move { products::by_sku(connection, &skus).await })
        })
        .await
    }

    async fn products(&self, query: &ProductQuery) -> std::result::Result<Vec<Product>, Unavailable> {
        let query = query.clone();
        self.read(move |connection| {
            let query = query.clone();
            Box::pin(async move { products::list(connection, &query).await })
        })
        .await
    }

    async fn categories(&self, limit: usize) -> std::result::Result<Vec<String>, Unavailable> {
        self.read(move |connection| Box::pin(products::categories(connection, limit))).await
    }

    async fn stock_levels(&self) -> std::result::Result<Vec<StockLevel>, Unavailable> {
        self.write(|connection| Box::pin(products::stock_levels(connection))).await
    }

    async fn shelves(
        &self,
        after: Option<ProductId>,
        limit: usize,
    ) -> std::result::Result<Vec<Shelf>, Unavailable> {
        self.write(move |connection| Box::pin(shelves::list(connection, after, limit))).await
    }

    async fn compare(
        &self,
        product: ProductId,
        orders: &[OrderId],
    ) -> std::result::Result<Option<Comparison>, Unavailable> {
        let orders: Arc<[OrderId]> = orders.into();
        self.write(move |connection| {
            let orders = Arc::clone(&orders);
            Box::pin(async move { shelves::compare(connection, product, &orders).await })
        })
        .await
    }

    async fn confirmed_units(&self, product: ProductId) -> std::result::Result<i64, Unavailable> {
        self.write(move |connection| Box::pin(products::confirmed_units(connection, product))).await
    }

    async fn stock_log_sums(&self) -> std::result::Result<Vec<(ProductId, StockLogSum)>, Unavailable> {
        self.write(|connection| Box::pin(products::stock_log_sums(connection))).await
    }

    async fn stock_log(
        &self,
        product: ProductId,
        limit: usize,
    ) -> std::result::Result<Vec<StockLogEntry>, Unavailable> {
        self.write_now(move |connection| Box::pin(products::stock_log(connection, product, limit))).await
    }

    async fn create_products(
        &self,
        batch: Vec<NewProduct>,
        at: Timestamp,
    ) -> std::result::Result<Vec<Product>, ProductError> {
        let batch: Arc<[NewProduct]> = batch.into();
        self.write_now(move |connection| {
            let batch = Arc::clone(&batch);
            Box::pin(async move { products::create(connection, &batch, at).await })
        })
        .await?
    }

    async fn change_product(
        &self,
        id: ProductId,
        change: ProductChange,
        at: Timestamp,
    ) -> std::result::Result<Product, ProductError> {
        self.write_now(move |connection| {
            let change = change.clone();
            Box::pin(async move { products::change(connection, id, &change, at).await })
        })
        .await?
    }

    async fn adjust_stock(&self, adjustment: Adjustment) -> std::result::Result<Adjusted, AdjustError> {
        self.write_now(move |connection| {
            let adjustment = adjustment.clone();
            Box::pin(async move { products::adjust(connection, &adjustment).await })
        })
        .await?
    }

    async fn create_account(
        &self,
        email: String,
        password_hash: String,
        role: Role,
        at: Timestamp,
    ) -> std::result::Result<UserId, AccountError> {
        self.write_now(move |connection| {
            let (email, password_hash) = (email.clone(), password_hash.clone());
            Box::pin(async move { accounts::create(connection, &email, &password_hash, role, at).await })
        })
        .await?
    }

    async fn account_by_email(&self, email: &str) -> std::result::Result<Option<Account>, Unavailable> {
        let email = email.to_owned();
        self.write_now(move |connection| {
            let email = email.clone();
            Box::pin(async move { accounts::by_email(connection, &email).await })
        })
        .await
    }

    async fn account(&self, id: UserId) -> std::result::Result<Option<Account>, Unavailable> {
        self.read(move |connection| Box::pin(accounts::by_id(connection, id))).await
    }

    async fn has_account_with(&self, role: Role) -> std::result::Result<bool, Unavailable> {
        self.write_now(move |connection| Box::pin(accounts::any_with(connection, role))).await
    }

    async fn accounts(&self, query: &AccountQuery) -> std::result::Result<Vec<AccountSummary>, Unavailable> {
        let query = query.clone();
        self.write_now(move |connection| {
            let query = query.clone();
            Box::pin(async move { accounts::list(connection, &query).await })
        })
        .await
    }

    async fn change_role(&self, id: UserId, role: Role) -> std::result::Result<AccountSummary, RoleError> {
        self.write_now(move |connection| Box::pin(accounts::change_role(connection, id, role))).await?
    }

    async fn forget(&self, before: Timestamp) -> std::result::Result<(), Unavailable> {
        while self.write(move |connection| Box::pin(sagas::forget(connection, before))).await? {}
        Ok(())
    }

    fn is_down(&self) -> bool {
        self.members.is_down()
    }

    async fn ping(&self) -> std::result::Result<(), Unavailable> {
        self.write_now(|connection| {
            Box::pin(async move { ask(connection, Message::default().words("SELECT 1")).await.map(drop) })
        })
        .await
    }
}
