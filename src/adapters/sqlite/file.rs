//! A store file: how it is opened, configured and migrated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

/// How long to wait for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const FULL: &str = "the disk is full";

/// A kind of store file and its migrations.
#[derive(Clone, Copy, Debug)]
pub struct StoreFile {
    /// What it is called in messages.
    pub name: &'static str,
    /// Marks the file as ours (`PRAGMA application_id`).
    pub application_id: i32,
    /// SQL in the order it is applied; the file's `user_version` counts what was.
    pub migrations: &'static [&'static str],
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is not a {name} of this program; nothing was changed", path.display())]
    NotAStore { name: &'static str, path: PathBuf },
    #[error(
        "{} was written by a newer version (schema {found}, this one knows {known}); nothing was changed",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} cannot be written: {reason}", path.display())]
    NotWritable { path: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    Sqlite { path: PathBuf, reason: rusqlite::Error },
}

impl StoreFile {
    /// Opens the file for its one writer, creating and migrating it as needed.
    ///
    /// # Errors
    /// See [`OpenError`]; a file that is not ours or is newer stays untouched.
    pub fn open(&self, path: &Path) -> Result<Connection, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let mut connection = connection.map_err(|source| self.explain(path, source))?;
        // Before anything is configured: setting the journal mode would rewrite another's file.
        let found = self.check(path, &connection)?;
        configure(&connection).map_err(|source| self.explain(path, source))?;
        self.migrate(path, &mut connection, found)?;
        Ok(connection)
    }

    /// Whether the file, where there is one, can be opened as it is. Changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn inspect(&self, path: &Path) -> Result<(), OpenError> {
        if !path.exists() {
            return Ok(());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let connection = connection.map_err(|source| self.explain(path, source))?;
        self.check(path, &connection).map(drop)
    }

    /// Opens the file for reading beside its writer.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "cache_size", -8_192)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// Whether the file is ours, or empty, and how many migrations it has had. Writes nothing.
    fn check(&self, path: &Path, connection: &Connection) -> Result<i64, OpenError> {
        let number = |sql| -> rusqlite::Result<i64> { connection.query_row(sql, [], |row| row.get(0)) };
        let explain = |source| self.explain(path, source);
        connection.busy_timeout(BUSY_TIMEOUT).map_err(explain)?;
        let found = number("PRAGMA user_version").map_err(explain)?;
        let application = number("PRAGMA application_id").map_err(explain)?;
        let tables = number("SELECT count(*) FROM sqlite_schema").map_err(explain)?;
        let known = i64::try_from(self.migrations.len()).expect("few migrations");
        let is_new = (found, application, tables) == (0, 0, 0);
        if !is_new && application != i64::from(self.application_id) {
            return Err(OpenError::NotAStore { name: self.name, path: path.to_owned() });
        }
        if found > known {
            return Err(OpenError::Newer { path: path.to_owned(), found, known });
        }
        Ok(found)
    }

    fn migrate(&self, path: &Path, connection: &mut Connection, found: i64) -> Result<(), OpenError> {
        let explain = |source| self.explain(path, source);
        let known = i64::try_from(self.migrations.len()).expect("few migrations");
        // Writes in any case, so that a full or read-only disk is noticed now and not by a buyer.
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(explain)?;
        for migration in &self.migrations[usize::try_from(found).unwrap_or_default()..] {
            transaction.execute_batch(migration).map_err(explain)?;
        }
        transaction.pragma_update(None, "application_id", self.application_id).map_err(explain)?;
        transaction.pragma_update(None, "user_version", known).map_err(explain)?;
        transaction.commit().map_err(explain)
    }

    fn explain(&self, path: &Path, source: rusqlite::Error) -> OpenError {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                OpenError::NotAStore { name: self.name, path }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                OpenError::NotWritable { path, reason: "the file or its disk is read-only".into() }
            }
            Some(ErrorCode::DiskFull) => OpenError::NotWritable { path, reason: FULL.into() },
            // No room for the index that SQLite keeps in memory shared over the disk.
            Some(_) if extended_code(&source) == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
                OpenError::NotWritable { path, reason: FULL.into() }
            }
            Some(ErrorCode::CannotOpen) => {
                OpenError::NotWritable { path, reason: "the file cannot be opened or created".into() }
            }
            Some(ErrorCode::SystemIoFailure) => {
                OpenError::NotWritable { path, reason: format!("the disk answers with an error ({source})") }
            }
            _ => OpenError::Sqlite { path, reason: source },
        }
    }
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // The customers' index takes a page for almost every order of a sale, so pages are small; only a
    // new file takes the setting.
    connection.pragma_update(None, "page_size", 4_096)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns, also after a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Every 16 MiB: rarely enough to write each page once for many commits, often enough to keep the
    // slowest commits short.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}
