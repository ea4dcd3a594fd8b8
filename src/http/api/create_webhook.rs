//! `POST /api/v1/admin/webhooks`: adds an address that is told of orders.

use axum::extract::State;
use axum::http::uri::Scheme;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use crate::http::Shop;
use crate::http::extract::{Admin, Json, text};
use crate::http::problem::{Kind, Problem};
use crate::ports::webhooks::{
    CreateEndpointError, ENDPOINTS_MAX, EndpointId, NewEndpoint, NoticeKind, Wanted, WebhookSecret,
};

use super::{WebhookView, json};

/// Characters of an address.
const URL_MAX: usize = 2_000;

/// Characters of a description.
const DESCRIPTION_MAX: usize = 500;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Absolute, http or https, at most 2,000 characters.
    #[schema(example = "https://owner.example/holdfast")]
    url: String,
    /// What it wants to be told of, such as order.confirmed; everything where it is left out.
    #[schema(value_type = Option<Vec<String>>, example = json!(["order.confirmed", "order.cancelled"]))]
    events: Option<Vec<NoticeKind>>,
    /// For those who administrate, at most 500 characters.
    description: Option<String>,
}

/// Adds an endpoint of webhooks. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/api/v1/admin/webhooks", tag = "administration", request_body = CreateWebhook,
    responses(
        (status = 201, body = crate::http::openapi::WebhookWithSecret),
        (status = 409, description = "too-many-webhooks", body = crate::http::openapi::Problem),
        (status = 422, description = "invalid-request", body = crate::http::openapi::Problem),
    ), security(("token" = [])))]
pub async fn create_webhook(
    State(shop): State<Shop>,
    Admin(_): Admin,
    Json(body): Json<CreateWebhook>,
) -> Result<Response, Problem> {
    let CreateWebhook { url, events, description } = body;
    let description = description.unwrap_or_default();
    check_url(&url)?;
    check_description(&description)?;
    let clock = &shop.stores.clock;
    let endpoint = NewEndpoint {
        id: EndpointId(clock.new_order_id().0),
        url,
        description,
        wanted: wanted(events)?,
        secret: WebhookSecret(clock.secret()),
        at: clock.now(),
    };
    match shop.stores.webhooks.create_endpoint(endpoint).await {
        Ok(endpoint) => Ok(json(StatusCode::CREATED, &WebhookView::with_secret(&endpoint))),
        Err(CreateEndpointError::TooMany) => {
            let detail = format!("There are {ENDPOINTS_MAX} webhooks already.");
            Err(Problem::new(Kind::TooManyWebhooks, detail))
        }
        Err(CreateEndpointError::Unavailable(error)) => Err(error.into()),
    }
}

/// The kinds of a list.
///
/// # Errors
/// It is empty.
pub fn wanted(events: Option<Vec<NoticeKind>>) -> Result<Wanted, Problem> {
    match events {
        None => Ok(Wanted::ALL),
        Some(events) if events.is_empty() => Err(Problem::invalid("/events", "has to name at least one")),
        Some(events) => Ok(Wanted::only(events)),
    }
}

/// Checks what administrators say about an endpoint.
///
/// # Errors
/// It is too long, or has control characters.
pub fn check_description(description: &str) -> Result<(), Problem> {
    text("/description", description, 0, DESCRIPTION_MAX)
}

/// Checks an address.
///
/// # Errors
/// Nothing could be sent there, or it has a password in it.
pub fn check_url(url: &str) -> Result<(), Problem> {
    let invalid = |why: &str| Problem::invalid("/url", why);
    text("/url", url, 1, URL_MAX)?;
    // Others have to be written as percent signs and digits.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("has a space, or a character that is not ASCII"));
    }
    let absolute = "has to be an absolute URL that begins with http:// or https://";
    let uri: Uri = url.parse().map_err(|_| invalid(absolute))?;
    if !uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return Err(invalid(absolute));
    }
    let authority = uri.authority().ok_or_else(|| invalid(absolute))?;
    if authority.as_str().contains('@') {
        return Err(invalid("cannot have a user or a password"));
    }
    if url.contains('#') {
        return Err(invalid("cannot have a fragment"));
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0);
    if authority.host().is_empty() || !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return Err(invalid("has no host, or a port that is none"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_absolute_and_has_no_password() {
        for good in [
            "http://127.0.0.1:8090/hook",
            "https://owner.example",
            "https://owner.example/a/b?c=d&e=%20",
            "http://[::1]:80/",
            "HTTPS://owner.example/",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        let long = format!("https://owner.example/{}", "a".repeat(2_000));
        for wrong in [
            "",
            "owner.example",
            "/hook",
            "ftp://owner.example/",
            "http://",
            "http://:80/",
            "http://h:0/",
            "http://h:99999/",
            "http://h:/",
            "http://me:secret@h/",
            "http://h/a b",
            "http://h/ä",
            "http://h/#part",
            "http://h/\n",
            &long,
        ] {
            let error = check_url(wrong).expect_err(wrong);
            assert!(!error.detail().contains("secret"), "{wrong}");
        }
    }
}
