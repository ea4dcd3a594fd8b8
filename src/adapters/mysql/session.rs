//! A connection and what is sent over it.

use mysql_async::prelude::{FromValue, Queryable as _};
use mysql_async::{Conn, Row};

use super::error::{DbError, Result};
use super::sql::Message;

/// What one statement of a message has answered.
#[derive(Debug)]
pub struct Answer {
    pub rows: Vec<Row>,
    /// Rows that it changed.
    pub affected: u64,
}

/// Sends a message and gives the answer of each of its statements. When one of them fails the rest is not
/// executed.
pub async fn send(connection: &mut Conn, message: Message) -> Result<Vec<Answer>> {
    let mut result = connection.query_iter(message.into_text()).await?;
    let mut answers = Vec::new();
    // `is_empty` would not tell a last statement without rows from the end.
    while result.columns().is_some() {
        let affected = result.affected_rows();
        let rows = result.collect::<Row>().await?;
        answers.push(Answer { rows, affected });
    }
    // The failure of a later statement is kept, and shown only when it is asked for.
    result.drop_result().await?;
    Ok(answers)
}

/// Sends a message of one question.
pub async fn ask(connection: &mut Conn, message: Message) -> Result<Vec<Row>> {
    Ok(send(connection, message).await?.pop().map(|answer| answer.rows).unwrap_or_default())
}

/// Ends a transaction that only read, or that failed. A connection on which that is not possible must not
/// be used again.
pub async fn roll_back(connection: &mut Conn) -> Result<()> {
    Ok(connection.query_drop("ROLLBACK").await?)
}

/// Takes a column out of a row.
pub fn take<T: FromValue>(row: &mut Row, column: usize) -> Result<T> {
    match row.take_opt(column) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(DbError::Unreadable(format!("column {column}: {error}"))),
        None => Err(DbError::Unreadable(format!("column {column} is missing"))),
    }
}
