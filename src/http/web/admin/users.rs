//! Accounts, and what they may do.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use crate::domain::UserId;
use crate::http::Shop;
use crate::http::extract::{Query, text};
use crate::http::problem::{Kind, Problem};
use crate::http::web::forms::Form;
use crate::http::web::visit::Page;
use crate::http::web::{go_to, page, with_query};
use crate::ports::ledger::{AccountQuery, AccountSummary, Role, RoleError};

use super::Administrator;

/// Accounts of a page.
const ACCOUNTS: usize = 50;

#[derive(Deserialize)]
pub struct Wanted {
    /// Part of an address.
    #[serde(default)]
    q: String,
    /// `admin`: only administrators.
    #[serde(default)]
    role: String,
    cursor: Option<i64>,
}

#[derive(Template)]
#[template(path = "admin/users.html")]
struct UsersPage {
    page: Page,
    section: &'static str,
    q: String,
    only_admins: bool,
    users: Vec<Row>,
    next_href: String,
}

struct Row {
    id: i64,
    email: String,
    orders_href: String,
    role_action: String,
    is_admin: bool,
    /// Nobody takes their own role away by mistake.
    is_self: bool,
    since: String,
}

/// Lists accounts in the order in which they came.
pub async fn list(
    State(shop): State<Shop>,
    Administrator(visit, user): Administrator,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let q = wanted.q.trim();
    text("q", q, 0, 254)?;
    let only_admins = wanted.role == "admin";
    let query = AccountQuery {
        text: (!q.is_empty()).then(|| q.to_owned()),
        role: only_admins.then_some(Role::Admin),
        after: wanted.cursor.map(UserId),
        limit: ACCOUNTS,
    };
    let accounts = shop.stores.ledger.accounts(&query).await?;
    let row = |account: &AccountSummary| Row {
        id: account.id.0,
        email: account.email.clone(),
        orders_href: with_query("/admin/orders", &[("q", &account.id.to_string())]),
        role_action: format!("/admin/users/{}/role", account.id),
        is_admin: account.role == Role::Admin,
        is_self: account.id == user,
        since: visit.language.moment(account.created_at),
    };
    let next = accounts.last().filter(|_| accounts.len() == ACCOUNTS);
    let next = next.map(|last| {
        with_query("/admin/users", &[("q", q), ("role", &wanted.role), ("cursor", &last.id.to_string())])
    });
    page(&UsersPage {
        page: visit.page_of("title-users"),
        section: "users",
        q: q.to_owned(),
        only_admins,
        users: accounts.iter().map(row).collect(),
        next_href: next.unwrap_or_default(),
    })
}

#[derive(Deserialize)]
pub struct RoleForm {
    role: Role,
}

/// Gives an account another role. Whoever is signed in with it has it with their next request.
pub async fn change_role(
    State(shop): State<Shop>,
    Administrator(_, by): Administrator,
    id: Result<Path<i64>, axum::extract::rejection::PathRejection>,
    Form(RoleForm { role }): Form<RoleForm>,
) -> Result<Response, Problem> {
    let no_account = || Problem::new(Kind::NotFound, "There is no such account.");
    let Path(id) = id.map_err(|_| no_account())?;
    match shop.stores.ledger.change_role(UserId(id), role).await {
        Ok(account) => {
            tracing::info!(%by, account = %account.id, ?role, "an account has another role");
            Ok(go_to(&with_query("/admin/users", &[("q", &account.email), ("notice", "saved")])))
        }
        Err(RoleError::NotFound) => Err(no_account()),
        Err(RoleError::LastAdmin) => {
            Err(Problem::new(Kind::LastAdmin, "Somebody has to stay administrator."))
        }
        Err(RoleError::Unknown(error)) => Err(error.into()),
    }
}
