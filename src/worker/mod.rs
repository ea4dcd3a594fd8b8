//! What runs in the background: sagas that nobody drives, and holds that nobody wants.

mod recover_sagas;
mod sweep_holds;

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::saga::{Engine, Ports};

/// The background tasks of a shop.
pub struct Workers(Vec<JoinHandle<()>>);

/// Starts all of them.
pub fn start(engine: &Arc<Engine>, ports: &Ports) -> Workers {
    Workers(vec![
        tokio::spawn(recover_sagas::run(Arc::clone(engine))),
        tokio::spawn(sweep_holds::run(Arc::clone(engine), ports.clone())),
    ])
}

impl Workers {
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
