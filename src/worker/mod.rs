//! What runs in the background: signs of life, sagas that nobody drives or that wait for their customers, holds
//! that nobody wants, the comparison of gate and ledger; events on their way to the log, mails on their way to
//! customers, webhooks on their way to the shop's owners; and what is measured from time to time.

pub mod check_books;
mod heartbeat;
mod look_at_waiting;
mod reconcile_stock;
mod recover_sagas;
pub mod relay_outbox;
pub mod send_mails;
pub mod send_webhooks;
mod sweep_holds;
pub mod watch_backlog;
pub mod watch_parts;
pub mod watch_process;
pub mod watch_sagas;

pub use look_at_waiting::listen as listen_for_customers;
pub use relay_outbox::ROOM as RELAY_ROOM;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::saga::{Engine, Ports};

/// The background tasks of a shop.
#[derive(Default)]
pub struct Workers(Vec<JoinHandle<()>>);

/// When the tasks do what they do.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Whether other servers use the same stores.
    pub several_servers: bool,
    /// A server that has not said for so long that it lives has died.
    pub dead_after: Duration,
    /// Pause between two comparisons of gate and ledger.
    pub compare_every: Duration,
}

/// Starts those that look after sagas and stock.
pub fn start(engine: &Arc<Engine>, ports: &Ports, schedule: Schedule) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![
        tokio::spawn(recover_sagas::run(Arc::clone(engine))),
        tokio::spawn(look_at_waiting::run(Arc::clone(engine))),
        tokio::spawn(sweep_holds::run(Arc::clone(engine), ports.clone())),
        tokio::spawn(reconcile_stock::run(ports.clone(), schedule.compare_every)),
    ];
    if schedule.several_servers {
        tasks.push(tokio::spawn(heartbeat::run(Arc::clone(engine), ports.clone(), schedule.dead_after)));
    }
    tasks
}

impl Workers {
    /// Tasks that run until they are stopped.
    pub fn new(tasks: Vec<JoinHandle<()>>) -> Self {
        Self(tasks)
    }

    /// Stops all of them, and waits until they have let go of the stores. Each can be stopped between any two of
    /// its steps.
    pub async fn stop(mut self) {
        self.abort();
        for task in std::mem::take(&mut self.0) {
            // Whether it had ended by itself is all one.
            let _ = task.await;
        }
    }

    fn abort(&self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.abort();
    }
}
