//! `POST /api/v1/orders`: buys a basket, all of it or nothing.

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{
    Basket, BasketError, Digest, Money, Order, OrderStatus, PaymentToken, ProductId, Purchase, Reason,
    Refusal, UserId,
};
use crate::http::Shop;
use crate::http::extract::{Customer, IdempotencyKey, Object, from_json, read_body, text};
use crate::http::problem::{Kind, Problem};
use crate::http::rate_limit::too_many;
use crate::saga::{Answer, PurchaseAnswer};
use crate::telemetry::request;

use super::{located, located_with};

/// Characters of a payment token.
const TOKEN_MAX: usize = 255;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrder {
    #[schema(value_type = Vec<CreateOrderLine>)]
    lines: Vec<Object<CreateOrderLine>>,
    /// Stands for the means of payment; see the test tokens of the simulated gateway.
    payment_token: Option<String>,
    /// The total that the customer saw; the order is refused when it is another one.
    #[schema(value_type = Option<crate::http::openapi::Money>)]
    expected_total: Option<Object<Money>>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrderLine {
    product_id: i64,
    quantity: i64,
}

/// Buys a basket.
#[utoipa::path(post, path = "/api/v1/orders", tag = "orders", request_body = CreateOrder,
    params(("Idempotency-Key" = String, Header, description = "New for each purchase, the same for each retry")),
    responses(
        (status = 201, description = "CONFIRMED", body = crate::http::openapi::Order),
        (status = 202, description = "Still PENDING: follow Location, or next_action where the customer has to act first", body = crate::http::openapi::Order),
        (status = 402, description = "payment-declined", body = crate::http::openapi::Problem),
        (status = 409, description = "out-of-stock, price-changed, attempt-expired", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request, idempotency-key-reused", body = crate::http::openapi::Problem),
        (status = 429, description = "rate-limited: the same key may be tried again", body = crate::http::openapi::Problem),
        (status = 503, description = "busy, unavailable: the same key may be tried again", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn create_order(State(shop): State<Shop>, request: Request) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    let key = IdempotencyKey::from_request_parts(&mut head, &shop).await;
    if key.as_ref().is_ok_and(|key| shop.engine.turns_away(key.words())) {
        // A connection with bytes that nobody has read would have to be closed.
        read_body(body, &shop.config.server).await?;
        return answered(PurchaseAnswer::Busy, &[]);
    }
    let Customer(user_id) = Customer::from_request_parts(&mut head, &shop).await?;
    let key = key?;
    let body: CreateOrder = from_json(&read_body(body, &shop.config.server).await?)?;
    let wanted = Wanted {
        lines: body.lines.iter().map(|Object(line)| (ProductId(line.product_id), line.quantity)).collect(),
        payment_token: body.payment_token,
        expected_total: body.expected_total.map(|Object(total)| total),
    };
    answered(buy(&shop, user_id, &key, wanted).await?, &body.lines)
}

/// What somebody wants to buy, not checked yet.
pub struct Wanted {
    pub lines: Vec<(ProductId, i64)>,
    pub payment_token: Option<String>,
    pub expected_total: Option<Money>,
}

/// Checks what is wanted, and buys it.
///
/// # Errors
/// It is nothing that can be bought. Everything else is the answer.
pub async fn buy(
    shop: &Shop,
    user_id: UserId,
    key: &IdempotencyKey,
    wanted: Wanted,
) -> Result<PurchaseAnswer, Problem> {
    let Wanted { lines, payment_token, expected_total } = wanted;
    let sale = &shop.config.sale;
    let basket =
        Basket::new(lines.into_iter(), sale.lines_max, sale.quantity_max).map_err(|error| match error {
            BasketError::Quantity { line, .. } => {
                Problem::invalid(format!("/lines/{line}/quantity"), error.to_string())
            }
            BasketError::Empty | BasketError::TooManyLines { .. } => {
                Problem::invalid("/lines", error.to_string())
            }
        })?;
    if let Some(token) = &payment_token {
        text("/payment_token", token, 1, TOKEN_MAX)?;
    }
    shop.limits
        .account(user_id)
        .map_err(|pause| too_many("From this account come more purchases than one may send.", pause))?;
    let at = shop.stores.clock.now();
    let purchase = Purchase {
        user_id,
        key: key.digest("order", user_id),
        body: digest(&basket, expected_total, payment_token.as_deref()),
        basket,
        expected_total,
        payment_token: payment_token.map(|token| PaymentToken(token.into())),
        at,
        deadline: at.plus(shop.config.engine().answer_within),
    };
    let answer = shop.engine.purchase(purchase).await?;
    if let Some(order) = answer.order() {
        request::is_about(order.id);
    }
    Ok(answer)
}

/// What a buyer is told.
pub fn answered(answer: PurchaseAnswer, lines: &[Object<CreateOrderLine>]) -> Result<Response, Problem> {
    match answer {
        PurchaseAnswer::Ended(Answer::Order(order)) => ended(&order),
        PurchaseAnswer::Ended(Answer::Elsewhere(order) | Answer::Stuck(order))
        | PurchaseAnswer::Pending(order) => Ok(located(StatusCode::ACCEPTED, &order)),
        PurchaseAnswer::Ended(Answer::NeedsCustomer(order, next_action)) => {
            Ok(located_with(StatusCode::ACCEPTED, &order, Some(next_action)))
        }
        PurchaseAnswer::Ended(Answer::Refused(refusal)) => Err(refused(refusal, lines)),
        PurchaseAnswer::KeyReused => {
            Err(Problem::new(Kind::IdempotencyKeyReused, "This key was used for another order."))
        }
        PurchaseAnswer::Busy => Err(Problem::new(Kind::Busy, "Too many purchases are on their way.")),
        PurchaseAnswer::TimedOut => {
            Err(Problem::new(Kind::Unavailable, "The purchase had no answer in time."))
        }
    }
}

/// What in a request decides what is sold: the same for lines in another order.
fn digest(basket: &Basket, expected_total: Option<Money>, token: Option<&str>) -> Digest {
    let mut lines = Vec::with_capacity(basket.lines().len() * 12);
    for line in basket.lines().iter() {
        lines.extend_from_slice(&line.product_id.0.to_le_bytes());
        lines.extend_from_slice(&line.quantity.get().to_le_bytes());
    }
    let total = expected_total.map(|total| total.to_string()).unwrap_or_default();
    let token_given = [u8::from(token.is_some())];
    Digest::of(&[&lines, total.as_bytes(), &token_given, token.unwrap_or_default().as_bytes()])
}

fn ended(order: &Order) -> Result<Response, Problem> {
    let failed = |kind, detail: &str| Err(Problem::new(kind, detail).with("order", order));
    match (order.status, order.reason) {
        (OrderStatus::Confirmed, _) => Ok(located(StatusCode::CREATED, order)),
        (OrderStatus::Pending, _) => Ok(located(StatusCode::ACCEPTED, order)),
        // The first attempt was confirmed, and cancelled since.
        (OrderStatus::Cancelled, _) => Ok(located(StatusCode::OK, order)),
        (OrderStatus::Failed, Some(Reason::PaymentDeclined)) => {
            failed(Kind::PaymentDeclined, "The payment provider declined.")
        }
        (OrderStatus::Failed, Some(Reason::PaymentUnknown)) => {
            failed(Kind::PaymentUnknown, "The payment provider did not answer; the payment was voided.")
        }
        (OrderStatus::Failed, Some(Reason::Expired)) => {
            failed(Kind::OrderFailed, "The payment was not accepted in time; the order was undone.")
        }
        (OrderStatus::Failed, _) => failed(Kind::OrderFailed, "The order was undone."),
    }
}

fn refused(refusal: Refusal, lines: &[Object<CreateOrderLine>]) -> Problem {
    match refusal {
        Refusal::SoldOut(left) => {
            let short: Vec<String> = left
                .iter()
                .filter(|line| line.left < i64::from(line.requested))
                .map(|line| format!("{} of product {}", line.left, line.product))
                .collect();
            Problem::new(Kind::OutOfStock, format!("Left: {}.", short.join(", "))).with("lines", &left)
        }
        Refusal::UnknownProduct(id) => {
            let index = lines.iter().position(|Object(line)| line.product_id == id.0).unwrap_or_default();
            Problem::invalid(format!("/lines/{index}/product_id"), format!("there is no product {id}"))
        }
        Refusal::MixedCurrencies => {
            Problem::invalid("/lines", "the products are priced in different currencies")
        }
        Refusal::TotalOverflow => {
            Problem::invalid("/lines", "the total is larger than any amount of money can be")
        }
        Refusal::PriceChanged { total } => {
            Problem::new(Kind::PriceChanged, format!("The total is {total} now.")).with("total", &total)
        }
        Refusal::KeyTaken(_) => {
            Problem::new(Kind::IdempotencyKeyReused, "This key was used for another order a moment ago.")
        }
        Refusal::Expired => Problem::new(Kind::AttemptExpired, "The attempt under this key was given up."),
        Refusal::Unavailable => Problem::new(Kind::Unavailable, "The purchase had no answer in time."),
    }
}
