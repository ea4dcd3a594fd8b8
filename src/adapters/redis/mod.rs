//! Redis Cluster: the stock gate of several servers.

mod connection;
mod stock_gate;

pub use connection::{AddressError, RedisCluster};
pub use stock_gate::RedisStockGate;
