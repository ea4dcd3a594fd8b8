//! What the shop needs from the outside, as traits.
//!
//! To add an adapter: implement the trait in `adapters/`, choose it by URL in
//! [`crate::app`], and run the trait's suite in `tests/it/contract/` over it.
//! Nothing in here names a database, a queue or a web framework.

pub mod clock;
pub mod consumer_store;
pub mod event_log;
pub mod examination;
pub mod ledger;
pub mod live;
pub mod lock;
pub mod mailer;
pub mod outbox;
pub mod payments;
pub mod saga_watcher;
pub mod stock_gate;
pub mod view_cache;
pub mod webhooks;

/// The other side did not answer, or not in a way that says what happened: the effect may or may
/// not be there. It is settled by asking again with the same ids.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);
