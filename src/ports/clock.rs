//! Time and randomness. The only place of the program that asks the operating system for either.

use std::time::{Duration, SystemTime};

use rand::Rng as _;
use uuid::Uuid;

use crate::domain::{InstanceId, OrderId, Timestamp};

/// Source of time and of randomness.
pub trait Clock: Send + Sync {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;

    /// An id that no order has, later in order than those before it.
    fn new_order_id(&self) -> OrderId;

    /// An id that no other run of a server has.
    fn new_instance_id(&self) -> InstanceId;

    /// A duration between half of `pause` and all of it, so that those who wait do not come back
    /// all at once.
    fn jittered(&self, pause: Duration) -> Duration;

    /// Random bytes fit for secrets.
    fn secret(&self) -> [u8; 32];
}

/// The present moment as exactly as the machine knows it. For what is shown to people, and decides nothing.
#[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
pub fn moment() -> SystemTime {
    SystemTime::now()
}

/// The clock of the operating system.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
    fn new_order_id(&self) -> OrderId {
        OrderId(Uuid::now_v7())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
    fn new_instance_id(&self) -> InstanceId {
        InstanceId(Uuid::now_v7())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
    fn jittered(&self, pause: Duration) -> Duration {
        let half = pause / 2;
        half + half.mul_f64(rand::random::<f64>())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port that the rest of the program uses")]
    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}
