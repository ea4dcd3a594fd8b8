//! The tables: made and changed by whichever server comes first, one at a time.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::error::{DbError, Result};
use super::members::OpenError;
use super::session::{ask, take};
use super::sql::Message;

/// SQL in the order it is applied; the table `schema_version` counts what was.
const MIGRATIONS: [&str; 5] = [
    include_str!("../../../migrations/mysql/0001_shop.sql"),
    include_str!("../../../migrations/mysql/0002_waiting_for_customer.sql"),
    include_str!("../../../migrations/mysql/0003_events.sql"),
    include_str!("../../../migrations/mysql/0004_webhooks.sql"),
    include_str!("../../../migrations/mysql/0005_due_sagas.sql"),
];

/// Brings the tables to this version.
///
/// # Errors
/// See [`OpenError`]. MySQL commits each change of a table by itself: what was interrupted is named by the
/// next start, as a table that exists already.
pub async fn migrate(connection: &mut Conn) -> std::result::Result<(), OpenError> {
    let locked = "SELECT GET_LOCK(CONCAT('holdfast-migrate-', DATABASE()), 60)";
    ask(connection, Message::default().words(locked)).await.map_err(OpenError::Migration)?;
    let done = migrate_locked(connection).await;
    let unlock = "SELECT RELEASE_LOCK(CONCAT('holdfast-migrate-', DATABASE()))";
    ask(connection, Message::default().words(unlock)).await.map_err(OpenError::Migration)?;
    done
}

async fn migrate_locked(connection: &mut Conn) -> std::result::Result<(), OpenError> {
    let found = version(connection).await.map_err(OpenError::Migration)?;
    let known = MIGRATIONS.len();
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for migration in &MIGRATIONS[found..] {
        apply(connection, migration).await.map_err(OpenError::Migration)?;
    }
    Ok(())
}

async fn version(connection: &mut Conn) -> Result<usize> {
    connection
        .query_drop("CREATE TABLE IF NOT EXISTS schema_version (applied INT NOT NULL PRIMARY KEY)")
        .await
        .map_err(DbError::from)?;
    let mut rows = ask(connection, Message::default().words("SELECT COUNT(*) FROM schema_version")).await?;
    let row = rows.first_mut().ok_or_else(|| DbError::Unreadable("no count".into()))?;
    take(row, 0)
}

async fn apply(connection: &mut Conn, migration: &str) -> Result<()> {
    connection.query_drop(migration).await?;
    let next = "INSERT INTO schema_version SELECT COUNT(*) + 1 FROM schema_version AS before_it";
    Ok(connection.query_drop(next).await?)
}
