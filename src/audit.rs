//! Proves, from the stores alone, that nothing was lost, sold twice or charged wrongly.
//!
//! Works over the ports, so it is the same for every back end. Money is compared with the list that
//! the gateway keeps, not with what the shop believes. Orders and charges are read side by side in
//! order of id; only one small record an order is kept in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::app::Stores;
use crate::consumers::{analytics, notification};
use crate::domain::{Event, EventBody, Order, OrderId, OrderStatus, Product, ProductId, Topic, order};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::consumer_store::{ConsumerStore, Finding, FindingKind, MailKind, Minute, Sales};
use crate::ports::event_log::{EventLog, Group};
use crate::ports::ledger::{Ledger, ProductQuery};
use crate::ports::outbox::{Outbox, Position};
use crate::ports::payments::{ChargeRecord, ChargeState, Payments};
use crate::ports::stock_gate::StockGate;

/// Rows read in one go.
const PAGE: usize = 2_000;

/// How long the event log may take to hand out the next messages.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// How long the event log surely keeps messages: a day less than it has to.
const LOG_KEEPS: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// What an audit found.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Report {
    /// The first broken invariant, by name, with what breaks it. None: everything holds.
    pub broken: Option<Broken>,
    pub products: u64,
    pub orders: BTreeMap<&'static str, u64>,
    pub units_sold: i64,
    /// Minor units of CONFIRMED orders by currency.
    pub revenue_minor: BTreeMap<String, i128>,
    pub charges: BTreeMap<&'static str, u64>,
    pub events: u64,
    /// What consumer groups have not taken in yet, by group; those are not compared.
    pub lag: BTreeMap<&'static str, u64>,
    /// Orders that wait for an administrator.
    pub stuck: Vec<OrderId>,
    /// Orders that wait for their customers.
    pub waiting: u64,
}

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Broken {
    pub invariant: &'static str,
    pub detail: String,
}

/// Why an audit ended early.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{}: {}", .0.invariant, .0.detail)]
    Broken(Broken),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The stores of a shop at rest.
pub struct Audit {
    ledger: Arc<dyn Ledger>,
    payments: Arc<dyn Payments>,
    outbox: Arc<dyn Outbox>,
    log: Option<Arc<dyn EventLog>>,
    consumers: Arc<dyn ConsumerStore>,
    clock: Arc<dyn Clock>,
    /// Where it outlives the servers.
    gate: Option<Arc<dyn StockGate>>,
}

/// What the event log says of an order.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Number of its last event.
    last: u32,
    ending: Option<OrderStatus>,
    paid: bool,
    refunded: bool,
}

/// What all events together say.
#[derive(Default)]
struct AllTold {
    sales: Sales,
    mails: BTreeMap<MailKind, u64>,
}

/// The first thing that two ways of counting disagree about.
fn difference(counted: &Sales, told: &Sales) -> String {
    let (minutes, products) = (counted.by_minute.keys().chain(told.by_minute.keys()), &told.by_product);
    for key in minutes {
        let (counted, told) = (counted.by_minute.get(key), told.by_minute.get(key));
        if counted != told {
            return format!("{} of {}: counted {counted:?}, told {told:?}", key.1, key.0.begins());
        }
    }
    for key in counted.by_product.keys().chain(products.keys()) {
        let (counted, told) = (counted.by_product.get(key), told.by_product.get(key));
        if counted != told {
            return format!("product {} in {}: counted {counted:?}, told {told:?}", key.0, key.1);
        }
    }
    format!("failures: counted {:?}, told {:?}", counted.failures, told.failures)
}

macro_rules! hold {
    ($condition:expr, $invariant:literal, $($detail:tt)+) => {
        if !$condition {
            return Err(AuditError::Broken(Broken { invariant: $invariant, detail: format!($($detail)+) }));
        }
    };
}

impl Audit {
    /// An audit of these stores.
    pub fn of(stores: &Stores) -> Self {
        Self {
            ledger: Arc::clone(&stores.ledger),
            payments: Arc::clone(&stores.payments),
            outbox: Arc::clone(&stores.outbox),
            log: stores.log.clone(),
            consumers: Arc::clone(&stores.consumers),
            clock: Arc::clone(&stores.clock),
            gate: stores.shared().map(|shared| Arc::clone(&shared.gate)),
        }
    }

    /// Checks everything and stops at the first broken invariant. `progress` is told the number of
    /// orders looked at.
    ///
    /// # Errors
    /// A store does not answer. A broken invariant is not an error but the report's finding.
    pub async fn run(&self, mut progress: impl FnMut(u64)) -> Result<Report, Unavailable> {
        let mut report = Report::default();
        match self.check(&mut report, &mut progress).await {
            Ok(()) => {}
            Err(AuditError::Broken(broken)) => report.broken = Some(broken),
            Err(AuditError::Unavailable(error)) => return Err(error),
        }
        Ok(report)
    }

    async fn check(&self, report: &mut Report, progress: &mut impl FnMut(u64)) -> Result<(), AuditError> {
        let mut all = AllTold::default();
        let mut told = self.read_events(report, &mut all).await?;
        self.check_log(&told).await?;
        let mut promised: HashMap<ProductId, i64> = HashMap::new();
        let mut sold: HashMap<ProductId, i64> = HashMap::new();
        let mut charges = Charges(ChargeList::new(Arc::clone(&self.payments), PAGE));
        let (mut after, mut count, mut on_their_way) = (None, 0, 0);
        loop {
            let page = self.ledger.orders_after(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for order in &page {
                let charge = charges.of(order.id, report).await?;
                check_order(order, charge.as_ref(), told.remove(&order.id))?;
                *report.orders.entry(order.status.as_str()).or_default() += 1;
                on_their_way += usize::from(order.status == OrderStatus::Pending);
                let units = match order.status {
                    OrderStatus::Pending => Some(&mut promised),
                    OrderStatus::Confirmed => {
                        let currency = order.total.currency.to_string();
                        *report.revenue_minor.entry(currency).or_default() += i128::from(order.total.minor);
                        Some(&mut sold)
                    }
                    OrderStatus::Failed | OrderStatus::Cancelled => None,
                };
                if let Some(units) = units {
                    for line in order.lines.iter() {
                        *units.entry(line.product_id).or_default() += i64::from(line.quantity.get());
                    }
                }
            }
            count += page.len() as u64;
            progress(count);
        }
        charges.rest(report).await?;
        if let Some(saga) = told.keys().next() {
            hold!(false, "events-complete", "there are events of {saga}, which is no order");
        }
        self.check_sagas(report, on_their_way).await?;
        report.units_sold = sold.values().sum();
        self.check_stock(report, &promised, &sold).await?;
        // What others make of the events comes after the events themselves.
        self.check_consumers(report, &all).await
    }

    /// Every event is in the log, and its first copy comes after those before it of its saga and topic.
    async fn check_log(&self, told: &HashMap<OrderId, Told>) -> Result<(), AuditError> {
        // A log of this process is the outbox itself.
        let (Some(log), Some(_)) = (&self.log, &self.gate) else { return Ok(()) };
        let mut seen: HashMap<OrderId, [u32; 3]> = HashMap::new();
        let mut history = log.history().await?;
        loop {
            let messages = history.next(PAGE, LOG_PATIENCE).await?;
            if messages.is_empty() {
                break;
            }
            for event in messages.into_iter().filter_map(|message| message.content.ok()) {
                let [order, compensation, count] = seen.entry(event.saga_id).or_default();
                let last = if event.body.topic() == Topic::Order { order } else { compensation };
                if event.sequence > *last {
                    *last = event.sequence;
                    *count += 1;
                }
            }
        }
        // Older ones may have left the log.
        let kept_since = OrderId::earliest_at(self.clock.now().minus(LOG_KEEPS));
        for (saga, told) in told.iter().filter(|(saga, _)| **saga >= kept_since) {
            let [order, compensation, count] = seen.get(saga).copied().unwrap_or_default();
            hold!(
                count == told.last && order.max(compensation) == told.last,
                "log-complete",
                "order {saga}: of {} events, {count} are in the log in their order",
                told.last
            );
        }
        Ok(())
    }

    /// What consumers have made of the events is what the events say.
    async fn check_consumers(&self, report: &mut Report, all: &AllTold) -> Result<(), AuditError> {
        let Some(log) = &self.log else { return Ok(()) };
        for group in Group::ALL {
            let lag = log.lag(group).await?;
            if lag > 0 {
                report.lag.insert(group.as_str(), lag);
            }
        }
        let caught_up = |group: Group| !report.lag.contains_key(group.as_str());
        if caught_up(Group::Analytics) {
            let counted = self.consumers.sales(Minute(i64::MIN)..Minute(i64::MAX), usize::MAX).await?;
            hold!(counted == all.sales, "sales-counted", "{}", difference(&counted, &all.sales));
        }
        if caught_up(Group::Notification) {
            let mut mails: BTreeMap<MailKind, u64> = BTreeMap::new();
            for (kind, _, count) in self.consumers.mail_counts().await? {
                *mails.entry(kind).or_default() += count;
            }
            for kind in MailKind::ALL {
                let written = mails.get(&kind).copied().unwrap_or_default();
                let wanted = all.mails.get(&kind).copied().unwrap_or_default();
                hold!(
                    written == wanted,
                    "customers-told",
                    "{written} mails of kind {kind} were written, {wanted} events ask for one"
                );
            }
        }
        if caught_up(Group::Coordination) {
            let findings = self.consumers.findings(1).await?;
            if let Some(Finding { saga_id, detail, .. }) =
                findings.iter().find(|finding| finding.kind == FindingKind::Contradiction)
            {
                hold!(false, "events-agree", "order {saga_id}: {detail}");
            }
        }
        Ok(())
    }

    /// Each saga's events come in sequence, without gaps.
    async fn read_events(
        &self,
        report: &mut Report,
        all: &mut AllTold,
    ) -> Result<HashMap<OrderId, Told>, AuditError> {
        let mut told: HashMap<OrderId, Told> = HashMap::new();
        let mut position = Position::default();
        loop {
            let entries = self.outbox.read(position, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(told) };
            position = last.position;
            let events: Vec<Event> = entries.into_iter().flat_map(|entry| entry.events).collect();
            all.sales += analytics::meaning(&events).sales;
            for mail in notification::meaning(&events).mails {
                *all.mails.entry(mail.kind).or_default() += 1;
            }
            for event in events {
                report.events += 1;
                let saga = event.saga_id;
                let of_saga = told.entry(saga).or_default();
                hold!(
                    event.sequence == of_saga.last + 1,
                    "events-complete",
                    "order {saga}: event {} follows event {}",
                    event.sequence,
                    of_saga.last
                );
                of_saga.last = event.sequence;
                match event.body {
                    EventBody::OrderConfirmed { .. } => of_saga.ending = Some(OrderStatus::Confirmed),
                    EventBody::OrderFailed { .. } => of_saga.ending = Some(OrderStatus::Failed),
                    EventBody::OrderCancelled { .. } => of_saga.ending = Some(OrderStatus::Cancelled),
                    EventBody::PaymentProcessed { .. } => of_saga.paid = true,
                    EventBody::PaymentRefunded { .. } => of_saga.refunded = true,
                    _ => {}
                }
            }
        }
    }

    /// Every order on its way has a saga that can finish it.
    async fn check_sagas(&self, report: &mut Report, on_their_way: usize) -> Result<(), AuditError> {
        let open = self.ledger.open_sagas(usize::MAX).await?;
        let pending = open.iter().filter(|saga| saga.order.status == OrderStatus::Pending).count();
        hold!(
            pending == on_their_way,
            "sagas-finish",
            "{on_their_way} orders are PENDING, but {pending} have a saga that can finish them"
        );
        for saga in &open {
            hold!(
                matches!(saga.order.status, OrderStatus::Pending | OrderStatus::Confirmed),
                "sagas-finish",
                "order {} is {} and still has an open saga",
                saga.order.id,
                saga.order.status.as_str()
            );
        }
        report.waiting = open.iter().filter(|saga| saga.waits_until.is_some()).count() as u64;
        report.stuck = open.iter().filter(|saga| saga.stuck.is_some()).map(|saga| saga.order.id).collect();
        Ok(())
    }

    /// What the gate knows of the products is what the ledger has.
    async fn check_gate(&self, products: &[Product]) -> Result<(), AuditError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let ids: Vec<_> = products.iter().map(|product| product.id).collect();
        for (product, level) in products.iter().zip(gate.levels(&ids).await?) {
            // What is not loaded cannot be wrong.
            let Some(level) = level else { continue };
            hold!(
                (level.stock, level.reserved) == (product.stock, product.reserved),
                "gate-is-ledger",
                "product {}: the gate has {} in stock and {} reserved, the ledger {} and {}",
                product.id,
                level.stock,
                level.reserved,
                product.stock,
                product.reserved
            );
        }
        Ok(())
    }

    /// On hand + sold = everything ever stocked, and reserved = what PENDING orders were promised.
    async fn check_stock(
        &self,
        report: &mut Report,
        promised: &HashMap<ProductId, i64>,
        sold: &HashMap<ProductId, i64>,
    ) -> Result<(), AuditError> {
        let log: HashMap<_, _> = self.ledger.stock_log_sums().await?.into_iter().collect();
        let mut query = ProductQuery { limit: PAGE, ..ProductQuery::default() };
        loop {
            let page = self.ledger.products(&query).await?;
            let Some(last) = page.last() else { return Ok(()) };
            query.after = Some(last.id);
            self.check_gate(&page).await?;
            for product in &page {
                report.products += 1;
                let id = product.id;
                let units = |of: &HashMap<ProductId, i64>| of.get(&id).copied().unwrap_or_default();
                let (sold, promised, log) =
                    (units(sold), units(promised), log.get(&id).copied().unwrap_or_default());
                hold!(
                    product.stock + sold == log.stocked,
                    "stock-conserved",
                    "product {id}: {} on hand + {sold} sold is not the {} ever stocked",
                    product.stock,
                    log.stocked
                );
                hold!(
                    log.sold == -sold,
                    "stock-log-complete",
                    "product {id}: the stock log says {} sold, the orders say {sold}",
                    -log.sold
                );
                hold!(
                    product.reserved == promised,
                    "reserved-is-pending",
                    "product {id}: {} are reserved, {promised} were promised to PENDING orders",
                    product.reserved
                );
                hold!(
                    0 <= product.reserved && product.reserved <= product.stock,
                    "never-oversold",
                    "product {id}: {} reserved of {} in stock",
                    product.reserved,
                    product.stock
                );
            }
        }
    }
}

fn check_order(order: &Order, charge: Option<&ChargeRecord>, told: Option<Told>) -> Result<(), AuditError> {
    let (id, status) = (order.id, order.status.as_str());
    let total = order::total_of(&order.lines);
    hold!(total == Ok(order.total), "totals-add-up", "order {id}: its total is not the sum of its lines");

    hold!(
        order.status == OrderStatus::Pending
            || charge.is_none_or(|charge| charge.state != ChargeState::Waiting),
        "waiting-is-pending",
        "order {id} is {status}, but its customer may still have {} taken",
        order.total
    );
    let captured = charge.filter(|charge| charge.state == ChargeState::Captured);
    match order.status {
        OrderStatus::Confirmed if order.total.minor > 0 => {
            // A cancel may be on its way: the money is back, the order not CANCELLED yet.
            let refunded = charge.filter(|charge| charge.state == ChargeState::Refunded);
            let told_refunded = told.is_some_and(|told| told.refunded);
            let taken = captured.or(refunded.filter(|_| !told_refunded));
            hold!(
                taken.is_some_and(|charge| charge.amount == order.total),
                "confirmed-is-paid",
                "order {id} is {status} over {} but the gateway has {}",
                order.total,
                described(charge)
            );
        }
        OrderStatus::Pending => {}
        OrderStatus::Confirmed | OrderStatus::Failed | OrderStatus::Cancelled => {
            hold!(
                captured.is_none(),
                "no-money-kept",
                "order {id} is {status} over {} but the gateway has {}",
                order.total,
                described(charge)
            );
        }
    }

    let Some(told) = told else {
        hold!(false, "events-complete", "order {id} has no events");
        return Ok(());
    };
    let ending = Some(order.status).filter(|status| *status != OrderStatus::Pending);
    hold!(
        told.ending == ending,
        "events-complete",
        "order {id} is {status}, its events end in {:?}",
        told.ending
    );
    let paid = order.total.minor > 0 && order.status == OrderStatus::Confirmed;
    hold!(told.paid || !paid, "events-complete", "order {id} is {status} without an event of its payment");
    Ok(())
}

fn described(charge: Option<&ChargeRecord>) -> String {
    charge.map_or("no charge".into(), |charge| format!("a charge of {}, {:?}", charge.amount, charge.state))
}

/// The gateway's list, read page by page in order of key.
pub struct ChargeList {
    payments: Arc<dyn Payments>,
    page_size: usize,
    page: std::vec::IntoIter<ChargeRecord>,
    after: Option<OrderId>,
}

impl ChargeList {
    /// The whole list.
    pub fn new(payments: Arc<dyn Payments>, page_size: usize) -> Self {
        Self { payments, page_size, page: Vec::new().into_iter(), after: None }
    }

    /// The next charge, if it is of `last` or an order before that; any charge where `last` is none.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub async fn next_up_to(&mut self, last: Option<OrderId>) -> Result<Option<ChargeRecord>, Unavailable> {
        if self.page.as_slice().is_empty() {
            let page = self.payments.list(self.after, self.page_size).await?;
            self.after = page.last().map(|charge| charge.order).or(self.after);
            self.page = page.into_iter();
        }
        let is_next = |charge: &ChargeRecord| last.is_none_or(|last| charge.order <= last);
        Ok(if self.page.as_slice().first().is_some_and(is_next) { self.page.next() } else { None })
    }
}

/// The gateway's list, read in step with the orders.
struct Charges(ChargeList);

impl Charges {
    /// The charge of an order. Charges before it have no order: none of them may have money.
    async fn of(&mut self, id: OrderId, report: &mut Report) -> Result<Option<ChargeRecord>, AuditError> {
        while let Some(charge) = self.0.next_up_to(Some(id)).await? {
            count_charge(&charge, report);
            if charge.order == id {
                return Ok(Some(charge));
            }
            without_order(&charge)?;
        }
        Ok(None)
    }

    /// What is left after the last order.
    async fn rest(&mut self, report: &mut Report) -> Result<(), AuditError> {
        while let Some(charge) = self.0.next_up_to(None).await? {
            count_charge(&charge, report);
            without_order(&charge)?;
        }
        Ok(())
    }
}

fn count_charge(charge: &ChargeRecord, report: &mut Report) {
    let state = match charge.state {
        ChargeState::Waiting => "waiting",
        ChargeState::Captured => "captured",
        ChargeState::Declined => "declined",
        ChargeState::Voided => "voided",
        ChargeState::Refunded => "refunded",
    };
    *report.charges.entry(state).or_default() += 1;
}

fn without_order(charge: &ChargeRecord) -> Result<(), AuditError> {
    hold!(
        !matches!(charge.state, ChargeState::Captured | ChargeState::Waiting),
        "charge-has-order",
        "the gateway keeps, or may yet take, {} for {}, which is no order",
        charge.amount,
        charge.order
    );
    Ok(())
}
