//! Whoever carries mails to customers.
//!
//! To add an adapter, see [`crate::ports`].

use async_trait::async_trait;

use crate::domain::Timestamp;

/// A mail as it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
    /// The same however often it is sent, so that a mailbox can tell.
    pub message_id: String,
    pub date: Timestamp,
}

/// Why a mail was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MailError {
    /// It never will be.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have been, or may be later.
    #[error("{0}")]
    Unknown(String),
}

/// Takes mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over.
    async fn send(&self, letter: &Letter) -> Result<(), MailError>;
}
