//! `POST /api/v1/auth/login`: signs in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::auth::Principal;
use crate::http::Shop;
use crate::http::extract::Json;
use crate::http::problem::{Kind, Problem};

use super::json;
use super::register::{Credentials, Token};

/// Signs in.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "accounts", request_body = Credentials,
    responses(
        (status = 200, body = Token),
        (status = 401, description = "unauthorized", body = crate::http::openapi::Problem),
    ))]
pub async fn login(State(shop): State<Shop>, Json(body): Json<Credentials>) -> Result<Response, Problem> {
    let principal = account_of(&shop, body).await?;
    Ok(json(StatusCode::OK, &Token::issue(&shop, principal)))
}

/// Whose credentials they are.
///
/// # Errors
/// Nobody's, or the ledger does not answer.
pub async fn account_of(shop: &App, credentials: Credentials) -> Result<Principal, Problem> {
    let account = shop.stores.ledger.account_by_email(&credentials.email).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let matches = shop.passwords.matches(credentials.password, hash).await?;
    let account = account.filter(|_| matches);
    let account =
        account.ok_or_else(|| Problem::new(Kind::Unauthorized, "The address or the password is wrong."))?;
    Ok(Principal { user: account.id, role: account.role })
}
