//! Who looks at a page: their language, their basket, whether they are signed in. All of it is in cookies, so any server
//! can answer.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::auth::Principal;
use crate::domain::UserId;
use crate::http::Shop;
use crate::http::problem::{Kind, Problem};
use crate::ports::ledger::Role;

use super::basket::BasketLines;
use super::texts::Language;
use super::{assets, go_to, message, with_query};

/// The token of whoever is signed in.
const SESSION: &str = "holdfast_session";
/// A number that nobody else knows; forms are signed for it.
const VISITOR: &str = "holdfast_visitor";
const BASKET: &str = "holdfast_basket";
const LANGUAGE: &str = "holdfast_language";

/// How long a browser keeps a basket and a language.
const KEPT_FOR: time::Duration = time::Duration::days(30);

/// Nothing of a page comes from elsewhere, and no page is shown inside another.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is known of whoever looks.
#[derive(Clone)]
pub struct Visit {
    pub language: Language,
    pub principal: Option<Principal>,
    pub basket: BasketLines,
    /// Path and query.
    pub here: String,
    /// What forms of this visitor carry.
    pub csrf: String,
    visitor: String,
    /// The browser does not know its number yet.
    is_new: bool,
    is_secure: bool,
    notice: Option<&'static str>,
}

/// What every page shows around its own.
pub struct Page {
    pub lang: &'static str,
    pub title: String,
    pub path: String,
    pub signed_in: bool,
    pub is_admin: bool,
    pub csrf: String,
    pub basket_count: u32,
    pub notice: String,
    pub languages: Vec<Choice>,
    language: Language,
}

/// A language to choose.
pub struct Choice {
    pub code: &'static str,
    pub name: String,
    pub current: bool,
}

/// What pages can say once at the top, by what `notice=` in the address says.
const NOTICES: [(&str, &str); 9] = [
    ("added", "notice-put-into-basket"),
    ("cancelled", "notice-order-cancelled"),
    ("imported", "notice-imported"),
    ("restocked", "notice-restocked"),
    ("resumed", "notice-resumed"),
    ("saved", "notice-saved"),
    ("signed-in", "notice-signed-in"),
    ("signed-up", "notice-signed-up"),
    ("signed-out", "notice-signed-out"),
];

impl Page {
    pub fn t(&self, key: &str) -> String {
        self.language.text(key)
    }

    pub fn t1(&self, key: &str, name: &'static str, value: impl Gap) -> String {
        self.language.text_with(key, [(name, value.fill())])
    }

    pub fn asset(&self, name: &str) -> &'static str {
        assets::address(name).unwrap_or_default()
    }
}

/// What fills a gap of a text.
pub trait Gap {
    fn fill(self) -> fluent_bundle::FluentValue<'static>;
}

impl Gap for &i64 {
    fn fill(self) -> fluent_bundle::FluentValue<'static> {
        (*self).into()
    }
}

impl Gap for &u32 {
    fn fill(self) -> fluent_bundle::FluentValue<'static> {
        (*self).into()
    }
}

impl Gap for &String {
    fn fill(self) -> fluent_bundle::FluentValue<'static> {
        self.clone().into()
    }
}

impl Visit {
    fn of(shop: &Shop, parts: &Parts) -> Self {
        let jar = CookieJar::from_headers(&parts.headers);
        let value = |name: &str| jar.get(name).map(Cookie::value);
        let language = value(LANGUAGE).and_then(Language::of_code).unwrap_or_else(|| {
            let accepted = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
            Language::preferred(accepted.unwrap_or_default())
        });
        let principal = value(SESSION).and_then(|token| shop.tokens.verify(token));
        // What is no visitor's number of ours is replaced by one.
        let visitor = value(VISITOR).filter(|visitor| is_visitor(visitor)).map(ToOwned::to_owned);
        let is_new = visitor.is_none();
        let visitor = visitor.unwrap_or_else(|| new_visitor(shop));
        let uri = &parts.uri;
        Self {
            language,
            principal,
            basket: value(BASKET).map(BasketLines::kept).unwrap_or_default(),
            here: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
            csrf: shop.forms.sign(&visitor, principal.map(|principal| principal.user)),
            visitor,
            is_new,
            is_secure: is_secure(&parts.headers),
            notice: uri.query().and_then(notice),
        }
    }

    /// Whether a form's signature was made for this visitor.
    pub fn has_signed(&self, shop: &Shop, csrf: &str) -> bool {
        shop.forms.verify(csrf, &self.visitor, self.principal.map(|principal| principal.user))
    }

    /// What stands around a page with this title.
    pub fn page(&self, title: String) -> Page {
        let language = self.language;
        let choice = |choice: Language| Choice {
            code: choice.code(),
            name: language.text(&format!("language-{}", choice.code())),
            current: choice == language,
        };
        Page {
            lang: language.code(),
            title,
            path: self.here.clone(),
            signed_in: self.principal.is_some(),
            is_admin: self.principal.is_some_and(|principal| principal.role == Role::Admin),
            csrf: self.csrf.clone(),
            basket_count: self.basket.units(),
            notice: self.notice.map(|key| language.text(key)).unwrap_or_default(),
            languages: Language::ALL.map(choice).into(),
            language,
        }
    }

    /// The same with the title as a text.
    pub fn page_of(&self, title: &str) -> Page {
        self.page(self.language.text(title))
    }

    fn cookie(&self, name: &'static str, value: String) -> Cookie<'static> {
        Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.is_secure)
            .build()
    }

    /// Remembers a basket.
    pub fn keep_basket(&self, response: &mut Response, basket: &BasketLines) {
        let mut cookie = self.cookie(BASKET, basket.to_string());
        cookie.set_max_age(if basket.is_empty() { time::Duration::ZERO } else { KEPT_FOR });
        set(response, &cookie);
    }

    /// Remembers a language.
    pub fn keep_language(&self, response: &mut Response, language: Language) {
        let mut cookie = self.cookie(LANGUAGE, language.code().to_owned());
        cookie.set_max_age(KEPT_FOR);
        set(response, &cookie);
    }

    /// Signs somebody in or out. Forms that were made before are worth nothing afterwards.
    pub fn change_session(&self, shop: &Shop, response: &mut Response, principal: Option<Principal>) {
        let token = principal.map(|principal| shop.tokens.issue(principal));
        let life = match token {
            Some(_) => time::Duration::try_from(shop.tokens.ttl()).unwrap_or(time::Duration::MAX),
            None => time::Duration::ZERO,
        };
        let mut session = self.cookie(SESSION, token.unwrap_or_default());
        session.set_max_age(life);
        set(response, &session);
        set(response, &self.cookie(VISITOR, new_visitor(shop)));
    }
}

impl FromRequestParts<Shop> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shop) -> Result<Self, Problem> {
        let visit = parts.extensions.get::<Arc<Self>>();
        visit.map(|visit| Self::clone(visit)).ok_or_else(|| {
            tracing::error!("a page is not accompanied");
            Problem::new(Kind::Internal, "The page could not be made.")
        })
    }
}

/// Whoever is signed in; others are sent to where they can.
pub struct SignedIn(pub Visit, pub UserId);

impl FromRequestParts<Shop> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shop: &Shop) -> Result<Self, Response> {
        let visit = Visit::from_request_parts(parts, shop).await.map_err(IntoResponse::into_response)?;
        match visit.principal {
            Some(principal) => Ok(Self(visit, principal.user)),
            // What was sent by a form cannot be asked for again.
            None if parts.method != axum::http::Method::GET => Err(go_to("/sign-in")),
            None => Err(go_to(&sign_in_from(&visit.here))),
        }
    }
}

/// The address of the page to sign in on that comes back to `here`.
pub fn sign_in_from(here: &str) -> String {
    with_back("/sign-in", here)
}

/// The address of a page that leads back to `back`.
pub fn with_back(address: &str, back: &str) -> String {
    with_query(address, &[("back", back)])
}

/// Finds out who looks before a page is made, and afterwards makes it safe to show.
pub async fn accompany(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = Arc::new(Visit::of(&shop, &parts));
    parts.extensions.insert(Arc::clone(&visit));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if message::is_problem(&response) {
        response = message::told(&visit, response).await;
    }
    let sets_visitor = response
        .headers()
        .get_all(header::SET_COOKIE)
        .iter()
        .any(|value| value.as_bytes().starts_with(VISITOR.as_bytes()));
    if visit.is_new && !sets_visitor {
        set(&mut response, &visit.cookie(VISITOR, visit.visitor.clone()));
    }
    protect(response.headers_mut(), &visit);
    response
}

/// The same for an answer that no page has made.
pub async fn told(shop: &Shop, parts: &Parts, problem: Problem) -> Response {
    let visit = Visit::of(shop, parts);
    let mut response = message::told(&visit, problem.into_response()).await;
    protect(response.headers_mut(), &visit);
    response
}

fn protect(headers: &mut HeaderMap, visit: &Visit) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages are somebody's own; and whoever has signed out does not leave them behind for the next one who goes back.
    let kept = if visit.principal.is_some() { "no-store" } else { "private, no-cache" };
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(kept));
}

fn set(response: &mut Response, cookie: &Cookie<'_>) {
    if let Ok(value) = cookie.to_string().parse() {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Whether the browser has come over TLS, as the load balancer says.
fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

fn new_visitor(shop: &Shop) -> String {
    hex::encode(&shop.stores.clock.secret()[..VISITOR_DIGITS / 2])
}

const VISITOR_DIGITS: usize = 32;

fn is_visitor(text: &str) -> bool {
    text.len() == VISITOR_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What the address says that has just been done.
fn notice(query: &str) -> Option<&'static str> {
    let word = query.split('&').find_map(|part| part.strip_prefix("notice="))?;
    NOTICES.iter().find(|(known, _)| *known == word).map(|(_, key)| *key)
}

/// Whether somebody looks with a browser and not with a program.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}
