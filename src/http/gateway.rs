//! The simulated payment gateway as a service of its own; see [`crate::adapters::gateway::protocol`].
//!
//! What it is told to do wrong it does wrong on the wire: a charge whose answer is lost ends with its connection
//! cut, however long the client waits.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hyper::service::service_fn;
use hyper_util::service::TowerToHyperService;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::adapters::gateway::protocol::{
    self, AmountBody, ChargeBody, PAGE_MAX, Record, Records, Settled, Waiting,
};
use crate::adapters::gateway::{SimulatedGateway, challenge_router};
use crate::config;
use crate::domain::{Digest, Money, OrderId, PaymentToken};
use crate::ports::payments::{ChargeError, ChargeRequest, ChargeState, Payments as _, Voided};

use super::extract::{from_json, read_body};
use super::problem::{Kind, Problem};
use super::{router, server};

/// The service.
pub struct GatewayService {
    pub gateway: Arc<SimulatedGateway>,
    /// Clients have to show it, where there is one.
    pub secret: Option<SecretString>,
    pub limits: config::Server,
}

type Service = Arc<GatewayService>;

/// Serves the gateway until `stop` resolves, then lets requests on their way finish.
pub async fn serve(listener: TcpListener, service: GatewayService, stop: impl Future<Output = ()>) {
    let limits = service.limits.clone();
    let routes = TowerToHyperService::new(routes(Arc::new(service)));
    let service = service_fn(move |request| {
        let answer = hyper::service::Service::call(&routes, request);
        async move {
            let Ok(answer) = answer.await;
            match answer.extensions().get::<Silence>() {
                Some(Silence) => Err("the answer is lost"),
                None => Ok(answer),
            }
        }
    });
    server::serve_with(listener, service, &limits, stop).await;
}

fn routes(service: Service) -> Router {
    let for_shops = Router::new()
        .route("/v1/charges", get(list_charges))
        .route("/v1/charges/{order_id}", put(charge).get(look_up))
        .route("/v1/charges/{order_id}/void", post(void))
        .route("/v1/charges/{order_id}/refund", post(refund))
        .route_layer(from_fn_with_state(Arc::clone(&service), known_client));
    // Customers come without the secret: the address in a charge's `next_action` is theirs.
    let for_customers = challenge_router(Arc::clone(&service.gateway), None).with_state(());
    for_shops
        .merge(for_customers)
        .route("/healthz", get(healthz))
        .route("/problems/{slug}", get(router::problem_page))
        .fallback(async || Problem::new(Kind::NotFound, "There is nothing at this address."))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "The address does not know this method.")
        })
        .with_state(service)
}

/// Marks an answer that never arrives.
#[derive(Clone, Copy)]
struct Silence;

fn silence() -> Response {
    (axum::Extension(Silence), StatusCode::GATEWAY_TIMEOUT).into_response()
}

/// Lets nobody in who does not know the secret.
async fn known_client(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(secret) = &service.secret {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests differ at a place that says nothing about the secret.
        if Digest::of(&[shown.as_bytes()]) != Digest::of(&[secret.expose_secret().as_bytes()]) {
            return Err(Problem::new(Kind::Unauthorized, "The gateway's secret is missing or another one."));
        }
    }
    Ok(next.run(request).await)
}

async fn healthz() -> Response {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Takes money once under the order's id.
async fn charge(
    State(service): State<Service>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let order = order_id(&id)?;
    let ChargeBody { amount, currency, token } = from_json(&read_body(body, &service.limits).await?)?;
    let amount = positive(Money::new(amount, currency))?;
    let request = ChargeRequest { order, amount, token: token.map(PaymentToken) };
    // What has arrived is carried out, also when nobody waits for its answer any more.
    let work = tokio::spawn(async move { service.gateway.charge(&[request]).await.pop() });
    match work.await.ok().flatten() {
        Some(Ok(capture)) => Ok(settled(order, ChargeState::Captured, Some(capture))),
        Some(Err(ChargeError::NeedsCustomer(next_action))) => {
            Ok(answer(StatusCode::ACCEPTED, &Waiting { order_id: order, next_action }))
        }
        Some(Err(ChargeError::Declined { code })) => {
            Err(Problem::new(Kind::PaymentDeclined, "The card was declined.").with("code", &code))
        }
        Some(Err(ChargeError::Voided)) => {
            Err(Problem::new(Kind::ChargeVoided, "The charge was voided before."))
        }
        Some(Err(ChargeError::Unknown(_))) | None => Ok(silence()),
    }
}

/// Makes sure that no money is taken under the order's id any more.
async fn void(
    State(service): State<Service>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let order = order_id(&id)?;
    let AmountBody { amount, currency } = from_json(&read_body(body, &service.limits).await?)?;
    let amount = positive(Money::new(amount, currency))?;
    Ok(match service.gateway.void(order, amount).await? {
        Voided::NothingTaken => settled(order, ChargeState::Voided, None),
        Voided::Captured(capture) => settled(order, ChargeState::Captured, Some(capture)),
        Voided::Refunded(capture) => settled(order, ChargeState::Refunded, Some(capture)),
    })
}

/// Gives back what was taken under the order's id.
async fn refund(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Problem> {
    let order = order_id(&id)?;
    let record = service.gateway.look_up(order).await?;
    let Some(taken) =
        record.filter(|record| matches!(record.state, ChargeState::Captured | ChargeState::Refunded))
    else {
        return Err(Problem::new(Kind::NothingCaptured, "No money was taken under this key."));
    };
    let capture = service.gateway.refund(order, taken.amount).await?;
    Ok(settled(order, ChargeState::Refunded, Some(capture)))
}

/// Shows what is on record under the order's id.
async fn look_up(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Problem> {
    let record = service.gateway.look_up(order_id(&id)?).await?;
    let record = record.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such charge."))?;
    Ok(answer(StatusCode::OK, &Record::from(record)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<OrderId>,
    limit: Option<usize>,
}

/// Lists what is on record, in order of the ids.
async fn list_charges(
    State(service): State<Service>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Wanted { after, limit }) =
        wanted.map_err(|error| Problem::new(Kind::MalformedRequest, error.body_text()))?;
    let limit = limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", format!("a page has 1 to {PAGE_MAX} records")));
    }
    let charges = service.gateway.list(after, limit).await?.into_iter().map(Record::from).collect();
    Ok(answer(StatusCode::OK, &Records { charges }))
}

fn order_id(id: &str) -> Result<OrderId, Problem> {
    id.parse().map_err(|_| Problem::new(Kind::NotFound, "The id of an order is a UUID."))
}

fn positive(amount: Money) -> Result<Money, Problem> {
    if amount.minor > 0 { Ok(amount) } else { Err(Problem::invalid("/amount", "has to be positive")) }
}

fn settled(order: OrderId, state: ChargeState, capture: Option<crate::domain::Capture>) -> Response {
    let capture = capture.map(protocol::Taken::from);
    answer(StatusCode::OK, &Settled { order_id: order, state: state.into(), capture })
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("answers are plain data");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
