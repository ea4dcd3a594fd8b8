//! The page of the simulated gateway where a customer accepts a payment or refuses it, as their bank would
//! have them do. Whoever serves it mounts [`challenge_router`].

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::{Money, OrderId};
use crate::ports::Unavailable;
use crate::ports::payments::ChargeState;

use super::SimulatedGateway;

/// The routes of the challenge: `GET` and `POST /challenge/{order}`. The address is known only to who was sent
/// there: it is as secret as the id of the order.
/// `orders` is where the shop has the pages of its orders, where it is on this server.
pub fn challenge_router(gateway: Arc<SimulatedGateway>, orders: Option<&'static str>) -> Router {
    Router::new().route("/challenge/{order}", get(show).post(answer)).with_state(Bank { gateway, orders })
}

#[derive(Clone)]
struct Bank {
    gateway: Arc<SimulatedGateway>,
    orders: Option<&'static str>,
}

impl Bank {
    /// How one comes back to the shop.
    fn way_back(&self, order: Uuid) -> String {
        match self.orders {
            Some(orders) => format!("<p><a href=\"{orders}/{order}\">Back to the shop</a></p>"),
            None => "<p>You can go back to the shop.</p>".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Accept,
    Refuse,
}

#[derive(Deserialize)]
struct Chosen {
    answer: Choice,
}

type Found = Result<Option<(Money, ChargeState)>, Unavailable>;

async fn show(State(bank): State<Bank>, order: Result<Path<Uuid>, PathRejection>) -> Response {
    let Ok(Path(order)) = order else { return described(Ok(None), "") };
    let found = bank.gateway.look_up(OrderId(order)).await;
    described(found.map(|found| found.map(|record| (record.amount, record.state))), &bank.way_back(order))
}

async fn answer(
    State(bank): State<Bank>,
    order: Result<Path<Uuid>, PathRejection>,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Response {
    let Ok(Path(order)) = order else { return described(Ok(None), "") };
    let Ok(Query(Chosen { answer })) = chosen else {
        return page(
            StatusCode::BAD_REQUEST,
            "What do you want?",
            "<p>Go back, and press one of the buttons.</p>",
        );
    };
    let found = bank.gateway.authenticate(OrderId(order), matches!(answer, Choice::Accept)).await;
    described(found, &bank.way_back(order))
}

fn described(found: Found, way_back: &str) -> Response {
    match found {
        Err(error) => {
            tracing::warn!(%error, "a challenge could not be answered");
            page(StatusCode::SERVICE_UNAVAILABLE, "Not now", "<p>Try again in a moment.</p>")
        }
        Ok(None) => page(StatusCode::NOT_FOUND, "No such payment", "<p>There is nothing to accept here.</p>"),
        Ok(Some((amount, ChargeState::Waiting))) => {
            // Nothing here comes from outside: the amount is a number and a currency.
            let form = format!(
                "<p>The shop asks for <strong>{amount}</strong>.</p><p>This is a simulation; no money moves.</p>\
                 <form method=\"post\" action=\"?answer=accept\"><button>Accept</button></form>\
                 <form method=\"post\" action=\"?answer=refuse\"><button>Refuse</button></form>"
            );
            page(StatusCode::OK, "Is that you?", &form)
        }
        Ok(Some((amount, ChargeState::Captured))) => {
            let text = format!("<p>{amount} were paid.</p>{way_back}");
            page(StatusCode::OK, "Thank you", &text)
        }
        Ok(Some((_, ChargeState::Declined))) => {
            page(StatusCode::OK, "Refused", &format!("<p>Nothing was paid.</p>{way_back}"))
        }
        Ok(Some((_, ChargeState::Voided | ChargeState::Refunded))) => {
            let text = format!("<p>The shop has given this order up. No money is kept.</p>{way_back}");
            page(StatusCode::GONE, "Too late", &text)
        }
    }
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>body{{font:1.1rem/1.6 system-ui;max-width:40rem;\
         margin:4rem auto;padding:0 1rem;color-scheme:light dark}}form{{display:inline}}button{{font:inherit;\
         padding:.5rem 1.5rem;margin-right:1rem}}</style><main><h1>{title}</h1>{body}</main></html>"
    );
    // A page that was true a moment ago is not shown again, and nobody shows it inside of theirs.
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, Html(html)).into_response()
}
