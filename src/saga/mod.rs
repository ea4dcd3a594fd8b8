//! Drives sagas: batches of them move through the four steps, forward and back.
//!
//! [`engine`] is the way in; [`stage`] runs one step over whatever waits for it; [`steps`] holds
//! each step with its action and its undo side by side; [`ticket`] is what a customer waits on; [`tally`] counts;
//! [`key_lookup`] asks what stands under a customer's key;
//! [`waiting`] goes on with sagas whose customer had to act first;
//! [`gate_keeper`] keeps the stock gate equal to the ledger.
//! Where a saga goes next is decided by the pure state machine in [`crate::domain::saga`].

mod cancel_order;
mod engine;
mod gate_keeper;
mod key_lookup;
mod product_lock;
mod recovery;
mod stage;
mod steps;
mod tally;
mod ticket;
mod waiting;

pub use cancel_order::CancelAnswer;
pub use engine::{Engine, EngineConfig, Part, Ports, PurchaseAnswer, PurchaseLock};
pub use gate_keeper::{Drift, GateKeeper, Summary};
pub use product_lock::{HeldLocks, ProductLocks};
pub use steps::Step;
pub use tally::Tally;
pub use ticket::Answer;
pub use waiting::ContinueAnswer;
