//! In this process: the stock gate and the lock of the embedded profile.

mod lock;
mod stock_gate;

pub use lock::MemoryLock;
pub use stock_gate::MemoryStockGate;
