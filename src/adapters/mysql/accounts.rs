//! Accounts and their roles.

use mysql_async::Conn;

use crate::domain::{Timestamp, UserId};
use crate::ports::ledger::{Account, AccountError, Role};

use super::error::Result;
use super::session::{ask, send, take};
use super::sql::Message;

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
    }
}

pub async fn create(
    connection: &mut Conn,
    email: &str,
    password_hash: &str,
    role: Role,
    at: Timestamp,
) -> Result<std::result::Result<UserId, AccountError>> {
    let message = Message::default()
        .words("INSERT INTO accounts (email, email_lower, password_hash, role, created_at)")
        .rows([()], |row, ()| {
            row.add(email)
                .add(&*email.to_ascii_lowercase())
                .add(password_hash)
                .add(role_word(role))
                .add(at.0);
        })
        .words(";SELECT LAST_INSERT_ID()");
    let mut answers = match send(connection, message).await {
        Err(error) if error.is_duplicate() => return Ok(Err(AccountError::EmailTaken)),
        answers => answers?,
    };
    let mut row = answers.pop().and_then(|answer| answer.rows.into_iter().next()).expect("a number");
    Ok(Ok(UserId(take(&mut row, 0)?)))
}

const SELECT: &str = "SELECT id, email, password_hash, role FROM accounts WHERE ";

async fn find(connection: &mut Conn, which: Message) -> Result<Option<Account>> {
    let Some(mut row) = ask(connection, which).await?.into_iter().next() else { return Ok(None) };
    let role = match &*take::<String>(&mut row, 3)? {
        "admin" => Role::Admin,
        _ => Role::Customer,
    };
    let (id, email, password_hash) = (UserId(take(&mut row, 0)?), take(&mut row, 1)?, take(&mut row, 2)?);
    Ok(Some(Account { id, email, password_hash, role }))
}

pub async fn by_email(connection: &mut Conn, email: &str) -> Result<Option<Account>> {
    let email = email.to_ascii_lowercase();
    find(connection, Message::default().words(SELECT).words("email_lower = ").value(&*email)).await
}

pub async fn by_id(connection: &mut Conn, id: UserId) -> Result<Option<Account>> {
    find(connection, Message::default().words(SELECT).words("id = ").value(id.0)).await
}

pub async fn any_with(connection: &mut Conn, role: Role) -> Result<bool> {
    let message = Message::default()
        .words("SELECT 1 FROM accounts WHERE role = ")
        .value(role_word(role))
        .words(" LIMIT 1");
    Ok(!ask(connection, message).await?.is_empty())
}
