//! Every error that can be answered, as RFC 9457 problem details.
//!
//! One enum and one table without a wildcard arm: a new kind of problem does not compile until it
//! has a name, a status and a page that explains it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::auth::PasswordError;
use crate::ports::Unavailable;
use crate::ports::payments::GiveBackError;
use crate::telemetry::request;

/// Seconds after which a busy shop may be asked again. One that is not there takes longer to come back, and those
/// who wait for it do not come back all at once.
const RETRY_AFTER_S: u32 = 1;
const RETRY_AFTER_S_MAX: u32 = 3;

/// Counts those who were told to come back.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// The kinds of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    MalformedJson,
    MalformedRequest,
    IdempotencyKeyMissing,
    Unauthorized,
    Forbidden,
    FormExpired,
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    BodyTimeout,
    InvalidRequest,
    IdempotencyKeyReused,
    OutOfStock,
    PriceChanged,
    AttemptExpired,
    PaymentDeclined,
    PaymentUnknown,
    OrderFailed,
    NotCancellable,
    EmailTaken,
    SkuTaken,
    VersionConflict,
    TooManyWebhooks,
    NotStuck,
    LastAdmin,
    SignatureInvalid,
    ChargeVoided,
    NothingCaptured,
    RateLimited,
    Busy,
    Unavailable,
    Internal,
}

/// What is written about a kind.
pub struct About {
    pub slug: &'static str,
    pub title: &'static str,
    pub status: StatusCode,
    /// For the page: what happened and what to do.
    pub explanation: &'static str,
}

impl Kind {
    /// Every kind, for the pages.
    pub const ALL: [Self; 32] = [
        Self::MalformedJson,
        Self::MalformedRequest,
        Self::IdempotencyKeyMissing,
        Self::Unauthorized,
        Self::Forbidden,
        Self::FormExpired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::InvalidRequest,
        Self::IdempotencyKeyReused,
        Self::OutOfStock,
        Self::PriceChanged,
        Self::AttemptExpired,
        Self::PaymentDeclined,
        Self::PaymentUnknown,
        Self::OrderFailed,
        Self::NotCancellable,
        Self::EmailTaken,
        Self::SkuTaken,
        Self::VersionConflict,
        Self::TooManyWebhooks,
        Self::NotStuck,
        Self::LastAdmin,
        Self::SignatureInvalid,
        Self::ChargeVoided,
        Self::NothingCaptured,
        Self::RateLimited,
        Self::Busy,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The table.
    pub fn about(self) -> About {
        let (slug, title, status, explanation) = match self {
            Self::MalformedJson => (
                "malformed-json",
                "The body is not JSON",
                StatusCode::BAD_REQUEST,
                "The body could not be read as JSON in UTF-8. Nothing was changed. The detail says where reading \
                 stopped; send the body again in correct JSON.",
            ),
            Self::MalformedRequest => (
                "malformed-request",
                "The request cannot be read",
                StatusCode::BAD_REQUEST,
                "A part of the address or a header has the wrong form. Nothing was changed. The detail says which.",
            ),
            Self::IdempotencyKeyMissing => (
                "idempotency-key-missing",
                "An Idempotency-Key is missing",
                StatusCode::BAD_REQUEST,
                "Requests that sell or move stock carry a header Idempotency-Key with 1 to 255 visible ASCII \
                 characters of your choice, new for each intention and the same for each retry, so that a retry \
                 never buys twice. Nothing was changed.",
            ),
            Self::Unauthorized => (
                "unauthorized",
                "Sign in first",
                StatusCode::UNAUTHORIZED,
                "The request needs a header Authorization: Bearer with a token that is ours and not expired. Tokens \
                 come from registering or signing in. At sign-in it means that the address or the password is wrong.",
            ),
            Self::Forbidden => (
                "forbidden",
                "Not allowed for this account",
                StatusCode::FORBIDDEN,
                "Only administrators may do this.",
            ),
            Self::FormExpired => (
                "form-expired",
                "The form has expired",
                StatusCode::FORBIDDEN,
                "A form of a page carries a signature for the visitor it was made for. This one is too old, from another \
                 visitor, or from before signing in or out. Nothing was changed. Open the page again and send the form \
                 anew.",
            ),
            Self::NotFound => (
                "not-found",
                "Not found",
                StatusCode::NOT_FOUND,
                "There is nothing here, or it belongs to somebody else.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "The address does not know this method",
                StatusCode::METHOD_NOT_ALLOWED,
                "The address exists, but not for this method. The header Allow lists those it knows.",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                "The body is too large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is larger than this shop accepts. Nothing was changed.",
            ),
            Self::BodyTimeout => (
                "body-timeout",
                "The body did not arrive in time",
                StatusCode::REQUEST_TIMEOUT,
                "The rest of the body did not arrive in time. Nothing was changed; send the request again.",
            ),
            Self::InvalidRequest => (
                "invalid-request",
                "A value is not acceptable",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The request can be read, but a value in it cannot be accepted. The field errors names each value by \
                 a JSON pointer and says what is wrong. Nothing was changed.",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                "The Idempotency-Key was used for something else",
                StatusCode::UNPROCESSABLE_ENTITY,
                "A key stands for one intention for 24 hours. This key came with another body before. Use a new key \
                 for a new intention. Nothing was changed.",
            ),
            Self::OutOfStock => (
                "out-of-stock",
                "Not enough is left",
                StatusCode::CONFLICT,
                "At least one line asks for more units than are left. An order is sold whole or not at all, so nothing \
                 was sold or charged. The field lines says what is left of each product. The same key may be used \
                 again.",
            ),
            Self::PriceChanged => (
                "price-changed",
                "The price has changed",
                StatusCode::CONFLICT,
                "The total is not the expected_total that was sent. Nothing was sold or charged. The field total says \
                 what it would be now.",
            ),
            Self::AttemptExpired => (
                "attempt-expired",
                "This attempt has expired",
                StatusCode::CONFLICT,
                "The attempt under this key took too long and was given up for good. Nothing was sold or charged. Use \
                 a new key.",
            ),
            Self::PaymentDeclined => (
                "payment-declined",
                "The payment was declined",
                StatusCode::PAYMENT_REQUIRED,
                "The payment provider refused, for good under this key. The order is FAILED, its units are free again. \
                 Use another means of payment and a new key.",
            ),
            Self::PaymentUnknown => (
                "payment-unknown",
                "The payment provider did not answer",
                StatusCode::BAD_GATEWAY,
                "The payment provider did not answer in time. The payment was voided, so no money is kept, and the \
                 order is FAILED. Try again with a new key.",
            ),
            Self::OrderFailed => (
                "order-failed",
                "The order failed",
                StatusCode::CONFLICT,
                "The order could not be completed and was undone; its reason is in the field order. No money is kept. \
                 Try again with a new key.",
            ),
            Self::NotCancellable => (
                "not-cancellable",
                "The order cannot be cancelled",
                StatusCode::CONFLICT,
                "The order FAILED, so there is nothing to cancel: no money is kept and its units are free.",
            ),
            Self::EmailTaken => (
                "email-taken",
                "The address has an account already",
                StatusCode::CONFLICT,
                "There is an account with this address. Sign in instead.",
            ),
            Self::SkuTaken => (
                "sku-taken",
                "The SKU is taken",
                StatusCode::CONFLICT,
                "Another product has this SKU. Nothing was changed.",
            ),
            Self::VersionConflict => (
                "version-conflict",
                "Somebody else changed it meanwhile",
                StatusCode::CONFLICT,
                "The product is not at the version that was sent. Read it again and decide anew. Nothing was changed.",
            ),
            Self::TooManyWebhooks => (
                "too-many-webhooks",
                "There are too many webhooks",
                StatusCode::CONFLICT,
                "A shop tells a bounded number of addresses what happens. Nothing was changed. Delete a webhook that \
                 nobody needs, or change one.",
            ),
            Self::NotStuck => (
                "not-stuck",
                "The saga is not stuck",
                StatusCode::CONFLICT,
                "Only a stuck saga can be resumed; this one is on its way.",
            ),
            Self::LastAdmin => (
                "last-admin",
                "The last administrator",
                StatusCode::CONFLICT,
                "Somebody has to be able to look after the shop, so the last administrator stays one. Make somebody \
                 else an administrator first.",
            ),
            Self::SignatureInvalid => (
                "signature-invalid",
                "The signature is not valid",
                StatusCode::BAD_REQUEST,
                "The message has to carry a signature of the payment provider that is a few minutes old at most. This \
                 one has none, a forged one or an old one. Nothing was changed.",
            ),
            Self::ChargeVoided => (
                "charge-voided",
                "The charge was voided",
                StatusCode::CONFLICT,
                "The key of this charge was voided, or its money was given back, so no money is taken under it any \
                 more.",
            ),
            Self::NothingCaptured => (
                "nothing-captured",
                "There is no money to give back",
                StatusCode::CONFLICT,
                "No money was taken under this key. Nothing was changed.",
            ),
            Self::RateLimited => (
                "rate-limited",
                "Too many requests",
                StatusCode::TOO_MANY_REQUESTS,
                "From this account or address came more requests than one may send. Nothing was done. Try again after \
                 the number of seconds in Retry-After, a purchase with the same Idempotency-Key.",
            ),
            Self::Busy => (
                "busy",
                "Too much is going on",
                StatusCode::SERVICE_UNAVAILABLE,
                "The shop has as many requests on their way as it can take. Nothing was done. Try again after the \
                 number of seconds in Retry-After, with the same Idempotency-Key.",
            ),
            Self::Unavailable => (
                "unavailable",
                "No answer yet",
                StatusCode::SERVICE_UNAVAILABLE,
                "A part of the shop did not answer in time, or it is about to stop. Ask again after the number of \
                 seconds in Retry-After; for a purchase the same Idempotency-Key tells what became of it and never \
                 buys twice.",
            ),
            Self::Internal => (
                "internal",
                "Something is wrong on our side",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The shop made a mistake. It has been logged. A purchase can be tried again with the same \
                 Idempotency-Key.",
            ),
        };
        About { slug, title, status, explanation }
    }
}

/// One value that cannot be accepted.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body, or the name of a header or query parameter.
    pub pointer: String,
    pub detail: String,
}

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with what is particular about it, in a sentence.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), members: Map::new(), retry_after: None }
    }

    /// A value that cannot be accepted.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let error = FieldError { pointer: pointer.clone(), detail: detail.clone() };
        // The empty pointer is the whole body.
        let named = if pointer.is_empty() { detail } else { format!("{pointer}: {detail}") };
        Self::new(Kind::InvalidRequest, named).with("errors", &[error])
    }

    /// The kind's name.
    pub fn slug(&self) -> &'static str {
        self.kind.about().slug
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.kind.about().status
    }

    /// The first value that cannot be accepted.
    pub fn pointer(&self) -> Option<&str> {
        self.members.get("errors")?.get(0)?.get("pointer")?.as_str()
    }

    /// What is particular about it, in a sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Says after which time it may be tried again.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Adds a member to the answer.
    #[must_use]
    pub fn with(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = serde_json::to_value(value).expect("answers are plain data");
        self.members.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let About { slug, title, status, .. } = self.kind.about();
        let mut members = self.members;
        members.insert("type".into(), format!("/problems/{slug}").into());
        members.insert("title".into(), title.into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("detail".into(), self.detail.into());
        // Those whom we owe an explanation can say which request it was, and the log knows it.
        if status == StatusCode::INTERNAL_SERVER_ERROR
            && let Some(id) = request::present(|request| request.id().to_owned())
        {
            members.insert("request_id".into(), id.into());
        }
        let body = Value::Object(members).to_string();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let spread = match self.kind {
                Kind::Unavailable => TOLD.fetch_add(1, Ordering::Relaxed) % RETRY_AFTER_S_MAX,
                _ => 0,
            };
            headers.insert(header::RETRY_AFTER, (RETRY_AFTER_S + spread).into());
        }
        if let Some(pause) = self.retry_after {
            // In whole seconds, and not too early.
            headers.insert(header::RETRY_AFTER, pause.as_secs().saturating_add(1).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(%error, "a request could not be answered");
        Self::new(Kind::Unavailable, "A part of the shop did not answer.")
    }
}

impl From<GiveBackError> for Problem {
    fn from(error: GiveBackError) -> Self {
        match error {
            GiveBackError::Refused(why) => Self::new(Kind::NothingCaptured, why),
            GiveBackError::Unknown(error) => error.into(),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::new(Kind::Busy, "Too many people are signing in at once."),
            PasswordError::Failed(_) => {
                tracing::error!(%error, "a password could not be handled");
                Self::new(Kind::Internal, "The password could not be handled.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_mistake_of_ours_says_by_which_name_the_log_knows_it() {
        let answered = async |kind| {
            let answer = async { Problem::new(kind, "Why.").into_response() };
            let response = request::Request::new("the-request").answer(answer).await;
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            serde_json::from_slice::<Value>(&body).expect("JSON")
        };
        assert_eq!(answered(Kind::Internal).await["request_id"], "the-request");
        assert_eq!(answered(Kind::NotFound).await.get("request_id"), None);
    }
}
