//! Is told what the saga engine does, so that it can be shown to those who run the shop.
//!
//! To add an adapter, see [`crate::ports`].

use std::time::Duration;

use crate::domain::{OrderId, Outcome, Saga, StepName};

/// What a step did for a batch.
#[derive(Clone, Copy)]
pub struct Taken<'a> {
    pub step: StepName,
    /// Whether it was undone.
    pub undone: bool,
    /// How long it took.
    pub took: Duration,
    pub sagas: &'a [Saga],
    /// What came of it, for each of the sagas.
    pub outcomes: &'a [Outcome],
}

/// Watches sagas. It is told where sales are made, so it answers at once, whatever it does with it.
pub trait SagaWatcher: Send + Sync {
    /// A buyer's request has begun a saga; told in the request's own task.
    fn began(&self, saga: OrderId);

    /// A step was taken.
    fn stepped(&self, taken: Taken<'_>);
}
