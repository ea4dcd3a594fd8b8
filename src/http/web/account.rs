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

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    page: Page,
    email: String,
    back: String,
    /// Where those go who have no account.
    other_href: String,
    problem: String,
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage {
    page: Page,
    email: String,
    back: String,
    /// Where those go who have an account.
    other_href: String,
    problem: String,
    /// Which of the fields it is about, if one.
    problem_field: &'static str,
}

#[derive(Deserialize)]
pub struct Back {
    #[serde(default)]
    back: String,
    /// Said by the page's top.
    #[serde(default, rename = "notice")]
    _notice: String,
}

#[derive(Deserialize)]
pub struct SignForm {
    email: String,
    password: SecretString,
    #[serde(default)]
    back: String,
}

/// Shows where to sign in.
pub async fn sign_in_page(visit: Visit, Query(Back { back, .. }): Query<Back>) -> Result<Response, Problem> {
    page(&sign_in_form(&visit, String::new(), back, None))
}

fn sign_in_form(visit: &Visit, email: String, back: String, problem: Option<&Problem>) -> SignInPage {
    SignInPage {
        page: visit.page_of("title-sign-in"),
        email,
        other_href: with_back("/sign-up", &back),
        back,
        problem: problem.map(|problem| explained(visit, problem)).unwrap_or_default(),
    }
}

/// Shows where to open an account.
pub async fn sign_up_page(visit: Visit, Query(Back { back, .. }): Query<Back>) -> Result<Response, Problem> {
    page(&sign_up_form(&visit, String::new(), back, None))
}

fn sign_up_form(visit: &Visit, email: String, back: String, problem: Option<&Problem>) -> SignUpPage {
    SignUpPage {
        page: visit.page_of("title-sign-up"),
        email,
        other_href: with_back("/sign-in", &back),
        back,
        problem: problem.map(|problem| explained(visit, problem)).unwrap_or_default(),
        problem_field: match problem.and_then(Problem::pointer) {
            Some("/email") => "email",
            Some("/password") => "password",
            _ => "",
        },
    }
}

/// Signs in.
pub async fn sign_in(
    State(shop): State<Shop>,
    visit: Visit,
    Form(SignForm { email, password, back }): Form<SignForm>,
) -> Result<Response, Problem> {
    match account_of(&shop, Credentials { email: email.clone(), password }).await {
        Ok(principal) => Ok(welcomed(&shop, &visit, principal, &back, "signed-in")),
        Err(problem) => {
            let shown = page(&sign_in_form(&visit, email, back, Some(&problem)))?;
            Ok((problem.status(), shown).into_response())
        }
    }
}

/// Opens an account and signs in.
pub async fn sign_up(
    State(shop): State<Shop>,
    visit: Visit,
    Form(SignForm { email, password, back }): Form<SignForm>,
) -> Result<Response, Problem> {
    match open_account(&shop, Credentials { email: email.clone(), password }, Role::Customer).await {
        Ok(principal) => Ok(welcomed(&shop, &visit, principal, &back, "signed-up")),
        Err(problem) => {
            let shown = page(&sign_up_form(&visit, email, back, Some(&problem)))?;
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
