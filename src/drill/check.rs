//! Holds what the shop has promised during a drill, as its history tells, against what the stores have.
//!
//! Works over the ports, so it is the same for every back end; money is compared with the gateway's own list. Orders
//! are read from the ledger by customer: those of a drill buy nothing else.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::app::Stores;
use crate::audit::{self, Audit};
use crate::domain::{BasketLine, Digest, Money, Order, OrderId, OrderStatus, ProductId, Timestamp, UserId};
use crate::ports::Unavailable;
use crate::ports::ledger::{Ledger, StockLogSum};
use crate::ports::payments::{ChargeState, Payments};

use super::history::{self, Header, HistoryError, Promises, Purchased};

/// Rows read in one go.
const PAGE: usize = 2_000;

/// Examples of each broken promise that are told.
const EXAMPLES_MAX: usize = 5;

/// Clocks of machines differ, but not by more.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);

/// How long the ledger surely remembers keys: an hour less than it has to.
const KEYS_KEPT: Duration = Duration::from_secs(23 * 60 * 60);

/// Pauses between two looks whether the shop is at rest, and between two audits that find something.
const REST_PAUSE: Duration = Duration::from_millis(500);
const AUDIT_PAUSE: Duration = Duration::from_secs(5);

/// A promise of the shop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// An acknowledged order is there, as it was acknowledged.
    Lost,
    /// One key is one order, and nobody has an order that they did not ask for.
    Duplicated,
    /// No more is sold than there ever was.
    Oversold,
    /// Money is taken for CONFIRMED orders only.
    ChargedWithoutOrder,
    /// Each CONFIRMED order is paid, once.
    Unpaid,
    /// An order is what its customer asked for.
    Changed,
    /// A refused purchase is not sold.
    RefusedAndSold,
    /// A cancel that was answered is carried out.
    NotCancelled,
    /// A delivery counts once.
    Restocked,
    /// Every order comes to an end.
    Unfinished,
}

impl Promise {
    /// The word for its being broken, the same as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Oversold => "oversold",
            Self::ChargedWithoutOrder => "charged-without-order",
            Self::Unpaid => "unpaid",
            Self::Changed => "changed",
            Self::RefusedAndSold => "refused-and-sold",
            Self::NotCancelled => "not-cancelled",
            Self::Restocked => "restocked",
            Self::Unfinished => "unfinished",
        }
    }
}

/// How often a promise was broken.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Broken {
    pub count: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Purchases in the history, and orders that the ledger has of them.
    pub purchases: u64,
    pub orders: u64,
    pub acknowledged: u64,
    /// Those of [`Promise::Lost`] to [`Promise::ChargedWithoutOrder`] are always there.
    pub broken: BTreeMap<Promise, Broken>,
    /// What the audit of the whole shop says.
    pub audit: audit::Report,
}

impl Findings {
    /// Whether every promise was kept.
    pub fn are_clean(&self) -> bool {
        self.audit.broken.is_none() && self.broken.values().all(|broken| broken.count == 0)
    }

    /// How often a promise was broken.
    pub fn count(&self, promise: Promise) -> u64 {
        self.broken.get(&promise).map_or(0, |broken| broken.count)
    }
}

/// Why a history could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("{path}: {reason}")]
    Nonsense { path: String, reason: String },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Reads a history for a check.
///
/// # Errors
/// It cannot be read, or makes no sense.
pub fn read_promises(path: &Path) -> Result<(Header, Promises), CheckError> {
    let (header, records) = history::read(path)?;
    let mut promises = Promises::default();
    for record in records {
        let nonsense = |reason| CheckError::Nonsense { path: path.display().to_string(), reason };
        promises.take(&record?).map_err(nonsense)?;
    }
    Ok((header, promises))
}

/// Waits until no order of the drill is on its way, at most for `patience`; says whether it came to that.
///
/// # Errors
/// The ledger does not answer.
pub async fn at_rest(stores: &Stores, header: &Header, patience: Duration) -> Result<bool, Unavailable> {
    let until = Instant::now() + patience;
    loop {
        let open = stores.ledger.open_sagas(usize::MAX).await?;
        if !open.iter().any(|saga| header.is_customer(saga.order.user_id)) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(REST_PAUSE).await;
    }
}

/// Checks a history against the stores of a shop at rest. Whatever the audit of the whole shop finds may still be
/// mended within `patience`, because servers compare and repeat in the background.
///
/// # Errors
/// A store does not answer.
pub async fn check(
    stores: &Stores,
    header: &Header,
    promises: &Promises,
    patience: Duration,
    mut progress: impl FnMut(u64),
) -> Result<Findings, Unavailable> {
    let until = Instant::now() + patience;
    let mut check = Check {
        ledger: &stores.ledger,
        payments: &stores.payments,
        header,
        promises,
        since: header.started_at.minus(CLOCKS_DIFFER),
        keys_are_known: header.started_at > stores.clock.now().minus(KEYS_KEPT),
        broken: BTreeMap::new(),
    };
    for promise in [Promise::Lost, Promise::Duplicated, Promise::Oversold, Promise::ChargedWithoutOrder] {
        check.broken.insert(promise, Broken::default());
    }
    let orders = check.orders().await?;
    check.purchases(&orders).await?;
    check.charges(&orders).await?;
    check.stock(&orders).await?;
    let broken = check.broken;
    let audit = loop {
        let report = Audit::of(stores).run(&mut progress).await?;
        if report.broken.is_none() || Instant::now() + AUDIT_PAUSE >= until {
            break report;
        }
        tokio::time::sleep(AUDIT_PAUSE).await;
    };
    let acknowledged = promises.purchases.values().filter(|purchase| purchase.acknowledged).count();
    Ok(Findings {
        purchases: promises.purchases.len() as u64,
        orders: orders.len() as u64,
        acknowledged: acknowledged as u64,
        broken,
        audit,
    })
}

/// What the ledger has of an order.
struct Found {
    user: UserId,
    status: OrderStatus,
    total: Money,
    lines: Box<[BasketLine]>,
}

impl From<&Order> for Found {
    fn from(order: &Order) -> Self {
        let lines = order.basket_lines().iter().copied().collect();
        Self { user: order.user_id, status: order.status, total: order.total, lines }
    }
}

type Orders = BTreeMap<OrderId, Found>;

struct Check<'a> {
    ledger: &'a Arc<dyn Ledger>,
    payments: &'a Arc<dyn Payments>,
    header: &'a Header,
    promises: &'a Promises,
    since: Timestamp,
    /// Whether the ledger still knows which order belongs to which key.
    keys_are_known: bool,
    broken: BTreeMap<Promise, Broken>,
}

impl Check<'_> {
    fn breach(&mut self, promise: Promise, detail: String) {
        let broken = self.broken.entry(promise).or_default();
        broken.count += 1;
        if broken.examples.len() < EXAMPLES_MAX {
            broken.examples.push(detail);
        }
    }

    /// Every order of the drill's customers.
    async fn orders(&self) -> Result<Orders, Unavailable> {
        let mut orders = Orders::new();
        let mut after = Some(OrderId::earliest_at(self.since));
        loop {
            let page = self.ledger.orders_after(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(orders) };
            after = Some(last.id);
            let ours = page.iter().filter(|order| self.header.is_customer(order.user_id));
            orders.extend(ours.map(|order| (order.id, Found::from(&**order))));
        }
    }

    /// Each purchase has the order that it was promised, and each order its purchase.
    async fn purchases(&mut self, orders: &Orders) -> Result<(), Unavailable> {
        let mut owners: HashMap<OrderId, u64> = HashMap::new();
        for (key, purchase) in &self.promises.purchases {
            if let [first, others @ ..] = &*purchase.orders {
                for other in others {
                    let detail = format!("purchase {key} was answered with the orders {first} and {other}");
                    self.breach(Promise::Duplicated, detail);
                }
            }
            for id in &purchase.orders {
                if let Some(other) = owners.insert(*id, *key) {
                    let detail = format!("purchases {other} and {key} were answered with one order, {id}");
                    self.breach(Promise::Duplicated, detail);
                }
                match orders.get(id) {
                    Some(found) => self.purchase(*key, purchase, *id, found),
                    None if purchase.acknowledged => self.missing(*key, purchase, *id).await?,
                    // It was given up, and nothing of it is left.
                    None => {}
                }
            }
        }
        self.unexplained(orders, &owners).await
    }

    async fn missing(&mut self, key: u64, purchase: &Purchased, id: OrderId) -> Result<(), Unavailable> {
        match self.ledger.order(id).await? {
            None => {
                let detail =
                    format!("purchase {key} was answered with order {id}, which is not in the ledger");
                self.breach(Promise::Lost, detail);
            }
            Some(order) => {
                let (user, other) = (purchase.user, order.user_id);
                let detail = format!("order {id} of purchase {key} is customer {other}'s, not {user}'s");
                self.breach(Promise::Changed, detail);
            }
        }
        Ok(())
    }

    /// An order is what its purchase was promised.
    fn purchase(&mut self, key: u64, purchase: &Purchased, id: OrderId, found: &Found) {
        if found.user != purchase.user {
            let (user, other) = (purchase.user, found.user);
            let detail = format!("order {id} of purchase {key} is customer {other}'s, not {user}'s");
            self.breach(Promise::Changed, detail);
        }
        if found.lines != purchase.lines {
            let detail = format!("order {id} has other lines than purchase {key} asked for");
            self.breach(Promise::Changed, detail);
        }
        if found.total != purchase.total {
            let (total, asked) = (found.total, purchase.total);
            let detail = format!("order {id} of purchase {key} is over {total}, not {asked}");
            self.breach(Promise::Changed, detail);
        }
        let status = found.status.as_str();
        match found.status {
            OrderStatus::Pending => {
                self.breach(Promise::Unfinished, format!("order {id} of purchase {key} is {status}"));
            }
            OrderStatus::Confirmed if purchase.cancel_promised => {
                let detail = format!("order {id} of purchase {key} was cancelled and is {status}");
                self.breach(Promise::NotCancelled, detail);
            }
            OrderStatus::Confirmed if purchase.refused.is_some() && !purchase.confirmed => {
                let refused = purchase.refused.unwrap_or_default();
                let detail = format!("purchase {key} was answered {refused}, and its order {id} is {status}");
                self.breach(Promise::RefusedAndSold, detail);
            }
            OrderStatus::Confirmed => {}
            OrderStatus::Cancelled if purchase.cancel_asked => {}
            OrderStatus::Cancelled => {
                let detail = format!("order {id} of purchase {key} is {status}, and nobody asked for that");
                self.breach(Promise::Lost, detail);
            }
            OrderStatus::Failed if purchase.confirmed => {
                let detail = format!("order {id} of purchase {key} was answered CONFIRMED and is {status}");
                self.breach(Promise::Lost, detail);
            }
            OrderStatus::Failed => {}
        }
    }

    /// Orders that no answer named belong to purchases whose customers know nothing, or to refused ones.
    async fn unexplained(
        &mut self,
        orders: &Orders,
        owners: &HashMap<OrderId, u64>,
    ) -> Result<(), Unavailable> {
        let mut unnamed: HashMap<UserId, Vec<OrderId>> = HashMap::new();
        for (id, found) in orders.iter().filter(|(id, _)| !owners.contains_key(id)) {
            unnamed.entry(found.user).or_default().push(*id);
        }
        let nameless = self.promises.purchases.iter().filter(|(_, purchase)| purchase.orders.is_empty());
        for (key, purchase) in nameless {
            let Some(ids) = unnamed.get_mut(&purchase.user) else { continue };
            let its = if self.keys_are_known {
                let words = self.header.purchase_key(*key);
                let digest = Digest::of_key("order", purchase.user, &words);
                let known = self.ledger.find_purchase(purchase.user, digest, self.since).await?;
                known.and_then(|known| ids.iter().position(|id| *id == known.order.id))
            } else {
                ids.iter().position(|id| orders.get(id).is_some_and(|found| found.lines == purchase.lines))
            };
            if let Some(its) = its {
                let id = ids.swap_remove(its);
                self.purchase(*key, purchase, id, &orders[&id]);
            }
        }
        let mut left: Vec<_> = unnamed.into_values().flatten().collect();
        left.sort_unstable();
        for id in left {
            let found = &orders[&id];
            let (user, status) = (found.user, found.status.as_str());
            let detail =
                format!("order {id} of customer {user}, {status}, is no purchase's, or a second one");
            self.breach(Promise::Duplicated, detail);
        }
        Ok(())
    }

    /// Money is where the orders say.
    async fn charges(&mut self, orders: &Orders) -> Result<(), Unavailable> {
        let mut paid: HashMap<OrderId, Money> = HashMap::new();
        let mut after = Some(OrderId::earliest_at(self.since));
        loop {
            let page = self.payments.list(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.order);
            for charge in &page {
                if !matches!(charge.state, ChargeState::Captured | ChargeState::Waiting) {
                    continue;
                }
                let (id, amount) = (charge.order, charge.amount);
                let status = match orders.get(&id) {
                    Some(found) => Some(found.status),
                    // Another customer's, which the audit looks at.
                    None if self.ledger.order(id).await?.is_some() => continue,
                    None => None,
                };
                match status {
                    Some(OrderStatus::Confirmed) => {
                        if paid.insert(id, amount).is_some() {
                            let detail = format!("{amount} were taken for order {id} once more");
                            self.breach(Promise::Unpaid, detail);
                        }
                    }
                    // Found by the look at the purchases.
                    Some(OrderStatus::Pending) => {}
                    Some(status) => {
                        let status = status.as_str();
                        let detail = format!("the gateway keeps {amount} for order {id}, which is {status}");
                        self.breach(Promise::ChargedWithoutOrder, detail);
                    }
                    None => {
                        let detail = format!("the gateway keeps {amount} for {id}, which is no order");
                        self.breach(Promise::ChargedWithoutOrder, detail);
                    }
                }
            }
        }
        for (id, found) in orders.iter().filter(|(_, found)| found.status == OrderStatus::Confirmed) {
            let total = found.total;
            match paid.get(id) {
                Some(amount) if *amount == total => {}
                Some(amount) => {
                    self.breach(Promise::Unpaid, format!("order {id} is over {total}, {amount} were taken"));
                }
                None => {
                    let detail = format!("order {id} is CONFIRMED over {total} and nothing was taken");
                    self.breach(Promise::Unpaid, detail);
                }
            }
        }
        Ok(())
    }

    /// No product was sold more often than it was there, and each delivery counts once.
    async fn stock(&mut self, orders: &Orders) -> Result<(), Unavailable> {
        let mut sold: HashMap<ProductId, i64> = HashMap::new();
        for found in orders.values().filter(|found| found.status == OrderStatus::Confirmed) {
            add(&mut sold, &found.lines);
        }
        // What customers were told, whatever the ledger says now.
        let mut told: HashMap<ProductId, i64> = HashMap::new();
        let kept = |purchase: &&Purchased| purchase.confirmed && !purchase.cancel_asked;
        for purchase in self.promises.purchases.values().filter(kept) {
            add(&mut told, &purchase.lines);
        }
        let log: HashMap<_, _> = self.ledger.stock_log_sums().await?.into_iter().collect();
        for goods in &self.header.products {
            let StockLogSum { stocked, .. } = log.get(&goods.id).copied().unwrap_or_default();
            let id = goods.id;
            let units = |of: &HashMap<ProductId, i64>| of.get(&id).copied().unwrap_or_default();
            let (sold, told) = (units(&sold), units(&told));
            let (mut at_least, mut at_most) = (goods.stock, goods.stock);
            let mut unclear = Vec::new();
            for restock in self.promises.restocks.values().filter(|restock| restock.product == id) {
                if restock.acknowledged {
                    at_least += restock.delta;
                    at_most += restock.delta;
                } else if !restock.refused {
                    at_most += restock.delta;
                    unclear.push(restock.delta);
                }
            }
            if sold > stocked.min(at_most) {
                let there = stocked.min(at_most);
                self.breach(Promise::Oversold, format!("product {id}: {sold} sold of {there} ever stocked"));
            } else if told > at_most {
                let detail =
                    format!("product {id}: {told} sales were acknowledged of {at_most} ever stocked");
                self.breach(Promise::Oversold, detail);
            }
            let is_explained = (at_least..=at_most).contains(&stocked)
                // Deliveries of one product are alike.
                && unclear.first().is_none_or(|delta| (stocked - at_least) % delta == 0);
            if !is_explained {
                let detail = format!(
                    "product {id}: {stocked} were ever stocked by the log, {at_least} to {at_most} by what was delivered"
                );
                self.breach(Promise::Restocked, detail);
            }
        }
        Ok(())
    }
}

fn add(units: &mut HashMap<ProductId, i64>, lines: &[BasketLine]) {
    for line in lines {
        *units.entry(line.product_id).or_default() += i64::from(line.quantity.get());
    }
}
