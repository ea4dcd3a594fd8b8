//! Payment gateways. The simulated one is an outside service in miniature: it has a durable file of
//! its own and shares no transaction with the ledger.

mod challenge;
mod simulated;

pub use challenge::challenge_router;
pub use simulated::{Faults, SimulatedGateway, TEST_TOKENS};
