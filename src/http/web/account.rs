//! Signing up, in and out, and choosing a language.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use serde::Deserialize;

use crate::auth::Principal;
use crate::http::Shop;
use crate::http::api::login::account_of;
use crate::http::api::register::{Credentials, PASSWORD, open_account};
use crate::http::extract::Query;
use crate::http::problem::Problem;
use crate::ports::ledger::Role;

use super::forms::{Form, Nothing};
use super::texts::Language;
use super::visit::{Page, Visit, with_back};
use super::{go_to, page};

/// The two ways in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    SignIn,
    SignUp,
}

impl Door {
    fn address(self) -> &'static str {
        match self {
            Self::SignIn => "/sign-in",
            Self::SignUp => "/sign-up",
        }
    }

    /// Its name in the keys of texts.
    fn word(self) -> &'static str {
        &self.address()[1..]
    }

    fn other(self) -> Self {
        match self {
            Self::SignIn => Self::SignUp,
            Self::SignUp => Self::SignIn,
        }
    }

    async fn enter(self, shop: &Shop, credentials: Credentials) -> Result<Principal, Problem> {
        match self {
            Self::SignIn => account_of(shop, credentials).await,
            Self::SignUp => open_account(shop, credentials, Role::Customer).await,
        }
    }

    /// What the page says once somebody is in.
    fn notice(self) -> &'static str {
        match self {
            Self::SignIn => "signed-in",
            Self::SignUp => "signed-up",
        }
    }
}

#[derive(Template)]
#[template(path = "door.html")]
struct DoorPage {
    page: Page,
    action: &'static str,
    heading: String,
    is_new: bool,
    email: String,
    back: String,
    other_hint: String,
    other_href: String,
    other: String,
    problem: String,
    /// Which of the fields it is about: where that is not said, to sign in, both.
    wrong_email: bool,
    wrong_password: bool,
}

impl DoorPage {
    fn of(visit: &Visit, door: Door, email: String, back: String, problem: Option<&Problem>) -> Self {
        let text = |key: &str| visit.language.text(key);
        let about = problem.and_then(Problem::pointer);
        let either = door == Door::SignIn && problem.is_some();
        let hint = match door {
            Door::SignIn => "no-account",
            Door::SignUp => "have-account",
        };
        Self {
            page: visit.page_of(&format!("title-{}", door.word())),
            action: door.address(),
            heading: text(door.word()),
            is_new: door == Door::SignUp,
            email,
            other_hint: text(hint),
            other_href: with_back(door.other().address(), &back),
            other: text(door.other().word()),
            back,
            problem: problem.map(|problem| explained(visit, problem)).unwrap_or_default(),
            wrong_email: either || about == Some("/email"),
            wrong_password: either || about == Some("/password"),
        }
    }
}

#[derive(Deserialize)]
pub struct Back {
    #[serde(default)]
    back: String,
}

#[derive(Deserialize)]
pub struct SignForm {
    email: String,
    password: SecretString,
    #[serde(default)]
    back: String,
}

/// Shows where to sign in.
pub async fn sign_in_page(visit: Visit, Query(Back { back }): Query<Back>) -> Result<Response, Problem> {
    page(&DoorPage::of(&visit, Door::SignIn, String::new(), back, None))
}

/// Shows where to open an account.
pub async fn sign_up_page(visit: Visit, Query(Back { back }): Query<Back>) -> Result<Response, Problem> {
    page(&DoorPage::of(&visit, Door::SignUp, String::new(), back, None))
}

/// Signs in.
pub async fn sign_in(
    State(shop): State<Shop>,
    visit: Visit,
    Form(form): Form<SignForm>,
) -> Result<Response, Problem> {
    enter(&shop, &visit, Door::SignIn, form).await
}

/// Opens an account and signs in.
pub async fn sign_up(
    State(shop): State<Shop>,
    visit: Visit,
    Form(form): Form<SignForm>,
) -> Result<Response, Problem> {
    enter(&shop, &visit, Door::SignUp, form).await
}

async fn enter(shop: &Shop, visit: &Visit, door: Door, form: SignForm) -> Result<Response, Problem> {
    let SignForm { email, password, back } = form;
    match door.enter(shop, Credentials { email: email.clone(), password }).await {
        Ok(principal) => Ok(welcomed(shop, visit, principal, &back, door.notice())),
        Err(problem) => {
            let shown = page(&DoorPage::of(visit, door, email, back, Some(&problem)))?;
            Ok((problem.status(), shown).into_response())
        }
    }
}

/// What is wrong with what somebody has filled in.
fn explained(visit: &Visit, problem: &Problem) -> String {
    let key = match problem.pointer() {
        Some("/email") => "problem-email",
        Some("/password") => {
            let (min, max) = (*PASSWORD.start() as i64, *PASSWORD.end() as i64);
            return visit.language.text_with("problem-password", [("min", min.into()), ("max", max.into())]);
        }
        _ if problem.slug() == "unauthorized" => "problem-sign-in",
        _ => return visit.language.text(&format!("problem-{}", problem.slug())),
    };
    visit.language.text(key)
}

/// Sends whoever has signed in to where they came from.
fn welcomed(shop: &Shop, visit: &Visit, principal: Principal, back: &str, notice: &str) -> Response {
    let mut response = match own(back) {
        Some(back) => go_to(back),
        None => go_to(&format!("/?notice={notice}")),
    };
    visit.change_session(shop, &mut response, Some(principal));
    response
}

/// Signs out.
pub async fn sign_out(State(shop): State<Shop>, visit: Visit, _: Form<Nothing>) -> Response {
    let mut response = go_to("/?notice=signed-out");
    visit.change_session(&shop, &mut response, None);
    response
}

#[derive(Deserialize)]
pub struct LanguageForm {
    lang: String,
    #[serde(default)]
    back: String,
}

/// Chooses a language.
pub async fn choose_language(visit: Visit, Form(form): Form<LanguageForm>) -> Response {
    let mut response = go_to(own(&form.back).unwrap_or("/"));
    if let Some(language) = Language::of_code(&form.lang) {
        visit.keep_language(&mut response, language);
    }
    response
}

/// An address of this shop, and of no other.
fn own(back: &str) -> Option<&str> {
    let is_path = back.starts_with('/') && !back[1..].starts_with(['/', '\\']);
    let is_plain = back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (is_path && is_plain).then_some(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_shop() {
        for own_address in ["/", "/orders?cursor=1", "/?q=%3Cscript%3E"] {
            assert_eq!(own(own_address), Some(own_address));
        }
        for foreign in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: x", "/a b"]
        {
            assert_eq!(own(foreign), None, "{foreign}");
        }
    }
}
