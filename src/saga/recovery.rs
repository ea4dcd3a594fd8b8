//! Sagas that exist in the ledger and that no task drives: taken up at start, after a failed worker,
//! and when an administrator resumes a stuck one. Those that wait for their customer are not among them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::{Hold, OrderId, OrderStatus, Phase, Saga, StepName};
use crate::ports::Unavailable;
use crate::ports::ledger::{OpenSaga, Progress};

use super::engine::Engine;
use super::stage::Run;
use super::ticket::Standing;

/// How long it is looked whether a retry has gone; after that the saga is found among the idle ones.
const RETRY_PATIENCE: Duration = Duration::from_secs(10);

/// Sagas looked at in one go.
const SAGAS_PER_LOOK: usize = 1_000;

impl Engine {
    /// For a shop of one process: takes up every saga that an earlier run left, and loads the gate from
    /// the ledger. Stuck ones keep their hold and wait. Returns how many were taken up.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn recover(self: &Arc<Self>) -> Result<usize, Unavailable> {
        let ports = &self.router.ports;
        let claimed = ports.ledger.claim_sagas(self.instance(), Duration::ZERO, ports.clock.now()).await?;
        ports.keeper.load_all().await?;
        Ok(self.take_up(claimed))
    }

    /// Takes over the sagas of servers that have not said for `silent` that they live. Returns how many
    /// were taken up.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn take_over(self: &Arc<Self>, silent: Duration) -> Result<usize, Unavailable> {
        let ports = &self.router.ports;
        let claimed = ports.ledger.claim_sagas(self.instance(), silent, ports.clock.now()).await?;
        Ok(self.take_up(claimed))
    }

    /// Drives claimed sagas on, stuck ones excepted.
    fn take_up(self: &Arc<Self>, claimed: Vec<OpenSaga>) -> usize {
        let unfinished: Vec<OpenSaga> = claimed.into_iter().filter(|open| open.stuck.is_none()).collect();
        let count = unfinished.len();
        // There may be more of them than may be in flight; buyers need not wait for the last one.
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            for open in unfinished {
                if let Err(error) = engine.adopt(&open).await {
                    tracing::error!(%error, "an unfinished saga could not be taken up; it is tried again later");
                }
            }
        });
        count
    }

    /// Takes up sagas that have not moved for `idle` and that no task of this process drives.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn recover_idle(&self, idle: Duration) -> Result<usize, Unavailable> {
        let ports = &self.router.ports;
        let before = ports.clock.now().minus(idle);
        let mut count = 0;
        for open in ports.ledger.idle_sagas(self.instance(), before, SAGAS_PER_LOOK).await? {
            count += usize::from(self.adopt(&open).await?.is_some());
        }
        Ok(count)
    }

    /// Takes a stuck saga up again; `false` when it is not stuck.
    ///
    /// # Errors
    /// The ledger or the gate does not answer.
    pub async fn resume(&self, saga: OrderId) -> Result<bool, Unavailable> {
        let ports = &self.router.ports;
        match ports.ledger.resume_saga(saga, self.instance(), ports.clock.now()).await? {
            None => Ok(false),
            Some(open) => {
                // Without room for it in time, it is found among the idle ones.
                let adopted = tokio::time::timeout(self.router.config.answer_within, self.adopt(&open)).await;
                adopted.unwrap_or(Ok(None)).map(|_| true)
            }
        }
    }

    /// The same for a saga that was just given to this instance. Under its customer's key a retry may be on its
    /// way here that is about to learn that it is not the saga's driver: it is waited for.
    ///
    /// # Errors
    /// The gate does not answer.
    pub(super) async fn adopt_soon(
        &self,
        open: OpenSaga,
    ) -> Result<Option<watch::Receiver<Standing>>, Unavailable> {
        let until = Instant::now() + RETRY_PATIENCE;
        let mut tries = 0;
        loop {
            if let Some(standing) = self.adopt(&open).await? {
                return Ok(Some(standing));
            }
            tries += 1;
            let pause = self.router.pause(tries);
            if Instant::now() + pause >= until {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Drives an existing saga on; `None` when a task of this process does so already.
    pub(super) async fn adopt(
        &self,
        open: &OpenSaga,
    ) -> Result<Option<watch::Receiver<Standing>>, Unavailable> {
        let router = &self.router;
        if router.desk.drives(open.order.id) {
            return Ok(None);
        }
        let (key, body) = (open.purchase.key, open.purchase.body);
        let Some(ticket) = router.desk.admit_existing(open.order.id, key, body).await else {
            return Ok(None);
        };
        let saga = saga_of(open);
        if open.order.status == OrderStatus::Pending {
            // The hold gets this driver, or is made good.
            if let Err(error) = router.ports.gate.ordered(&[Hold::of(&saga)]).await {
                tracing::warn!(%error, saga_id = %saga.id, "a hold could not be taken over");
            }
            ticket.pending(Arc::clone(&open.order));
        }
        let standing = ticket.subscribe();
        router.send(Run { saga, ticket });
        Ok(Some(standing))
    }
}

/// The saga where the ledger says it stands. What it had at the gateway is found out by repeating
/// the charge, or by voiding it.
fn saga_of(open: &OpenSaga) -> Saga {
    let mut saga = Saga::new(open.order.id, open.driver, Arc::clone(&open.purchase));
    saga.order = Some(Arc::clone(&open.order));
    saga.next_action.clone_from(&open.next_action);
    saga.cancels_confirmed = open.order.status == OrderStatus::Confirmed;
    saga.phase = match open.progress {
        Progress::Forward => Phase::Acting(StepName::TakePayment),
        Progress::Undoing(reason) => Phase::Undoing(StepName::TakePayment, reason),
    };
    saga
}
