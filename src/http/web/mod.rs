//! The shop as people see it: pages that the server makes, which work without scripts and better with them.
//!
//! [`visit`] knows who looks and in which language, [`forms`] takes what they send, [`texts`] has the words,
//! [`assets`] what pages are dressed with; [`admin`] is what administrators see; the rest is one file a page. Pages are in `templates/`, and show what the
//! API answers.

mod account;
mod admin;
mod assets;
mod basket;
mod catalogue;
mod checkout;
mod forms;
mod message;
mod orders;
mod product;
mod texts;
mod visit;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::Shop;
use super::problem::{Kind, Problem};

pub use assets::prepare;
pub use message::nothing_here;

/// The pages and what they are dressed with.
pub fn pages(shop: &Shop) -> Router<Shop> {
    Router::new()
        .route("/", get(catalogue::show))
        .route("/products/{id}", get(product::show))
        .route("/basket", get(basket::show).post(basket::put))
        .route("/basket/lines", post(basket::change))
        .route("/checkout", get(checkout::show).post(checkout::buy))
        .route("/orders", get(orders::list))
        .route("/orders/{id}", get(orders::show))
        .route("/orders/{id}/live", get(orders::live))
        .route("/orders/{id}/cancel", post(orders::cancel))
        .route("/sign-in", get(account::sign_in_page).post(account::sign_in))
        .route("/sign-up", get(account::sign_up_page).post(account::sign_up))
        .route("/sign-out", post(account::sign_out))
        .route("/language", post(account::choose_language))
        .merge(admin::pages())
        .layer(from_fn_with_state(Arc::clone(shop), visit::accompany))
        .route("/assets/{*name}", get(assets::serve))
}

/// A page.
fn page(template: &impl Template) -> Result<Response, Problem> {
    match template.render() {
        Ok(html) => Ok(Html(html).into_response()),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            Err(Problem::new(Kind::Internal, "The page could not be made."))
        }
    }
}

/// Sends the visitor to another page, to be looked at.
fn go_to(address: &str) -> Response {
    Redirect::to(address).into_response()
}

/// The address of a page with a query; what is not asked for is left out.
fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let asked: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
    match serde_urlencoded::to_string(asked) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}
