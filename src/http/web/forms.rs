//! What visitors send by forms: read within bounds, and only from forms that this shop made for them.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::Shop;
use crate::http::extract::read_body;
use crate::http::problem::{Kind, Problem};

use super::visit::Visit;

/// A form's fields, and whose they are.
pub struct Form<T>(pub T);

/// The fields of a form that is only a button.
#[derive(Deserialize)]
pub struct Nothing {}

/// What every form carries.
#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<Shop> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shop: &Shop) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, shop).await?;
        // Browsers say where a form was sent from.
        let site = parts.headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(foreign());
        }
        let body = read_body(body, &shop.config.server).await?;
        let signed: Signed = fields(&body)?;
        if !visit.has_signed(shop, &signed.csrf) {
            return Err(foreign());
        }
        fields(&body).map(Self)
    }
}

fn fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_urlencoded::from_bytes(body)
        .map_err(|error| Problem::new(Kind::MalformedRequest, format!("The form cannot be read: {error}.")))
}

fn foreign() -> Problem {
    Problem::new(Kind::FormExpired, "The form is too old, or was not made for this visitor.")
}
