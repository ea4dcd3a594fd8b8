//! Payment gateways. The simulated one is an outside service in miniature: it has a durable file of
//! its own and shares no transaction with the ledger.

mod simulated;

pub use simulated::{Faults, SimulatedGateway, TEST_TOKENS};
