//! What a customer waits on while their saga is on its way, and who else waits on the same.
//!
//! Every saga that is on its way in this process has one ticket. It counts against the bound on
//! sagas in flight, and it is found by the customer's key, so that a retry waits for the first
//! attempt instead of starting a second one. Dropping it, whatever the cause, frees all of that.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::domain::{Digest, NextAction, Order, OrderId, Refusal};

/// How a saga ended, for the one who waits.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The order as the ledger has it now: CONFIRMED, FAILED or CANCELLED.
    Order(Arc<Order>),
    /// There is no order, and nothing was left behind.
    Refused(Refusal),
    /// Another driver has it: the order is PENDING and that one finishes it.
    Elsewhere(Arc<Order>),
    /// The order is PENDING, and waits for an administrator.
    Stuck(Arc<Order>),
    /// The order is PENDING, and the customer has to do this.
    NeedsCustomer(Arc<Order>, NextAction),
}

/// Where a saga stands, for the one who waits.
#[derive(Clone, Debug)]
pub enum Standing {
    /// No order yet.
    Queued,
    /// The ledger has the order.
    Pending(Arc<Order>),
    Ended(Answer),
}

/// The tickets of this process.
pub struct Desk {
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_key: BTreeMap<Digest, Waiting>,
    sagas: HashSet<OrderId>,
}

struct Waiting {
    saga: OrderId,
    body: Digest,
    standing: watch::Receiver<Standing>,
}

/// What the desk says to somebody who comes with a key.
pub enum Admission {
    /// The first: drive the saga.
    Driver(Ticket),
    /// An attempt with this key is on its way: wait for it.
    Waiter(watch::Receiver<Standing>),
    /// The key is on its way with another body.
    KeyReused,
    /// Too many sagas are on their way.
    Full,
}

/// One saga on its way.
pub struct Ticket {
    desk: Arc<Desk>,
    key: Digest,
    saga: OrderId,
    standing: watch::Sender<Standing>,
    _slot: OwnedSemaphorePermit,
}

impl Desk {
    /// A desk that lets `in_flight_max` sagas be on their way.
    pub fn new(in_flight_max: usize) -> Arc<Self> {
        Arc::new(Self { slots: Arc::new(Semaphore::new(in_flight_max)), open: Mutex::default() })
    }

    /// Whether there is certainly no room for a purchase under these words: too many sagas are on their way, and none
    /// of them under the same.
    pub fn is_full_for(&self, words: &str) -> bool {
        // In this order: while there is room, nothing is digested, and nothing is locked meanwhile.
        self.room() == 0 && {
            let keys = Digest::range_of_words(words);
            self.open().by_key.range(keys).next().is_none()
        }
    }

    /// Admits a purchase.
    pub fn admit(self: &Arc<Self>, saga: OrderId, key: Digest, body: Digest) -> Admission {
        let mut open = self.open();
        if let Some(waiting) = open.by_key.get(&key) {
            return match waiting.body == body {
                true => Admission::Waiter(waiting.standing.clone()),
                false => Admission::KeyReused,
            };
        }
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => Admission::Driver(self.issue(&mut open, saga, key, body, slot)),
            Err(_) => Admission::Full,
        }
    }

    /// Admits a saga that exists already, as soon as there is room; `None` when it is on its way.
    pub async fn admit_existing(
        self: &Arc<Self>,
        saga: OrderId,
        key: Digest,
        body: Digest,
    ) -> Option<Ticket> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let mut open = self.open();
        if open.sagas.contains(&saga) {
            return None;
        }
        Some(self.issue(&mut open, saga, key, body, slot))
    }

    fn issue(
        self: &Arc<Self>,
        open: &mut Open,
        saga: OrderId,
        key: Digest,
        body: Digest,
        slot: OwnedSemaphorePermit,
    ) -> Ticket {
        let (standing, receiver) = watch::channel(Standing::Queued);
        open.by_key.insert(key, Waiting { saga, body, standing: receiver });
        open.sagas.insert(saga);
        Ticket { desk: Arc::clone(self), key, saga, standing, _slot: slot }
    }

    /// Whether the saga is on its way in this process.
    pub fn drives(&self, saga: OrderId) -> bool {
        self.open().sagas.contains(&saga)
    }

    /// How many more sagas may be on their way.
    pub fn room(&self) -> usize {
        self.slots.available_permits()
    }

    /// Sagas on their way.
    pub fn in_flight(&self) -> usize {
        self.open().sagas.len()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// To wait on.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The saga it stands for.
    pub fn saga(&self) -> OrderId {
        self.saga
    }

    /// The attempt goes on as another saga, that of its key's earlier attempt; `false` when that one is on
    /// its way in this process already.
    pub fn goes_on_as(&mut self, saga: OrderId) -> bool {
        let mut open = self.desk.open();
        if !open.sagas.insert(saga) {
            return false;
        }
        open.sagas.remove(&self.saga);
        if let Some(waiting) = open.by_key.get_mut(&self.key).filter(|waiting| waiting.saga == self.saga) {
            waiting.saga = saga;
        }
        self.saga = saga;
        true
    }

    /// Tells those who wait that the order exists.
    pub fn pending(&self, order: Arc<Order>) {
        self.standing.send_replace(Standing::Pending(order));
    }

    /// Tells those who wait how it ended. Whoever comes after that asks the ledger.
    pub fn end(self, answer: Answer) {
        let standing = self.standing.clone();
        // There is room again before anybody hears: who buys once more at once would otherwise be in their own way.
        drop(self);
        standing.send_replace(Standing::Ended(answer));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.desk.open();
        // A cancel goes under the key of its order, and may have taken the place of a retry.
        if open.by_key.get(&self.key).is_some_and(|waiting| waiting.saga == self.saga) {
            open.by_key.remove(&self.key);
        }
        open.sagas.remove(&self.saga);
    }
}
