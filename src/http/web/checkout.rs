//! The checkout: what is bought, for how much, with which card.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::domain::{Currency, Money};
use crate::http::Shop;
use crate::http::api::create_order::{self, Wanted};
use crate::http::extract::IdempotencyKey;
use crate::http::problem::Problem;

use super::basket::{BasketLines, Filled, fill};
use super::forms::Form;
use super::orders;
use super::texts::Language;
use super::visit::{Page, SignedIn, Visit};
use super::{go_to, page};

/// Test cards of the simulated gateway with their texts, the one that works first.
const CARDS: [&str; 6] =
    ["tok_ok", "tok_declined", "tok_3ds", "tok_timeout_before", "tok_timeout_after", "tok_late"];

#[derive(Template)]
#[template(path = "checkout.html")]
struct CheckoutPage {
    page: Page,
    lines: Vec<Line>,
    /// The basket that the visitor sees, for the form.
    basket: String,
    total: String,
    total_minor: i64,
    currency: String,
    key: String,
    cards: Vec<Card>,
    email: String,
    problem: String,
    problem_lines: Vec<String>,
}

struct Line {
    name: String,
    quantity: u32,
    total: String,
}

struct Card {
    token: &'static str,
    label: String,
    hint: String,
    checked: bool,
}

#[derive(Deserialize)]
pub struct CheckoutForm {
    /// Makes a double click one order.
    key: String,
    basket: String,
    total_minor: i64,
    currency: String,
    /// None where there is nothing to pay.
    #[serde(default)]
    card: String,
}

/// Shows what is about to be bought.
pub async fn show(State(shop): State<Shop>, SignedIn(visit, _): SignedIn) -> Result<Response, Problem> {
    let basket = visit.basket.clone();
    shown(&shop, &visit, &basket, CARDS[0], Attempt::New).await
}

/// Buys it.
pub async fn buy(
    State(shop): State<Shop>,
    SignedIn(visit, user): SignedIn,
    Form(form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    let named = BasketLines::named(&form.basket);
    let basket = named.ok_or_else(|| Problem::invalid("basket", "is not one that this shop gave"))?;
    let currency = form.currency.parse::<Currency>();
    let currency = currency.map_err(|error| Problem::invalid("currency", error.to_string()))?;
    let key = IdempotencyKey::parse(&form.key)?;
    let wanted = Wanted {
        lines: basket.lines().iter().map(|(product, units)| (*product, i64::from(*units))).collect(),
        payment_token: Some(form.card.clone()).filter(|card| !card.is_empty()),
        expected_total: Some(Money::new(form.total_minor, currency)),
    };
    let answer = create_order::buy(&shop, user, &key, wanted).await?;
    if let Some(order) = answer.order() {
        // Also when the payment failed: the order's page says why, and what was given back.
        let mut response = go_to(&orders::address(order));
        visit.keep_basket(&mut response, &visit.basket.without(&basket));
        return Ok(response);
    }
    match create_order::answered(answer, &[]) {
        Ok(response) => Ok(response),
        Err(problem) => {
            let attempt = Attempt::Failed { key: &form.key, problem };
            shown(&shop, &visit, &basket, &form.card, attempt).await
        }
    }
}

fn new_key(shop: &Shop) -> String {
    shop.stores.clock.new_order_id().to_string()
}

/// What a form is made for.
enum Attempt<'a> {
    New,
    Failed { key: &'a str, problem: Problem },
}

/// The page, with what went wrong.
async fn shown(
    shop: &Shop,
    visit: &Visit,
    basket: &BasketLines,
    card: &str,
    attempt: Attempt<'_>,
) -> Result<Response, Problem> {
    let language = visit.language;
    let (key, problem) = match attempt {
        // Whether it was bought is not known: the same key tells, and buys it once.
        Attempt::Failed { key, problem } if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
            (key.to_owned(), Some(problem))
        }
        // A key that was refused has left nothing behind, or is used up for good.
        Attempt::Failed { problem, .. } => (new_key(shop), Some(problem)),
        Attempt::New => (new_key(shop), None),
    };
    let Filled { lines, total } = fill(shop, basket).await?;
    // Without anything to pay for, the basket's own page says what is the matter.
    let Some(total) = total else { return Ok(go_to("/basket")) };
    let account = match visit.principal {
        // The page can do without.
        Some(principal) => shop.stores.ledger.account(principal.user).await.ok().flatten(),
        None => None,
    };
    let problem_lines = match &problem {
        Some(problem) if problem.slug() == "out-of-stock" => {
            let short = lines.iter().filter(|line| i64::from(line.units) > line.product.available);
            let left =
                short.map(|line| format!("{}: {}", line.product.name, line.product.stock_label(language)));
            left.collect()
        }
        _ => Vec::new(),
    };
    let status = problem.as_ref().map_or(StatusCode::OK, Problem::status);
    let problem = problem.map(|problem| language.text(&format!("problem-{}", problem.slug())));
    let kept = lines.iter().fold(BasketLines::default(), |mut kept, line| {
        kept.put(crate::domain::ProductId(line.product.id), line.units);
        kept
    });
    let lines = lines.into_iter().map(|line| Line {
        name: line.product.name,
        quantity: line.units,
        total: language.money(line.total),
    });
    let page = page(&CheckoutPage {
        page: visit.page_of("title-checkout"),
        lines: lines.collect(),
        basket: kept.to_string(),
        total: language.money(total),
        total_minor: total.minor,
        currency: total.currency.to_string(),
        key,
        cards: cards(language, card),
        email: account.map(|account| account.email).unwrap_or_default(),
        problem: problem.unwrap_or_default(),
        problem_lines,
    })?;
    Ok((status, page).into_response())
}

fn card_text(token: &str) -> String {
    token.replacen("tok", "card", 1).replace('_', "-")
}

fn cards(language: Language, chosen: &str) -> Vec<Card> {
    let card = |token: &'static str| Card {
        token,
        label: language.text(&card_text(token)),
        hint: language.text(&format!("{}-hint", card_text(token))),
        checked: token == chosen,
    };
    CARDS.map(card).into()
}
