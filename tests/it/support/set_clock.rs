//! A clock that stands still until it is told to go on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use holdfast::domain::{InstanceId, OrderId, Timestamp};
use holdfast::ports::clock::{Clock, SystemClock};

/// It shows what it was set to; pauses are never cut.
pub struct SetClock(AtomicI64);

impl SetClock {
    /// One that begins at the present.
    pub fn new() -> Self {
        Self(AtomicI64::new(SystemClock.now().0))
    }

    pub fn forward(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).expect("not so long"), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn new_order_id(&self) -> OrderId {
        SystemClock.new_order_id()
    }

    fn new_instance_id(&self) -> InstanceId {
        SystemClock.new_instance_id()
    }

    fn jittered(&self, pause: Duration) -> Duration {
        pause
    }

    fn secret(&self) -> [u8; 32] {
        SystemClock.secret()
    }
}
