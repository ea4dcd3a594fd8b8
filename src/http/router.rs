//! Every route in one place.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, patch, post};

use crate::adapters::gateway::challenge_router;

use super::problem::{Kind, Problem};
use super::{Shop, api, asyncapi, follow, openapi, rate_limit, web};

/// The routes of the shop.
pub fn router(shop: Shop) -> Router {
    let v1 = Router::new()
        .route("/auth/register", post(api::register::register))
        .route("/auth/login", post(api::login::login))
        .route("/products", get(api::list_products::list_products))
        .route("/products/{id}", get(api::view_product::view_product))
        .route("/products/{id}/live", get(api::live_product::live_product))
        .route("/orders", post(api::create_order::create_order).get(api::list_orders::list_orders))
        .route("/orders/{id}", get(api::view_order::view_order))
        .route("/orders/{id}/live", get(api::live_order::live_order))
        .route("/orders/{id}/events", get(api::list_events::list_events))
        .route("/orders/{id}/notifications", get(api::list_notifications::list_notifications))
        .route("/orders/{id}/cancel", post(api::cancel_order::cancel_order))
        .route("/orders/{id}/payment/continue", post(api::continue_payment::continue_payment))
        .route("/payments/stripe/webhook", post(api::stripe_webhook::stripe_webhook))
        .route("/admin/products", post(api::create_product::create_product))
        .route("/admin/products/{id}", patch(api::change_product::change_product))
        .route("/admin/products/{id}/stock", post(api::adjust_stock::adjust_stock))
        .route("/admin/analytics", get(api::view_analytics::view_analytics))
        .route(
            "/admin/webhooks",
            post(api::create_webhook::create_webhook).get(api::list_webhooks::list_webhooks),
        )
        .route(
            "/admin/webhooks/{id}",
            patch(api::change_webhook::change_webhook).delete(api::delete_webhook::delete_webhook),
        )
        .route("/admin/webhooks/{id}/secret", post(api::rotate_webhook_secret::rotate_webhook_secret))
        .route("/admin/webhooks/{id}/deliveries", get(api::list_webhook_deliveries::list_webhook_deliveries))
        .route("/admin/webhooks/{id}/replay", post(api::replay_webhook::replay_webhook))
        .route("/admin/sagas", get(api::list_sagas::list_sagas))
        .route("/admin/sagas/findings", get(api::list_findings::list_findings))
        .route("/admin/sagas/{id}/resume", post(api::resume_saga::resume_saga));
    let simulated = shop.stores.simulated.as_ref();
    let challenges =
        simulated.map(|gateway| challenge_router(Arc::clone(gateway), Some("/orders")).with_state(()));
    let challenges = challenges.unwrap_or_default();
    let pages = Router::new()
        .nest("/api/v1", v1)
        .route("/asyncapi.json", get(asyncapi::description))
        .merge(openapi::pages())
        .merge(web::pages(&shop))
        .merge(challenges)
        .layer(from_fn_with_state(Arc::clone(&shop), rate_limit::limit));
    finished(pages, shop)
}

/// The routes of a server that sells nothing: what those who watch over it need.
pub fn operation_router(shop: Shop) -> Router {
    finished(Router::new(), shop)
}

/// Adds what every server has.
fn finished(router: Router<Shop>, shop: Shop) -> Router {
    router
        .route("/healthz", get(api::health::healthz))
        .route("/readyz", get(api::health::readyz))
        .route("/metrics", get(api::metrics::metrics))
        .route("/problems/{slug}", get(problem_page))
        .fallback(web::nothing_here)
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "The address does not know this method.")
        })
        .layer(from_fn_with_state(Arc::clone(&shop), follow::follow))
        .with_state(shop)
}

/// The page that a problem's `type` points to.
pub(super) async fn problem_page(slug: Result<Path<String>, PathRejection>) -> Response {
    // What is no text names no problem.
    let slug = slug.map(|Path(slug)| slug).unwrap_or_default();
    let Some(about) = Kind::ALL.into_iter().map(Kind::about).find(|about| about.slug == slug) else {
        return Problem::new(Kind::NotFound, "There is no such kind of problem.").into_response();
    };
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>body{{font:1.1rem/1.6 system-ui;max-width:40rem;\
         margin:4rem auto;padding:0 1rem;color-scheme:light dark}}</style><main><h1>{title}</h1><p>{explanation}</p>\
         <p>Type <code>/problems/{slug}</code>, status {status}.</p></main></html>",
        title = about.title,
        explanation = about.explanation,
        status = about.status,
    ))
    .into_response()
}
