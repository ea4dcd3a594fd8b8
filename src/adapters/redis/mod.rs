//! Redis Cluster: the stock gate, the lock and the shared cache of views of several servers.

mod connection;
mod examine;
mod live;
mod lock;
mod stock_gate;
mod view_cache;

pub use connection::{AddressError, RedisCluster};
pub use examine::examine;
pub use live::RedisLiveUpdates;
pub use lock::RedisLock;
pub use stock_gate::RedisStockGate;
pub use view_cache::RedisViewCache;
