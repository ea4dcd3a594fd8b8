//! What can go wrong with a statement, and what follows from it.

use crate::ports::Unavailable;

/// Why a transaction has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error(transparent)]
    Mysql(#[from] mysql_async::Error),
    /// A stored value that this version cannot read.
    #[error("the ledger holds something unreadable: {0}")]
    Unreadable(String),
    #[error("no answer in time")]
    TimedOut,
    /// There is nobody to ask.
    #[error("{0}")]
    NoMember(String),
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Nothing was changed, and the same transaction may work at once: a deadlock, a row that another
    /// transaction has inserted meanwhile.
    Again,
    /// The database refuses to write, or is gone: look for the writable one and do it again. It may have
    /// been committed.
    Elsewhere,
    /// Doing it again would not help.
    None,
}

// Source of the numbers: the server error reference of the MySQL manual.
const DUPLICATE_KEY: u16 = 1062;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const CHECK_VIOLATED: u16 = 3819;
/// Read-only, shutting down, killed, idle for too long, out of connections, or a group member that may not
/// write.
const NOT_HERE: [u16; 14] =
    [1040, 1053, 1077, 1079, 1203, 1226, 1290, 1836, 1927, 3032, 3100, 3101, 3168, 4031];

impl DbError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Mysql(mysql_async::Error::Server(error)) => Some(error.code),
            _ => None,
        }
    }

    /// A CHECK constraint refused the transaction.
    pub fn is_check(&self) -> bool {
        self.code() == Some(CHECK_VIOLATED)
    }

    /// A row with this key exists already.
    pub fn is_duplicate(&self) -> bool {
        self.code() == Some(DUPLICATE_KEY)
    }

    /// Whether the connection can still be used.
    pub fn spares_connection(&self) -> bool {
        self.code().is_some_and(|code| !NOT_HERE.contains(&code))
    }

    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Mysql(mysql_async::Error::Server(error)) => match error.code {
                DUPLICATE_KEY | LOCK_WAIT_TIMEOUT | DEADLOCK | CHECK_VIOLATED => Remedy::Again,
                code if NOT_HERE.contains(&code) => Remedy::Elsewhere,
                _ => Remedy::None,
            },
            Self::Mysql(_) | Self::TimedOut | Self::NoMember(_) => Remedy::Elsewhere,
            Self::Unreadable(_) => Remedy::None,
        }
    }
}

impl From<DbError> for Unavailable {
    fn from(error: DbError) -> Self {
        Self(format!("the ledger: {error}"))
    }
}

pub type Result<T> = std::result::Result<T, DbError>;
