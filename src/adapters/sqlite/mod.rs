//! SQLite: the ledger and the event log of the embedded profile, and the group commit that the
//! simulated gateway's own file uses too.

mod accounts;
mod cancel_order;
mod confirm_orders;
mod consumer_store;
mod create_orders;
mod customer_index;
mod examine;
mod file;
mod key_filter;
mod ledger;
mod local_log;
mod outbox;
mod products;
mod readers;
mod rows;
mod sagas;
mod shelves;
mod undo_orders;
mod waiting;
mod webhooks;
mod writer;

pub use consumer_store::SqliteConsumerStore;
pub use examine::examine;
pub use file::{OpenError, StoreFile};
pub use ledger::SqliteLedger;
pub use local_log::LocalLog;
pub use outbox::SqliteOutbox;
pub use readers::Readers;
pub use writer::{WriteError, Writer};
