//! `POST /api/v1/auth/register`: opens an account.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::Principal;
use crate::http::Shop;
use crate::http::extract::Json;
use crate::http::problem::{Kind, Problem};
use crate::ports::ledger::{AccountError, Role};

use super::json;

/// Characters of a password.
pub const PASSWORD: std::ops::RangeInclusive<usize> = 8..=128;

/// Characters of an address. Source: RFC 5321, section 4.5.3.1.3.
const EMAIL_MAX: usize = 254;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub email: String,
    /// 8 to 128 characters.
    #[schema(value_type = String)]
    pub password: SecretString,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Token {
    pub access_token: String,
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
}

impl Token {
    /// A new token for an account.
    pub fn issue(shop: &App, principal: Principal) -> Self {
        let access_token = shop.tokens.issue(principal);
        Self { access_token, token_type: "Bearer", expires_in: shop.tokens.ttl().as_secs() }
    }
}

/// Opens an account and signs in.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "accounts", request_body = Credentials,
    responses(
        (status = 201, body = Token),
        (status = 409, description = "email-taken", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ))]
pub async fn register(State(shop): State<Shop>, Json(body): Json<Credentials>) -> Result<Response, Problem> {
    let principal = open_account(&shop, body, Role::Customer).await?;
    Ok(json(StatusCode::CREATED, &Token::issue(&shop, principal)))
}

/// Checks credentials and opens an account.
///
/// # Errors
/// They are not acceptable, the address is taken, or the ledger does not answer.
pub async fn open_account(shop: &App, credentials: Credentials, role: Role) -> Result<Principal, Problem> {
    let Credentials { email, password } = credentials;
    check_email(&email)?;
    let length = secrecy::ExposeSecret::expose_secret(&password).chars().count();
    if !PASSWORD.contains(&length) {
        let (min, max) = (PASSWORD.start(), PASSWORD.end());
        return Err(Problem::invalid("/password", format!("has to have {min} to {max} characters")));
    }
    let hash = shop.passwords.hash(password).await?;
    let at = shop.stores.clock.now();
    match shop.stores.ledger.create_account(email, hash, role, at).await {
        Ok(user) => Ok(Principal { user, role }),
        Err(AccountError::EmailTaken) => {
            Err(Problem::new(Kind::EmailTaken, "There is an account with this address."))
        }
        Err(AccountError::Unknown(error)) => Err(error.into()),
    }
}

/// Only mail that arrives proves an address, so this refuses just what cannot be one.
fn check_email(email: &str) -> Result<(), Problem> {
    let plausible = email.len() <= EMAIL_MAX
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if plausible { Ok(()) } else { Err(Problem::invalid("/email", "is not an e-mail address")) }
}
