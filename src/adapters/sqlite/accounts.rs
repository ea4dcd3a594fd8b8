//! Accounts and their roles.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::domain::{Timestamp, UserId};
use crate::ports::ledger::{Account, AccountError, Role};

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
    }
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
    let role = match row.get_ref(3)?.as_str()? {
        "admin" => Role::Admin,
        _ => Role::Customer,
    };
    Ok(Account { id: UserId(row.get(0)?), email: row.get(1)?, password_hash: row.get(2)?, role })
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
