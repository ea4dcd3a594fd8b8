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
    /// The member that was asked does not answer any more, or is not what it was: the call was given up.
    #[error("the member {0} is not what it was a moment ago")]
    Left(String),
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
const LOCK_NOWAIT: u16 = 3572;
const CHECK_VIOLATED: u16 = 3819;

/// Not this server, or not now: the transaction has to be repeated where it can be written.
const NOT_HERE: [u16; 27] = [
    // Out of connections, shutting down, going away, or not letting anybody in.
    1040, 1053, 1077, 1079, 1203, 1226, 3032, 3168,
    // The connection or the statement was killed, was idle for too long, or broke.
    1158, 1159, 1160, 1161, 1317, 1927, 3169, 4031,
    // Read-only, as members are that were demoted, or have left their group.
    1290, 1836,
    // A commit that failed on its way: the group has refused it, or has lost its majority.
    1180, 3098, 3100, 3101, // The member is not (yet) far enough to be asked.
    3796, 3797, 3798, 3799, 1047,
];

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

    /// What it is called in metrics.
    pub fn kind(&self) -> &'static str {
        match self.code() {
            Some(DEADLOCK) => "deadlock",
            Some(LOCK_WAIT_TIMEOUT | LOCK_NOWAIT) => "lock_timeout",
            Some(DUPLICATE_KEY) => "duplicate",
            Some(CHECK_VIOLATED) => "sold_out",
            Some(_) => "refused",
            None => match self {
                Self::TimedOut => "no_answer",
                Self::Left(_) | Self::NoMember(_) => "no_member",
                Self::Mysql(_) | Self::Unreadable(_) => "connection",
            },
        }
    }

    /// Whether the connection can still be used.
    pub fn spares_connection(&self) -> bool {
        self.code().is_some_and(|code| !NOT_HERE.contains(&code))
    }

    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Mysql(mysql_async::Error::Server(error)) => match error.code {
                DUPLICATE_KEY | LOCK_WAIT_TIMEOUT | DEADLOCK | LOCK_NOWAIT | CHECK_VIOLATED => Remedy::Again,
                code if NOT_HERE.contains(&code) => Remedy::Elsewhere,
                _ => Remedy::None,
            },
            Self::Mysql(_) | Self::TimedOut | Self::Left(_) | Self::NoMember(_) => Remedy::Elsewhere,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: u16) -> (Remedy, bool) {
        let server = mysql_async::ServerError { code, message: String::new(), state: String::new() };
        let error = DbError::Mysql(mysql_async::Error::Server(server));
        (error.remedy(), error.spares_connection())
    }

    #[test]
    fn what_a_member_that_may_not_write_answers_sends_the_call_elsewhere() {
        // Read-only, shutting down, killed; a commit that the group did not take; a member that is not far enough.
        for code in [1290, 1836, 1053, 1317, 3169, 3098, 3100, 3101, 3796, 3797, 3798] {
            assert_eq!(remedy(code), (Remedy::Elsewhere, false), "{code}");
        }
    }

    #[test]
    fn what_another_transaction_was_in_the_way_of_is_done_again() {
        for code in [1062, 1205, 1213, 3572, 3819] {
            assert_eq!(remedy(code), (Remedy::Again, true), "{code}");
        }
    }

    #[test]
    fn a_mistake_of_ours_is_not_repeated() {
        for code in [1064, 1146, 1054] {
            assert_eq!(remedy(code), (Remedy::None, true), "{code}");
        }
    }
}
