//! The clean slate: what has to be true of a shop when nothing is on its way. It asks every part
//! for its own account of what happened and compares; it shares no code with the shop's audit.

use std::collections::{BTreeMap, HashMap, HashSet};

use holdfast::domain::{Event, EventBody, Order, OrderId, OrderStatus, ProductId, StockLevel, Timestamp};
use holdfast::ports::outbox::Position;
use holdfast::ports::payments::{ChargeRecord, ChargeState, Payments as _};

use super::shop::Shop;

/// Small, so that every list is read in several parts.
const PART: usize = 7;

/// Panics unless the slate is clean. `stuck` sagas may be open, no others.
pub async fn assert_clean(shop: &Shop, stuck: usize, context: &str) {
    let wrong = faults(shop, stuck).await;
    assert!(wrong.is_empty(), "{context}: the slate is not clean:\n  {}", wrong.join("\n  "));
}

async fn faults(shop: &Shop, stuck_wanted: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let open = shop.ledger.open_sagas(10_000).await.expect("open sagas");
    for saga in open.iter().filter(|saga| saga.stuck.is_none()) {
        wrong.push(format!("the saga of order {} is open ({:?})", saga.order.id, saga.progress));
    }
    let stuck: HashSet<OrderId> =
        open.iter().filter(|saga| saga.stuck.is_some()).map(|saga| saga.order.id).collect();
    if stuck.len() != stuck_wanted {
        wrong.push(format!("{} sagas are stuck, not {stuck_wanted}", stuck.len()));
    }
    let orders = orders(shop).await;
    let charges = charges(shop, &mut wrong).await;
    stock(shop, &orders, &mut wrong).await;
    gate(shop, &mut wrong).await;
    money(&orders, &charges, &stuck, &mut wrong);
    events(shop, &orders, &charges, &stuck, &mut wrong).await;
    for order in orders.values().filter(|order| order.status == OrderStatus::Pending) {
        if !stuck.contains(&order.id) {
            wrong.push(format!("order {} is PENDING and no saga is open", order.id));
        }
    }
    wrong
}

async fn orders(shop: &Shop) -> BTreeMap<OrderId, Order> {
    let mut orders = BTreeMap::new();
    let mut after = None;
    loop {
        let part = shop.ledger.orders_after(after, PART).await.expect("orders");
        let Some(last) = part.last() else { return orders };
        assert!(part.iter().all(|order| Some(order.id) > after), "orders come in order");
        after = Some(last.id);
        orders.extend(part.into_iter().map(|order| (order.id, Order::clone(&order))));
    }
}

/// The gateway's own list.
async fn charges(shop: &Shop, wrong: &mut Vec<String>) -> HashMap<OrderId, ChargeRecord> {
    let mut charges = HashMap::new();
    let mut after = None;
    loop {
        let part = shop.payments.list(after, PART).await.expect("charges");
        let Some(last) = part.last() else { return charges };
        after = Some(last.order);
        for charge in part {
            if let Some(other) = charges.insert(charge.order, charge) {
                wrong.push(format!("the gateway lists two charges of order {}", other.order));
            }
        }
    }
}

fn units_by_product<'o>(orders: impl Iterator<Item = &'o Order>) -> BTreeMap<ProductId, i64> {
    let mut units = BTreeMap::new();
    for line in orders.flat_map(|order| order.lines.iter()) {
        *units.entry(line.product_id).or_default() += i64::from(line.quantity.get());
    }
    units
}

async fn stock(shop: &Shop, orders: &BTreeMap<OrderId, Order>, wrong: &mut Vec<String>) {
    let of_status = |status| units_by_product(orders.values().filter(move |order| order.status == status));
    let (pending, sold) = (of_status(OrderStatus::Pending), of_status(OrderStatus::Confirmed));
    let log: BTreeMap<_, _> =
        shop.ledger.stock_log_sums().await.expect("the stock log").into_iter().collect();
    for StockLevel { product, stock, reserved } in shop.ledger.stock_levels().await.expect("levels") {
        let (pending, sold) =
            (pending.get(&product).copied().unwrap_or(0), sold.get(&product).copied().unwrap_or(0));
        let log = log.get(&product).copied().unwrap_or_default();
        if reserved != pending {
            wrong.push(format!("{reserved} units of product {product} are reserved, PENDING are {pending}"));
        }
        if stock + sold != log.stocked {
            wrong.push(format!("product {product}: {stock} on hand + {sold} sold is not {}", log.stocked));
        }
        if log.sold != -sold {
            wrong.push(format!("product {product}: the log knows {} sold, the orders {sold}", -log.sold));
        }
        if reserved < 0 || reserved > stock {
            wrong.push(format!("product {product}: {reserved} of {stock} units are reserved"));
        }
    }
}

async fn gate(shop: &Shop, wrong: &mut Vec<String>) {
    let by_product = |levels: Vec<StockLevel>| -> BTreeMap<ProductId, (i64, i64)> {
        levels.into_iter().map(|level| (level.product, (level.stock, level.reserved))).collect()
    };
    let ledger = by_product(shop.ledger.stock_levels().await.expect("levels"));
    let products: Vec<_> = ledger.keys().copied().collect();
    let levels = shop.gate.levels(&products).await.expect("levels");
    let gate = by_product(levels.into_iter().flatten().collect());
    if gate != ledger {
        wrong.push(format!("(stock, reserved) at the gate {gate:?}, in the ledger {ledger:?}"));
    }
    let holds = shop.gate.overdue(Timestamp(i64::MAX)).await.expect("holds");
    if !holds.is_empty() {
        wrong.push(format!("holds without an order: {holds:?}"));
    }
}

fn money(
    orders: &BTreeMap<OrderId, Order>,
    charges: &HashMap<OrderId, ChargeRecord>,
    stuck: &HashSet<OrderId>,
    wrong: &mut Vec<String>,
) {
    for order in orders.values() {
        let charge = charges.get(&order.id);
        if let Some(charge) = charge.filter(|charge| charge.amount != order.total) {
            wrong.push(format!("order {} costs {}, charged was {}", order.id, order.total, charge.amount));
        }
        let state = charge.map(|charge| charge.state);
        let right = match order.status {
            // On its way: anything may be so.
            OrderStatus::Pending => stuck.contains(&order.id),
            OrderStatus::Confirmed if order.total.minor == 0 => state.is_none(),
            // Being cancelled.
            OrderStatus::Confirmed if stuck.contains(&order.id) => {
                matches!(state, Some(ChargeState::Captured | ChargeState::Refunded))
            }
            OrderStatus::Confirmed => state == Some(ChargeState::Captured),
            OrderStatus::Failed | OrderStatus::Cancelled => state != Some(ChargeState::Captured),
        };
        if !right {
            wrong.push(format!("order {} is {:?}, its charge {state:?}", order.id, order.status));
        }
    }
    for charge in charges.values().filter(|charge| charge.state == ChargeState::Captured) {
        if !orders.contains_key(&charge.order) {
            wrong.push(format!("money was taken for {}, which is no order", charge.order));
        }
    }
}

async fn events(
    shop: &Shop,
    orders: &BTreeMap<OrderId, Order>,
    charges: &HashMap<OrderId, ChargeRecord>,
    stuck: &HashSet<OrderId>,
    wrong: &mut Vec<String>,
) {
    let mut told: BTreeMap<OrderId, Vec<Event>> = BTreeMap::new();
    let mut after = Position::default();
    loop {
        let part = shop.log.read(after, PART).await.expect("the event log");
        let Some(last) = part.last() else { break };
        after = last.position;
        for event in part.into_iter().flat_map(|entry| entry.events) {
            told.entry(event.saga_id).or_default().push(event);
        }
    }
    for id in told.keys().filter(|id| !orders.contains_key(id)) {
        wrong.push(format!("events are told of {id}, which is no order"));
    }
    for order in orders.values() {
        let events = shop.ledger.events_of(order.id).await.expect("events");
        if told.get(&order.id) != Some(&events) {
            wrong.push(format!("order {}: the log tells other events than the ledger", order.id));
        }
        if !events.iter().map(|event| event.sequence).eq(1..=u32::try_from(events.len()).expect("few")) {
            wrong.push(format!("order {}: its events have gaps", order.id));
        }
        let kinds: Vec<&str> = events.iter().map(|event| event.body.kind()).collect();
        let refunded = charges.get(&order.id).is_some_and(|charge| charge.state == ChargeState::Refunded);
        let wanted = kinds_wanted(order, &kinds, refunded && !stuck.contains(&order.id));
        if kinds != wanted {
            wrong.push(format!("order {} is {:?}, its events {kinds:?}", order.id, order.status));
        }
        let amount_is_wrong = |event: &&Event| match &event.body {
            EventBody::PaymentProcessed { amount, .. } | EventBody::PaymentRefunded { amount, .. } => {
                *amount != order.total
            }
            EventBody::OrderCreated { total, .. } | EventBody::OrderConfirmed { total, .. } => {
                *total != order.total
            }
            _ => false,
        };
        if let Some(event) = events.iter().find(amount_is_wrong) {
            wrong.push(format!("order {} costs {}: {event:?}", order.id, order.total));
        }
    }
}

/// The events that the order has to have; `kinds` tells whether it was ever CONFIRMED.
fn kinds_wanted(order: &Order, kinds: &[&str], refunded: bool) -> Vec<&'static str> {
    let mut wanted = vec!["SagaStarted", "InventoryReserved", "OrderCreated"];
    let was_confirmed = order.status == OrderStatus::Confirmed
        || (order.status == OrderStatus::Cancelled && kinds.contains(&"OrderConfirmed"));
    if (was_confirmed && order.total.minor > 0) || refunded {
        wanted.push("PaymentProcessed");
    }
    if was_confirmed {
        wanted.push("OrderConfirmed");
    }
    if refunded {
        wanted.push("PaymentRefunded");
    }
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirmed => {}
        OrderStatus::Failed => wanted.extend(["InventoryReleaseRequested", "OrderFailed"]),
        OrderStatus::Cancelled => wanted.extend(["InventoryReleaseRequested", "OrderCancelled"]),
    }
    wanted
}
