//! What a handler may ask of a request. Each part is checked here, once, and answered with a
//! problem when it is wrong.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::auth::Principal;
use crate::config;
use crate::domain::{Digest, OrderId, ProductId, UserId};
use crate::ports::Unavailable;
use crate::ports::ledger::Role;
use crate::ports::webhooks::EndpointId;
use crate::telemetry::request;

use super::Shop;
use super::problem::{Kind, Problem};

/// Characters of an Idempotency-Key.
const KEY_MAX: usize = 255;

/// Items of a page, and how many there are unless the request says so.
const PAGE_MAX: usize = 100;
const PAGE_DEFAULT: usize = 20;

/// Somebody signed in.
pub struct Customer(pub UserId);

/// Somebody signed in as an administrator.
pub struct Admin(pub UserId);

impl FromRequestParts<Shop> for Customer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        principal(&parts.headers, shop).map(|principal| Self(principal.user))
    }
}

impl FromRequestParts<Shop> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        let principal = principal(&parts.headers, shop)?;
        match is_administrator(shop, Some(principal), parts.method.is_safe()).await? {
            true => Ok(Self(principal.user)),
            false => Err(Problem::new(Kind::Forbidden, "Only administrators may do this.")),
        }
    }
}

/// Whether somebody is an administrator, and still is one. A token that the command line has made has no account, and
/// says so itself. While the ledger cannot be asked, whoever was an administrator may look (`only_looks`) what is the
/// matter, and change nothing.
///
/// # Errors
/// The ledger does not answer, and it is not only about looking.
pub async fn is_administrator(
    shop: &Shop,
    principal: Option<Principal>,
    only_looks: bool,
) -> Result<bool, Unavailable> {
    let Some(Principal { role, user }) = principal else { return Ok(false) };
    match shop.stores.ledger.account(user).await {
        Ok(Some(account)) => Ok(account.role == Role::Admin),
        Ok(None) => Ok(role == Role::Admin),
        Err(_) if only_looks => Ok(role == Role::Admin),
        Err(error) => Err(error),
    }
}

fn principal(headers: &HeaderMap, shop: &Shop) -> Result<Principal, Problem> {
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| Problem::new(Kind::Unauthorized, "The header Authorization is missing."))?;
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let token =
        token.ok_or_else(|| Problem::new(Kind::Unauthorized, "The header has to be: Bearer and a token."))?;
    shop.tokens
        .verify(token)
        .ok_or_else(|| Problem::new(Kind::Unauthorized, "The token is not ours, or it has expired."))
}

/// An Idempotency-Key: 1 to 255 visible ASCII characters.
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key from a text.
    ///
    /// # Errors
    /// It is no key.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let detail = "The header Idempotency-Key has to be visible ASCII characters.";
            return Err(Problem::new(Kind::IdempotencyKeyMissing, detail));
        }
        if key.len() > KEY_MAX {
            return Err(Problem::invalid("Idempotency-Key", format!("has more than {KEY_MAX} characters")));
        }
        Ok(Self(key.to_owned()))
    }

    /// Its words, whoever's they are.
    pub fn words(&self) -> &str {
        &self.0
    }

    /// The key of this user for this kind of request; the same words of two users are two keys.
    pub fn digest(&self, kind: &str, user: UserId) -> Digest {
        Digest::of_key(kind, user, &self.0)
    }
}

impl FromRequestParts<Shop> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shop) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let wrong = |detail| Err(Problem::new(Kind::IdempotencyKeyMissing, detail));
        let Some(value) = values.next() else { return wrong("The header Idempotency-Key is missing.") };
        if values.next().is_some() {
            return wrong("The header Idempotency-Key comes more than once.");
        }
        // What is no text is no key either.
        Self::parse(value.to_str().unwrap_or_default())
    }
}

/// The id of the last event that a client has seen of a stream, where it comes back to it.
pub struct LastEventId(pub Option<String>);

impl FromRequestParts<Shop> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shop) -> Result<Self, Infallible> {
        // What is no text is none of our ids.
        let id = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        Ok(Self(id.map(str::to_owned)))
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shop> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shop: &Shop) -> Result<Self, Problem> {
        let body = read_body(request.into_body(), &shop.config.server).await?;
        from_json(&body).map(Self)
    }
}

/// Reads a body as a JSON object.
///
/// # Errors
/// It is none, or one with a value that does not fit.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    match serde_json::from_slice(body) {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(explain::<Object<T>>(body, &error)),
    }
}

/// A value that is written as a JSON object. What serde derives would also take an array of its
/// fields' values.
#[derive(Clone, Copy)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Reads a body within the bounds of size and time.
///
/// # Errors
/// It is too large, too late or cut off.
pub async fn read_body(body: Body, limits: &config::Server) -> Result<Bytes, Problem> {
    let (max, patience) = (limits.body_max_bytes, Duration::from_millis(limits.body_timeout_ms));
    let read = Limited::new(body, max).collect();
    match tokio::time::timeout(patience, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::BodyTooLarge, format!("The body has more than {max} bytes.")))
        }
        Ok(Err(_)) => Err(Problem::new(Kind::MalformedRequest, "The body was cut off.")),
        Err(_) => Err(Problem::new(Kind::BodyTimeout, "The body did not arrive in time.")),
    }
}

/// Says what is wrong with a body: not JSON, or JSON with a value that does not fit.
fn explain<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Problem {
    if !error.is_data() || std::str::from_utf8(body).is_err() {
        return Problem::new(Kind::MalformedJson, format!("The body is not JSON: {error}."));
    }
    // Read again, now with attention to where the reader is; only bad bodies pay for that.
    let mut reader = serde_json::Deserializer::from_slice(body);
    let Err(located) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return Problem::invalid("", error.to_string());
    };
    let mut pointer = String::new();
    for segment in located.path() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // The position in the text says nothing that the pointer does not.
    let detail = located.inner().to_string();
    let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
    Problem::invalid(pointer, detail)
}

/// A product id in the path.
pub struct ProductPath(pub ProductId);

impl FromRequestParts<Shop> for ProductPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        // What is no id names no product.
        match path_segment(parts, shop).await?.parse() {
            Ok(id) if id > 0 => Ok(Self(ProductId(id))),
            _ => Err(Problem::new(Kind::NotFound, "There is no such product.")),
        }
    }
}

/// An order id in the path.
pub struct OrderPath(pub OrderId);

impl FromRequestParts<Shop> for OrderPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        let id = path_segment(parts, shop).await?.parse();
        let id = id.map_err(|_| Problem::new(Kind::NotFound, "There is no such order."))?;
        request::is_about(id);
        Ok(Self(id))
    }
}

/// The id of an endpoint of webhooks in the path.
pub struct WebhookPath(pub EndpointId);

impl FromRequestParts<Shop> for WebhookPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Problem> {
        let id = path_segment(parts, shop).await?.parse();
        id.map(|id| Self(EndpointId(id))).map_err(|_| no_such_webhook())
    }
}

/// The answer where there is none.
pub fn no_such_webhook() -> Problem {
    Problem::new(Kind::NotFound, "There is no such webhook.")
}

async fn path_segment(parts: &mut Parts, shop: &Shop) -> Result<String, Problem> {
    match axum::extract::Path::<String>::from_request_parts(parts, shop).await {
        Ok(axum::extract::Path(segment)) => Ok(segment),
        Err(error) => Err(Problem::new(Kind::MalformedRequest, error.body_text())),
    }
}

/// The query of a request; unknown parameters are refused.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Shop> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shop) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(query) => Ok(Self(query.0)),
            Err(error) => Err(Problem::new(Kind::MalformedRequest, error.body_text())),
        }
    }
}

/// The size of a page from its optional parameter.
///
/// # Errors
/// Not 1 to 100.
pub fn page_size(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        _ => Err(Problem::invalid("limit", format!("a page has 1 to {PAGE_MAX} items"))),
    }
}

/// Checks that a text has between `min` and `max` characters and no control character.
///
/// # Errors
/// It has not; `pointer` names it.
pub fn text(pointer: &str, value: &str, min: usize, max: usize) -> Result<(), Problem> {
    let length = value.chars().count();
    if !(min..=max).contains(&length) {
        return Err(Problem::invalid(pointer, format!("has to have {min} to {max} characters")));
    }
    if value.chars().any(|character| character.is_control() && character != '\n') {
        return Err(Problem::invalid(pointer, "has a control character"));
    }
    Ok(())
}
