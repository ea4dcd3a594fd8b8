//! Orders of all customers, and all there is to know of one of them: what happened, what was paid, what the customer
//! was told.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::consumers::letters;
use crate::domain::{Event, EventBody, OrderId, UserId};
use crate::http::Shop;
use crate::http::extract::{OrderPath, Query, text};
use crate::http::problem::{Kind, Problem};
use crate::http::web::forms::{Form, Nothing};
use crate::http::web::orders::{Line, Row, event_word};
use crate::http::web::texts::Language;
use crate::http::web::visit::Page;
use crate::http::web::{go_to, page, with_query};
use crate::ports::consumer_store::Mail;

use super::Administrator;
use super::table::{OrderRow, why};

/// Orders of a page.
const ORDERS: usize = 50;

#[derive(Deserialize)]
pub struct Wanted {
    /// An order's id, a customer's number or their address.
    #[serde(default)]
    q: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/orders.html")]
struct OrdersPage {
    page: Page,
    section: &'static str,
    q: String,
    orders: Vec<OrderRow>,
    next_href: String,
}

/// Lists orders, newest first: all of them, or a customer's. Whoever asks for one is led to it.
pub async fn list(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let q = wanted.q.trim();
    text("q", q, 0, 254)?;
    let before = wanted.cursor.as_deref().map(str::parse::<OrderId>).transpose();
    let before = before.map_err(|_| Problem::invalid("cursor", "is not one that this shop gave"))?;
    if let Ok(id) = q.parse::<OrderId>() {
        return Ok(go_to(&format!("/admin/orders/{id}")));
    }
    let ledger = &shop.stores.ledger;
    let orders = match q {
        "" => ledger.newest_orders(before, ORDERS).await?,
        q => match customer(&shop, q).await? {
            Some(user) => ledger.orders_of(user, before, ORDERS).await?,
            None => Vec::new(),
        },
    };
    let next = orders.last().filter(|_| orders.len() == ORDERS);
    let next = next.map(|last| with_query("/admin/orders", &[("q", q), ("cursor", &last.id.to_string())]));
    page(&OrdersPage {
        page: visit.page_of("title-admin-orders"),
        section: "orders",
        q: q.to_owned(),
        orders: orders.iter().map(|order| OrderRow::of(visit.language, order)).collect(),
        next_href: next.unwrap_or_default(),
    })
}

async fn customer(shop: &Shop, q: &str) -> Result<Option<UserId>, Problem> {
    if let Ok(user) = q.parse() {
        return Ok(Some(UserId(user)));
    }
    Ok(shop.stores.ledger.account_by_email(q).await?.map(|account| account.id))
}

#[derive(Template)]
#[template(path = "admin/order.html")]
struct OrderPage {
    page: Page,
    section: &'static str,
    id: String,
    order: Row,
    reason: String,
    lines: Vec<Line>,
    customer: String,
    customer_href: String,
    /// Where its saga is, while it has not ended.
    saga: String,
    stuck: bool,
    resume_action: String,
    events: Vec<Past>,
    payments: Vec<Payment>,
    mails: Vec<Notification>,
}

/// Something that happened.
struct Past {
    sequence: u32,
    when: String,
    label: String,
    kind: String,
    /// As it is told to everybody.
    data: String,
}

/// Money that moved.
struct Payment {
    when: String,
    label: String,
    amount: String,
    transaction: String,
}

/// Something that the customer was told.
struct Notification {
    when: String,
    subject: String,
    state: String,
    attempts: u32,
    error: String,
}

/// Shows an order.
pub async fn show(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    OrderPath(id): OrderPath,
) -> Result<Response, Problem> {
    let stores = &shop.stores;
    let order = stores.ledger.order(id).await?;
    let order = order.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such order."))?;
    let (events, states, account, mails) = tokio::join!(
        stores.ledger.events_of(id),
        async { stores.ledger.order_states(&[id]).await },
        stores.ledger.account(order.user_id),
        stores.consumers.mails_of(id),
    );
    let events = events?;
    let saga = states?.pop().flatten().and_then(|state| state.saga);
    let language = visit.language;
    let saga_text = saga.as_ref().map(|saga| {
        let step = language.text(&format!("saga-step-{}", saga.step.as_str().replace('_', "-")));
        match (saga.stuck, saga.undoing) {
            (true, _) => language.text_with("saga-stuck-at", [("step", step.into())]),
            (false, true) => language.text_with("saga-undoing-at", [("step", step.into())]),
            (false, false) => step,
        }
    });
    let notification = |mail: Mail| {
        let letter = letters::write(&mail, &order, "", "");
        Notification {
            when: language.moment(mail.created_at),
            subject: letter.subject,
            state: language.text(&format!("mail-{}", mail.state.as_str())),
            attempts: mail.attempts,
            error: mail.error.unwrap_or_default(),
        }
    };
    // The account is a courtesy, and consumers may be away; the order is shown all the same.
    let account = account.ok().flatten();
    let row = Row::of(language, &order, format!("/orders/{id}"));
    page(&OrderPage {
        page: visit.page(language.text_with("title-order", [("number", row.number.clone().into())])),
        section: "orders",
        id: id.to_string(),
        reason: order.reason.map(|reason| why(language, reason)).unwrap_or_default(),
        lines: Line::all(language, &order),
        customer: account.map_or_else(|| order.user_id.to_string(), |account| account.email),
        customer_href: with_query("/admin/orders", &[("q", &order.user_id.to_string())]),
        stuck: saga.is_some_and(|saga| saga.stuck),
        saga: saga_text.unwrap_or_default(),
        resume_action: format!("/admin/orders/{id}/resume"),
        payments: events.iter().filter_map(|event| payment(language, event)).collect(),
        events: events.iter().map(|event| past(language, event)).collect(),
        mails: mails.unwrap_or_default().into_iter().map(notification).collect(),
        order: row,
    })
}

/// What happened, as whoever looks after the shop sees it.
fn happened(language: Language, body: &EventBody) -> String {
    language.text(&format!("happened-{}", event_word(body)))
}

fn past(language: Language, event: &Event) -> Past {
    let body = serde_json::to_value(&event.body).unwrap_or_default();
    let kind = body.get("type").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
    let data = body.get("data").map(|data| serde_json::to_string_pretty(data).unwrap_or_default());
    Past {
        sequence: event.sequence,
        when: language.instant(event.time),
        label: happened(language, &event.body),
        kind,
        data: data.unwrap_or_default(),
    }
}

fn payment(language: Language, event: &Event) -> Option<Payment> {
    let (EventBody::PaymentProcessed { amount, transaction_id, .. }
    | EventBody::PaymentRefunded { amount, transaction_id, .. }) = &event.body
    else {
        return None;
    };
    Some(Payment {
        when: language.moment(event.time),
        label: happened(language, &event.body),
        amount: language.money(*amount),
        transaction: transaction_id.to_string(),
    })
}

/// Takes a stuck saga up again.
pub async fn resume(
    State(shop): State<Shop>,
    Administrator(..): Administrator,
    OrderPath(id): OrderPath,
    _: Form<Nothing>,
) -> Result<Response, Problem> {
    if !shop.engine.resume(id).await? {
        return Err(Problem::new(Kind::NotStuck, "The saga is not stuck."));
    }
    Ok(go_to(&format!("/admin/orders/{id}?notice=resumed")))
}
