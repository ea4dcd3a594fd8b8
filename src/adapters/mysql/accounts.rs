//! Accounts and their roles.

use mysql_async::{Conn, Row};

use crate::domain::{Timestamp, UserId};
use crate::ports::ledger::{Account, AccountError, AccountQuery, AccountSummary, Role, RoleError};

use super::error::Result;
use super::ledger::limited;
use super::session::{ask, roll_back, send, take};
use super::sql::Message;

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
    }
}

fn role(row: &mut Row, column: usize) -> Result<Role> {
    Ok(match &*take::<String>(row, column)? {
        "admin" => Role::Admin,
        _ => Role::Customer,
    })
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
    let role = role(&mut row, 3)?;
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

/// `SELECT` of the columns that [`summary`] reads.
const SELECT_SUMMARY: &str = "SELECT id, email, role, created_at FROM accounts WHERE ";

fn summary(mut row: Row) -> Result<AccountSummary> {
    let row = &mut row;
    Ok(AccountSummary {
        id: UserId(take(row, 0)?),
        email: take(row, 1)?,
        role: role(row, 2)?,
        created_at: Timestamp(take(row, 3)?),
    })
}

pub async fn list(connection: &mut Conn, query: &AccountQuery) -> Result<Vec<AccountSummary>> {
    let after = query.after.map_or(0, |id| id.0);
    let mut message = Message::default().words(SELECT_SUMMARY).words("id > ").value(after);
    if let Some(role) = query.role {
        message = message.words(" AND role = ").value(role_word(role));
    }
    if let Some(text) = &query.text {
        let text = text.to_ascii_lowercase();
        message = message.words(" AND LOCATE(").value(&*text).words(", email_lower) > 0");
    }
    ask(connection, limited(message.words(" ORDER BY id"), query.limit))
        .await?
        .into_iter()
        .map(summary)
        .collect()
}

/// Changes a role. Whoever takes an administrator's away holds the row of another one until the commit, so that
/// nobody takes that one's meanwhile.
pub async fn change_role(
    connection: &mut Conn,
    id: UserId,
    role: Role,
) -> Result<std::result::Result<AccountSummary, RoleError>> {
    // Of two administrators one is another. Everybody takes them in the same order, and the account after them.
    let message = Message::begin()
        .words("SELECT id FROM accounts WHERE role = ")
        .value(role_word(Role::Admin))
        .words(" ORDER BY id LIMIT 2 FOR UPDATE;")
        .words(SELECT_SUMMARY)
        .words("id = ")
        .value(id.0)
        .words(" FOR UPDATE");
    let mut answers = send(connection, message).await?;
    let before = answers.pop().and_then(|answer| answer.rows.into_iter().next()).map(summary).transpose()?;
    let mut others = false;
    for mut row in answers.pop().map(|answer| answer.rows).unwrap_or_default() {
        others |= UserId(take(&mut row, 0)?) != id;
    }
    let unchanged = match before {
        None => Err(RoleError::NotFound),
        Some(before) if before.role == role => Ok(before),
        Some(before) if before.role == Role::Admin && !others => Err(RoleError::LastAdmin),
        Some(before) => {
            let message = Message::default()
                .words("UPDATE accounts SET role = ")
                .value(role_word(role))
                .words(" WHERE id = ")
                .value(id.0)
                .words(";COMMIT");
            send(connection, message).await?;
            return Ok(Ok(AccountSummary { role, ..before }));
        }
    };
    roll_back(connection).await?;
    Ok(unchanged)
}
