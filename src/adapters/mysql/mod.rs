//! MySQL: the ledger and the event log of the cluster profile.
//!
//! Every change is one transaction of two messages: the first begins it and reads all that decides it,
//! the second writes, changes the rows of products last, and commits. Between the two no row of a product
//! is locked, so that a server that stops in the middle keeps nobody from selling.

mod accounts;
mod cancel_order;
mod confirm_orders;
mod consumer_store;
mod create_orders;
mod error;
mod examine;
mod ledger;
mod members;
mod migrations;
mod outbox;
mod products;
mod rows;
mod sagas;
mod session;
mod shelves;
mod sql;
mod undo_orders;
mod waiting;
mod webhooks;

pub use consumer_store::MysqlConsumerStore;
pub use examine::examine;
pub use ledger::MysqlLedger;
pub use members::{OpenError, Settings};
pub use outbox::{Feed, MysqlOutbox};
