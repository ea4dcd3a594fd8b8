//! Payment gateways. The simulated one is an outside service in miniature: it has a durable file of
//! its own and shares no transaction with the ledger. `holdfast gateway` serves it over HTTP, which
//! [`HttpGateway`] speaks. [`StripeGateway`] is the real thing.

mod breaker;
mod challenge;
mod client;
mod http;
pub mod protocol;
mod simulated;
pub mod stripe;
pub mod stripe_signature;

pub use challenge::challenge_router;
pub use client::{Patience, base};
pub use http::HttpGateway;
pub use simulated::{Faults, SimulatedGateway, TEST_TOKENS};
pub use stripe::StripeGateway;
