//! What runs in the background: signs of life, sagas that nobody drives or that wait for their customers, holds
//! that nobody wants, the comparison of gate and ledger.

mod heartbeat;
mod look_at_waiting;
mod reconcile_stock;
mod recover_sagas;
mod sweep_holds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::domain::OrderId;
use crate::saga::{Engine, Ports};

/// The background tasks of a shop.
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

/// Starts all of them.
pub fn start(engine: &Arc<Engine>, ports: &Ports, schedule: Schedule) -> Workers {
    let mut tasks = vec![
        tokio::spawn(recover_sagas::run(Arc::clone(engine))),
        tokio::spawn(look_at_waiting::run(Arc::clone(engine))),
        tokio::spawn(sweep_holds::run(Arc::clone(engine), ports.clone())),
        tokio::spawn(reconcile_stock::run(ports.clone(), schedule.compare_every)),
    ];
    if schedule.several_servers {
        tasks.push(tokio::spawn(heartbeat::run(Arc::clone(engine), ports.clone(), schedule.dead_after)));
    }
    Workers(tasks)
}

impl Workers {
    /// Goes on at once with orders whose customers have acted at a gateway in this process.
    pub fn listen(&mut self, engine: &Arc<Engine>, news: broadcast::Receiver<OrderId>) {
        self.0.push(tokio::spawn(look_at_waiting::listen(Arc::clone(engine), news)));
    }

    /// Stops all of them. Each can be stopped between any two of its steps.
    pub fn stop(&self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
