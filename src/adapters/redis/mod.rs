//! Redis Cluster: the stock gate and the lock of several servers.

mod connection;
mod lock;
mod stock_gate;

pub use connection::{AddressError, RedisCluster};
pub use lock::RedisLock;
pub use stock_gate::RedisStockGate;
