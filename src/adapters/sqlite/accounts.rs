//! Accounts and their roles.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::domain::{Timestamp, UserId};
use crate::ports::ledger::{Account, AccountError, AccountQuery, AccountSummary, Role, RoleError};

use super::rows::count;

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
    }
}

fn role(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
    Ok(match row.get_ref(column)?.as_str()? {
        "admin" => Role::Admin,
        _ => Role::Customer,
    })
}

/// Runs inside the writer's transaction.
pub fn create(
    connection: &Connection,
    email: &str,
    password_hash: &str,
    role: Role,
    at: Timestamp,
) -> rusqlite::Result<Result<UserId, AccountError>> {
    let created = connection
        .prepare_cached(
            "INSERT INTO accounts (email, password_hash, role, created_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO NOTHING RETURNING id",
        )?
        .query_row(params![email, password_hash, role_word(role), at.0], |row| row.get(0))
        .optional()?;
    Ok(created.map(UserId).ok_or(AccountError::EmailTaken))
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: UserId(row.get(0)?),
        email: row.get(1)?,
        password_hash: row.get(2)?,
        role: role(row, 3)?,
    })
}

pub fn by_email(connection: &Connection, email: &str) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached("SELECT id, email, password_hash, role FROM accounts WHERE email = ?")?
        .query_row([email], account)
        .optional()
}

pub fn by_id(connection: &Connection, id: UserId) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached("SELECT id, email, password_hash, role FROM accounts WHERE id = ?")?
        .query_row([id.0], account)
        .optional()
}

pub fn any_with(connection: &Connection, role: Role) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM accounts WHERE role = ? LIMIT 1")?.exists([role_word(role)])
}

/// The columns that [`summary`] reads.
const SUMMARY_COLUMNS: &str = "id, email, role, created_at";

fn summary(row: &Row<'_>) -> rusqlite::Result<AccountSummary> {
    Ok(AccountSummary {
        id: UserId(row.get(0)?),
        email: row.get(1)?,
        role: role(row, 2)?,
        created_at: Timestamp(row.get(3)?),
    })
}

pub fn list(connection: &Connection, query: &AccountQuery) -> rusqlite::Result<Vec<AccountSummary>> {
    let mut sql = format!("SELECT {SUMMARY_COLUMNS} FROM accounts WHERE id > ?");
    let mut values: Vec<Value> = vec![query.after.map_or(0, |id| id.0).into()];
    if let Some(role) = query.role {
        values.push(role_word(role).to_owned().into());
        sql.push_str(" AND role = ?");
    }
    if let Some(text) = &query.text {
        // Like the comparison of whole addresses, `lower` knows the letters of ASCII and no others.
        values.push(text.to_ascii_lowercase().into());
        sql.push_str(" AND instr(lower(email), ?) > 0");
    }
    values.push(count(query.limit).into());
    sql.push_str(" ORDER BY id LIMIT ?");
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), summary)?.collect()
}

/// Runs inside the writer's transaction: nobody else changes a role meanwhile.
pub fn change_role(
    connection: &Connection,
    id: UserId,
    role: Role,
) -> rusqlite::Result<Result<AccountSummary, RoleError>> {
    let before = connection
        .prepare_cached(&format!("SELECT {SUMMARY_COLUMNS} FROM accounts WHERE id = ?"))?
        .query_row([id.0], summary)
        .optional()?;
    let Some(before) = before else { return Ok(Err(RoleError::NotFound)) };
    if before.role == role {
        return Ok(Ok(before));
    }
    if before.role == Role::Admin {
        let mut others =
            connection.prepare_cached("SELECT 1 FROM accounts WHERE role = ? AND id <> ? LIMIT 1")?;
        if !others.exists(params![role_word(Role::Admin), id.0])? {
            return Ok(Err(RoleError::LastAdmin));
        }
    }
    connection
        .prepare_cached("UPDATE accounts SET role = ? WHERE id = ?")?
        .execute(params![role_word(role), id.0])?;
    Ok(Ok(AccountSummary { role, ..before }))
}
