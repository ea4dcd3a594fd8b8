//! A customer's orders, and the page on which one of them moves.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Event, EventBody, NextAction, Order, OrderLine, OrderStatus, Reason};
use crate::http::Shop;
use crate::http::api::view_order::own_order;
use crate::http::extract::{LastEventId, OrderPath, Query};
use crate::http::problem::{Kind, Problem};
use crate::live;
use crate::saga::CancelAnswer;

use super::forms::{Form, Nothing};
use super::texts::Language;
use super::visit::{Page, SignedIn};
use super::{go_to, page};

/// Orders of a page.
const ORDERS: usize = 20;

/// Digits of an order's id that people are shown.
const NUMBER_DIGITS: usize = 8;

/// Asks for what moves on an order's page, without the rest.
const PART: &str = "x-part";

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersPage {
    page: Page,
    orders: Vec<Row>,
    next_href: String,
    is_empty: bool,
}

/// An order in a list.
pub struct Row {
    pub href: String,
    pub number: String,
    pub status: &'static str,
    pub status_label: String,
    pub total: String,
    pub when: String,
    pub summary: String,
}

impl Row {
    /// An order whose page is at `href`.
    pub fn of(language: Language, order: &Order, href: String) -> Self {
        Self {
            href,
            number: number(order),
            status: order.status.as_str(),
            status_label: status_label(language, order.status),
            total: language.money(order.total),
            when: language.moment(order.created_at),
            summary: summary(language, order),
        }
    }
}

#[derive(Template)]
#[template(path = "order.html", blocks = ["order"])]
struct OrderPage {
    page: Page,
    number: String,
    status: &'static str,
    status_label: String,
    reason: String,
    settled: bool,
    live_href: String,
    steps: Vec<Step>,
    lines: Vec<Line>,
    total: String,
    when: String,
    can_cancel: bool,
    cancel_href: String,
    act_href: String,
    history: Vec<Past>,
}

/// A step of the saga.
struct Step {
    label: String,
    state: &'static str,
    state_label: String,
    note: String,
}

/// A product of an order.
pub struct Line {
    pub href: String,
    pub name: String,
    pub quantity: u32,
    pub unit_price: String,
    pub total: String,
}

impl Line {
    fn of(language: Language, line: &OrderLine) -> Self {
        let total = line.unit_price.times(line.quantity);
        Self {
            href: format!("/products/{}", line.product_id),
            name: line.name.to_string(),
            quantity: line.quantity.get(),
            unit_price: language.money(line.unit_price),
            total: total.map(|total| language.money(total)).unwrap_or_default(),
        }
    }

    /// The products of an order.
    pub fn all(language: Language, order: &Order) -> Vec<Self> {
        order.lines.iter().map(|line| Self::of(language, line)).collect()
    }
}

struct Past {
    when: String,
    label: String,
}

/// What people are shown as an order's number: the end of its id, in which orders of one moment differ.
pub fn number(order: &Order) -> String {
    let id = order.id.to_string();
    id[id.len() - NUMBER_DIGITS..].to_uppercase()
}

/// Where an order's page is.
pub fn address(order: &Order) -> String {
    format!("/orders/{}", order.id)
}

/// A status in a word.
pub fn status_label(language: Language, status: OrderStatus) -> String {
    language.text(&format!("status-{}", status.as_str().to_lowercase()))
}

#[derive(Deserialize)]
pub struct Cursor {
    cursor: Option<String>,
}

/// Lists the customer's orders, newest first.
pub async fn list(
    State(shop): State<Shop>,
    SignedIn(visit, user): SignedIn,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Response, Problem> {
    let before = cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| Problem::invalid("cursor", "is not one that this shop gave"))?;
    let orders = shop.stores.ledger.orders_of(user, before, ORDERS).await?;
    let language = visit.language;
    let next = orders.last().filter(|_| orders.len() == ORDERS);
    let next_href = next.map(|order| format!("/orders?cursor={}", order.id)).unwrap_or_default();
    let orders: Vec<_> = orders.iter().map(|order| Row::of(language, order, address(order))).collect();
    page(&OrdersPage { page: visit.page_of("title-orders"), next_href, is_empty: orders.is_empty(), orders })
}

fn summary(language: Language, order: &Order) -> String {
    let units = order.lines.iter().map(|line| i64::from(line.quantity.get())).sum::<i64>();
    let first = order.lines.first().map(|line| line.name.to_string()).unwrap_or_default();
    match order.lines.len() {
        1 => format!("{} × {first}", language.number(units)),
        lines => format!("{first} {}", language.text_with("order-more", [("n", (lines as i64 - 1).into())])),
    }
}

/// Shows an order; where only the part that moves is asked for, that alone.
pub async fn show(
    State(shop): State<Shop>,
    SignedIn(visit, user): SignedIn,
    OrderPath(id): OrderPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = own_order(&shop, user, id).await?;
    let events = shop.stores.ledger.events_of(id).await?;
    let action = match order.status {
        OrderStatus::Pending => shop.stores.ledger.next_actions(&[id]).await?.remove(&id),
        _ => None,
    };
    let language = visit.language;
    let number = number(&order);
    let settled = is_settled(&order, &events);
    let shown = OrderPage {
        page: visit.page(language.text_with("title-order", [("number", number.clone().into())])),
        number,
        status: order.status.as_str(),
        status_label: status_label(language, order.status),
        reason: order.reason.map(|reason| reason_text(language, reason)).unwrap_or_default(),
        settled,
        live_href: format!("/orders/{id}/live"),
        steps: steps(language, &order, &events, action.is_some()),
        lines: Line::all(language, &order),
        total: language.money(order.total),
        when: language.moment(order.created_at),
        can_cancel: matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed),
        cancel_href: format!("/orders/{id}/cancel"),
        act_href: action.map(|NextAction::RedirectToUrl { url }| url.to_string()).unwrap_or_default(),
        history: events.iter().map(|event| past(language, event)).collect(),
    };
    match headers.contains_key(PART) {
        true => page(&shown.as_order()),
        false => page(&shown),
    }
}

/// Tells the order's page that it moves. The same stream as the API's, for whom a cookie has signed in.
pub async fn live(
    State(shop): State<Shop>,
    SignedIn(_, user): SignedIn,
    OrderPath(id): OrderPath,
    LastEventId(last_seen): LastEventId,
) -> Result<Response, Problem> {
    let order = own_order(&shop, user, id).await?;
    live::order_response(&shop, order, last_seen.as_deref()).await
}

/// Takes an order back.
pub async fn cancel(
    State(shop): State<Shop>,
    SignedIn(_, user): SignedIn,
    OrderPath(id): OrderPath,
    _: Form<Nothing>,
) -> Result<Response, Problem> {
    match shop.engine.cancel_order(id, user).await? {
        CancelAnswer::Done(_) | CancelAnswer::Recorded(_) => {}
        CancelAnswer::NotPossible(_) => {
            return Err(Problem::new(Kind::NotCancellable, "The order failed before."));
        }
        CancelAnswer::NotFound => return Err(Problem::new(Kind::NotFound, "There is no such order.")),
    }
    Ok(go_to(&format!("/orders/{id}?notice=cancelled")))
}

fn reason_text(language: Language, reason: Reason) -> String {
    language.text(&format!("reason-{}", reason_word(reason)))
}

/// The word for a reason in the keys of texts.
pub fn reason_word(reason: Reason) -> String {
    reason.as_str().to_lowercase().replace('_', "-")
}

/// Whether nothing will move any more, unless the customer cancels.
fn is_settled(order: &Order, events: &[Event]) -> bool {
    let has = |kind: fn(&EventBody) -> bool| events.iter().any(|event| kind(&event.body));
    match order.status {
        OrderStatus::Pending => false,
        OrderStatus::Confirmed => has(|body| matches!(body, EventBody::OrderConfirmed { .. })),
        OrderStatus::Failed => has(|body| matches!(body, EventBody::OrderFailed { .. })),
        OrderStatus::Cancelled => has(|body| matches!(body, EventBody::OrderCancelled { .. })),
    }
}

/// Where the saga is, step by step.
fn steps(language: Language, order: &Order, events: &[Event], waits_for_customer: bool) -> Vec<Step> {
    let has = |kind: fn(&EventBody) -> bool| events.iter().any(|event| kind(&event.body));
    let paid = has(|body| matches!(body, EventBody::PaymentProcessed { .. }));
    let refunded = has(|body| matches!(body, EventBody::PaymentRefunded { .. }));
    let confirmed = has(|body| matches!(body, EventBody::OrderConfirmed { .. }));
    let ended = matches!(order.status, OrderStatus::Failed | OrderStatus::Cancelled);
    // Units and order were there before anything could fail.
    let given_back = if ended { "undone" } else { "done" };
    let payment = match (order.status, order.reason) {
        (OrderStatus::Confirmed, _) => "done",
        (OrderStatus::Pending, _) => "now",
        _ if refunded => "undone",
        (_, Some(Reason::PaymentDeclined | Reason::PaymentUnknown)) => "failed",
        _ if paid => "done",
        _ => "todo",
    };
    let confirmation = match order.status {
        OrderStatus::Confirmed => "done",
        OrderStatus::Pending => "todo",
        _ if confirmed => "undone",
        OrderStatus::Failed if payment != "failed" => "failed",
        _ => "todo",
    };
    let step = |name: &str, state: &'static str, note: String| Step {
        label: language.text(&format!("step-{name}")),
        state,
        state_label: language.text(&format!("state-{state}")),
        note,
    };
    let note = match payment {
        "now" if waits_for_customer => language.text("note-waiting-for-customer"),
        "done" if order.total.minor == 0 => language.text("note-nothing-to-pay"),
        _ => String::new(),
    };
    vec![
        step("reserved", given_back, String::new()),
        step("created", given_back, String::new()),
        step("paid", payment, note),
        step("confirmed", confirmation, String::new()),
    ]
}

/// The word for a kind of event in the keys of texts.
pub fn event_word(body: &EventBody) -> &'static str {
    match body {
        EventBody::SagaStarted { .. } => "saga-started",
        EventBody::InventoryReserved { .. } => "inventory-reserved",
        EventBody::OrderCreated { .. } => "order-created",
        EventBody::PaymentProcessed { .. } => "payment-processed",
        EventBody::OrderConfirmed { .. } => "order-confirmed",
        EventBody::InventoryReleaseRequested { .. } => "inventory-release-requested",
        EventBody::OrderCancelled { .. } => "order-cancelled",
        EventBody::PaymentRefunded { .. } => "payment-refunded",
        EventBody::OrderFailed { .. } => "order-failed",
    }
}

fn past(language: Language, event: &Event) -> Past {
    let label = language.text(&format!("event-{}", event_word(&event.body)));
    Past { when: language.moment(event.time), label }
}
