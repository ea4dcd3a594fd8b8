//! [`Ledger`] over one SQLite file: writes through the group commit, reads beside it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

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

use super::customer_index::CustomerIndex;
use super::file::{OpenError, StoreFile};
use super::key_filter::{KeyFilter, REMEMBERED};
use super::readers::Readers;
use super::rows::{blob, count, digest, find_order, order_head, select_orders, with_lines, word};
use super::sagas::SagaRow;
use super::writer::{WriteError, Writer};
use super::{
    accounts, cancel_order, confirm_orders, create_orders, outbox, products, sagas, shelves, undo_orders,
    waiting,
};

const FILE: StoreFile = StoreFile {
    name: "ledger",
    application_id: 0x48_4f_4c_44, // "HOLD"
    migrations: &[
        include_str!("../../../migrations/sqlite/0001_shop.sql"),
        include_str!("../../../migrations/sqlite/0002_waiting_for_customer.sql"),
    ],
};

/// The ledger of the embedded profile.
pub struct SqliteLedger {
    // Closed first: whoever closes last tidies the files up, and only the writer can.
    readers: Readers,
    writer: Writer,
    keys: Arc<KeyFilter>,
    customers: Arc<CustomerIndex>,
}

impl From<WriteError> for Unavailable {
    fn from(error: WriteError) -> Self {
        Self(format!("the ledger: {error}"))
    }
}

impl SqliteLedger {
    /// Opens or creates the ledger and remembers the keys of the last 24 hours.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let connection = FILE.open(path)?;
        let keys = Arc::new(KeyFilter::new(now));
        let customers = prepare(&connection, &keys, now)
            .and_then(|()| CustomerIndex::open(&connection))
            .map_err(|reason| OpenError::Sqlite { path: path.to_owned(), reason })?;
        let writer = Writer::start("ledger", connection);
        Ok(Self { writer, readers: Readers::new(path.to_owned()), keys, customers: Arc::new(customers) })
    }

    /// The connections that read beside the writer.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Runs `work` on a batch and answers each of its items; a failed commit answers all of them.
    async fn write_batch<B, T, E, F>(&self, batch: Vec<B>, work: F) -> Vec<Result<T, E>>
    where
        B: Send + 'static,
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        F: Fn(&Connection, &[B]) -> rusqlite::Result<Vec<Result<T, E>>> + Send + 'static,
    {
        let count = batch.len();
        match self.writer.write(move |connection| work(connection, &batch)).await {
            Ok(answers) => answers,
            Err(error) => {
                let why = Unavailable::from(error);
                (0..count).map(|_| Err(E::from(why.clone()))).collect()
            }
        }
    }

    async fn write<T, F>(&self, work: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        Ok(self.writer.write(work).await?)
    }
}

/// What a start does: remember the keys of the last day, forget old tombstones.
fn prepare(connection: &Connection, keys: &KeyFilter, now: Timestamp) -> rusqlite::Result<()> {
    let since = now.minus(REMEMBERED);
    let mut statement = connection.prepare("SELECT key_digest FROM orders WHERE id >= ?")?;
    let mut rows = statement.query([blob(OrderId::earliest_at(since))])?;
    while let Some(row) = rows.next()? {
        keys.insert(digest(row, 0)?, now);
    }
    forget_tombstones(connection, since)
}

/// A create that is a day late comes from no attempt of ours. Keys leave the filter by themselves.
fn forget_tombstones(connection: &Connection, before: Timestamp) -> rusqlite::Result<()> {
    let before = blob(OrderId::earliest_at(before));
    connection.execute("DELETE FROM saga_states WHERE tombstone = 1 AND saga_id < ?", [before]).map(drop)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn find_purchases(
        &self,
        sought: Vec<SoughtKey>,
    ) -> Result<Vec<Option<KnownPurchase>>, Unavailable> {
        // Most are new, and nobody has to be asked about them.
        let may_be_old: Vec<_> = sought.iter().map(|sought| self.keys.may_contain(sought.key)).collect();
        if !may_be_old.contains(&true) {
            return Ok(may_be_old.iter().map(|_| None).collect());
        }
        let customers = Arc::clone(&self.customers);
        let query = move |connection: &Connection| {
            let find = |(sought, may_be_old): (SoughtKey, bool)| {
                let SoughtKey { user, key, since } = sought;
                if !may_be_old {
                    return Ok(None);
                }
                let since = OrderId::earliest_at(since);
                let Some((id, body)) = customers.find_by_key(connection, user, key, since)? else {
                    return Ok(None);
                };
                let saga = sagas::find(connection, id)?;
                let stuck = saga.as_ref().is_some_and(|saga| saga.stuck);
                let next_action = saga.filter(SagaRow::needs_customer).and_then(|saga| saga.next_action);
                Ok(find_order(connection, id)?.map(|order| KnownPurchase { order, body, stuck, next_action }))
            };
            sought.into_iter().zip(may_be_old).map(find).collect()
        };
        self.readers.read(query).await
    }

    async fn create_orders(&self, batch: Vec<NewOrder>) -> Vec<Result<Arc<Order>, CreateOrderError>> {
        let (keys, customers) = (Arc::clone(&self.keys), Arc::clone(&self.customers));
        self.write_batch(batch, move |connection, batch| {
            create_orders::create_orders(connection, &keys, &customers, batch)
        })
        .await
    }

    async fn confirm_orders(&self, batch: Vec<Confirmation>) -> Vec<Result<Arc<Order>, SagaError>> {
        self.write_batch(batch, confirm_orders::confirm_orders).await
    }

    async fn mark_undoing(&self, batch: Vec<(SagaRef, Reason)>) -> Vec<Result<(), SagaError>> {
        self.write_batch(batch, undo_orders::mark_undoing).await
    }

    async fn fail_orders(&self, batch: Vec<Undoing>) -> Vec<Result<Option<Arc<Order>>, SagaError>> {
        self.write_batch(batch, undo_orders::fail_orders).await
    }

    async fn restock_orders(&self, batch: Vec<Undoing>) -> Vec<Result<Restocked, SagaError>> {
        self.write_batch(batch, undo_orders::restock_orders).await
    }

    async fn bury_saga(&self, saga: SagaRef, reason: Reason) -> Result<bool, Unavailable> {
        self.write(move |connection| undo_orders::bury(connection, &saga, reason)).await
    }

    async fn request_cancel(
        &self,
        order: OrderId,
        user: UserId,
        driver: Driver,
        at: Timestamp,
    ) -> Result<CancelRequest, Unavailable> {
        self.write(move |connection| cancel_order::request_cancel(connection, order, user, driver, at)).await
    }

    async fn rest_sagas(&self, batch: Vec<Rest>) -> Vec<Result<(), SagaError>> {
        self.write_batch(batch, waiting::rest).await
    }

    async fn wake_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> Result<Option<OpenSaga>, Unavailable> {
        self.write(move |connection| waiting::wake(connection, saga, instance, at)).await
    }

    async fn wake_due_sagas(
        &self,
        instance: InstanceId,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<OpenSaga>, Unavailable> {
        // Beside the writer first: as a rule nothing is due.
        let due = self.readers.read(move |connection| waiting::due(connection, at, limit)).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |connection| waiting::wake_due(connection, &due, instance, at)).await
    }

    async fn next_actions(&self, orders: &[OrderId]) -> Result<HashMap<OrderId, NextAction>, Unavailable> {
        let orders = orders.to_vec();
        self.readers.read(move |connection| waiting::next_actions(connection, &orders)).await
    }

    async fn park_saga(
        &self,
        saga: SagaRef,
        step: StepName,
        undoing: Option<Reason>,
    ) -> Result<(), SagaError> {
        self.write(move |connection| sagas::park(connection, &saga, step, undoing)).await?
    }

    // The data directory is locked: whoever has the ledger open is the only one who lives.
    async fn heartbeat(&self, _: InstanceId) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn retire(&self, _: InstanceId) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn claim_sagas(
        &self,
        instance: InstanceId,
        _: Duration,
        at: Timestamp,
    ) -> Result<Vec<OpenSaga>, Unavailable> {
        self.write(move |connection| sagas::claim(connection, instance, at)).await
    }

    async fn idle_sagas(
        &self,
        instance: InstanceId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OpenSaga>, Unavailable> {
        self.readers.read(move |connection| sagas::idle(connection, instance, before, limit)).await
    }

    async fn open_sagas(&self, limit: usize) -> Result<Vec<OpenSaga>, Unavailable> {
        self.readers.read(move |connection| sagas::open(connection, limit)).await
    }

    async fn saga_overview(&self, stuck_max: usize) -> Result<SagaOverview, Unavailable> {
        self.readers.read(move |connection| sagas::overview(connection, stuck_max)).await
    }

    async fn resume_saga(
        &self,
        saga: OrderId,
        instance: InstanceId,
        at: Timestamp,
    ) -> Result<Option<OpenSaga>, Unavailable> {
        self.write(move |connection| sagas::resume(connection, saga, instance, at)).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<Arc<Order>>, Unavailable> {
        self.readers.read(move |connection| find_order(connection, id)).await
    }

    async fn orders_of(
        &self,
        user: UserId,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable> {
        let before = before.unwrap_or(OrderId(Uuid::max()));
        let customers = Arc::clone(&self.customers);
        let query = move |connection: &Connection| {
            let ids = customers.orders_of(connection, user, before, limit)?;
            ids.into_iter().filter_map(|id| find_order(connection, id).transpose()).collect()
        };
        self.readers.read(query).await
    }

    async fn orders_after(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable> {
        let after = after.map_or([0; 16], blob);
        let limit = count(limit);
        let query = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached(&select_orders("WHERE id > ? ORDER BY id LIMIT ?"))?;
            let heads = statement.query_map(params![after, limit], order_head)?;
            heads.map(|head| with_lines(connection, head?)).collect()
        };
        self.readers.read(query).await
    }

    async fn newest_orders(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Arc<Order>>, Unavailable> {
        let before = blob(before.unwrap_or(OrderId(Uuid::max())));
        let limit = count(limit);
        let query = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached(&select_orders("WHERE id < ? ORDER BY id DESC LIMIT ?"))?;
            let heads = statement.query_map(params![before, limit], order_head)?;
            heads.map(|head| with_lines(connection, head?)).collect()
        };
        self.readers.read(query).await
    }

    async fn standings(&self, ids: &[OrderId]) -> Result<Vec<Option<OrderStanding>>, Unavailable> {
        let ids = ids.to_vec();
        let query = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT status, event_count FROM orders WHERE id = ?")?;
            let standing = |row: &rusqlite::Row<'_>| {
                Ok(OrderStanding { status: word(row, 0)?, event_count: row.get(1)? })
            };
            ids.iter().map(|id| statement.query_row([blob(*id)], standing).optional()).collect()
        };
        self.readers.read(query).await
    }

    async fn order_states(&self, ids: &[OrderId]) -> Result<Vec<Option<OrderState>>, Unavailable> {
        let ids = ids.to_vec();
        self.readers.read(move |connection| sagas::order_states(connection, &ids)).await
    }

    async fn events_of(&self, id: OrderId) -> Result<Vec<Event>, Unavailable> {
        self.readers.read(move |connection| outbox::of_saga(connection, id)).await
    }

    async fn product(&self, id: ProductId) -> Result<Option<Product>, Unavailable> {
        self.readers.read(move |connection| products::find(connection, id)).await
    }

    async fn products_by_sku(&self, skus: Vec<String>) -> Result<Vec<Product>, Unavailable> {
        self.readers.read(move |connection| products::by_sku(connection, &skus)).await
    }

    async fn products(&self, query: &ProductQuery) -> Result<Vec<Product>, Unavailable> {
        let query = query.clone();
        self.readers.read(move |connection| products::list(connection, &query)).await
    }

    async fn categories(&self, limit: usize) -> Result<Vec<String>, Unavailable> {
        self.readers.read(move |connection| products::categories(connection, limit)).await
    }

    async fn stock_levels(&self) -> Result<Vec<StockLevel>, Unavailable> {
        self.readers.read(products::stock_levels).await
    }

    async fn shelves(&self, after: Option<ProductId>, limit: usize) -> Result<Vec<Shelf>, Unavailable> {
        self.readers.read(move |connection| shelves::list(connection, after, limit)).await
    }

    async fn compare(
        &self,
        product: ProductId,
        orders: &[OrderId],
    ) -> Result<Option<Comparison>, Unavailable> {
        let orders = orders.to_vec();
        self.readers.read(move |connection| shelves::compare(connection, product, &orders)).await
    }

    async fn confirmed_units(&self, product: ProductId) -> Result<i64, Unavailable> {
        self.readers.read(move |connection| products::confirmed_units(connection, product)).await
    }

    async fn stock_log_sums(&self) -> Result<Vec<(ProductId, StockLogSum)>, Unavailable> {
        self.readers.read(products::stock_log_sums).await
    }

    async fn stock_log(&self, product: ProductId, limit: usize) -> Result<Vec<StockLogEntry>, Unavailable> {
        self.readers.read(move |connection| products::stock_log(connection, product, limit)).await
    }

    async fn create_products(
        &self,
        batch: Vec<NewProduct>,
        at: Timestamp,
    ) -> Result<Vec<Product>, ProductError> {
        self.write(move |connection| products::create(connection, &batch, at)).await?
    }

    async fn change_product(
        &self,
        id: ProductId,
        change: ProductChange,
        at: Timestamp,
    ) -> Result<Product, ProductError> {
        self.write(move |connection| products::change(connection, id, &change, at)).await?
    }

    async fn adjust_stock(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError> {
        self.write(move |connection| products::adjust(connection, &adjustment)).await?
    }

    async fn create_account(
        &self,
        email: String,
        password_hash: String,
        role: Role,
        at: Timestamp,
    ) -> Result<UserId, AccountError> {
        self.write(move |connection| accounts::create(connection, &email, &password_hash, role, at)).await?
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, Unavailable> {
        let email = email.to_owned();
        self.readers.read(move |connection| accounts::by_email(connection, &email)).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, Unavailable> {
        self.readers.read(move |connection| accounts::by_id(connection, id)).await
    }

    async fn has_account_with(&self, role: Role) -> Result<bool, Unavailable> {
        self.readers.read(move |connection| accounts::any_with(connection, role)).await
    }

    async fn accounts(&self, query: &AccountQuery) -> Result<Vec<AccountSummary>, Unavailable> {
        let query = query.clone();
        self.readers.read(move |connection| accounts::list(connection, &query)).await
    }

    async fn change_role(&self, id: UserId, role: Role) -> Result<AccountSummary, RoleError> {
        self.write(move |connection| accounts::change_role(connection, id, role)).await?
    }

    async fn forget(&self, before: Timestamp) -> Result<(), Unavailable> {
        self.write(move |connection| forget_tombstones(connection, before)).await
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.write(|_| Ok(())).await
    }
}
