//! Pages that say one thing: not found, too busy, not allowed, something is wrong.

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::http::Shop;
use crate::http::problem::{Kind, Problem};

use super::go_to;
use super::visit::{self, Page, Visit, sign_in_from};

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    page: Page,
    heading: String,
    text: String,
    status: u16,
    links: Vec<Link>,
    retry_s: u32,
}

struct Link {
    label: String,
    href: &'static str,
}

/// What a page needs of a problem.
#[derive(Deserialize)]
struct Told {
    r#type: String,
    status: u16,
}

/// Answers where there is nothing: browsers get a page.
pub async fn nothing_here(State(shop): State<Shop>, request: Request) -> Response {
    let problem = Problem::new(Kind::NotFound, "There is nothing at this address.");
    let (parts, _) = request.into_parts();
    if visit::wants_page(&parts.headers) {
        visit::told(&shop, &parts, problem).await
    } else {
        problem.into_response()
    }
}

/// Whether an answer is a problem as the API tells it.
pub fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

/// Tells a problem as a page.
pub async fn told(visit: &Visit, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::UNAUTHORIZED {
        return go_to(&sign_in_from(&visit.here));
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(told) = serde_json::from_slice::<Told>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    let slug = told.r#type.rsplit('/').next().unwrap_or_default();
    let retry_s = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let language = visit.language;
    let (heading, text) = words(slug);
    let (heading, text) = (language.text(&heading), language.text(&text));
    let page = MessagePage {
        page: visit.page(heading.clone()),
        heading,
        text,
        status: told.status,
        links: vec![
            Link { label: language.text("link-home"), href: "/" },
            Link { label: language.text("link-basket"), href: "/basket" },
        ],
        retry_s: retry_s.unwrap_or_default(),
    };
    let Ok(html) = page.render() else { return Response::from_parts(parts, Body::from(body)) };
    let mut answer = (parts.status, Html(html)).into_response();
    if let Some(value) = parts.headers.get(header::RETRY_AFTER) {
        answer.headers_mut().insert(header::RETRY_AFTER, value.clone());
    }
    answer
}

/// The keys of heading and text that tell a problem.
fn words(slug: &str) -> (String, String) {
    let subject = match slug {
        "not-found" => "not-found",
        "forbidden" => "forbidden",
        "form-expired" => "csrf",
        "busy" => "busy",
        "unavailable" => "unavailable",
        "internal" => "internal",
        "malformed-request" | "malformed-json" | "method-not-allowed" | "idempotency-key-missing" => {
            "request"
        }
        // What a shopper can do something about.
        _ => return ("problem".to_owned(), format!("problem-{slug}")),
    };
    (format!("error-{subject}-heading"), format!("error-{subject}"))
}
