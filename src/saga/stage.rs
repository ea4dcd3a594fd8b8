//! A stage: one step, a bounded queue, and a few workers that each take what waits and run it in
//! one go. Nobody lingers for company: a saga alone is a batch of one.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::domain::{Outcome, Phase, Reason, Saga};
use crate::ports::saga_watcher::Taken;

use super::engine::Router;
use super::steps::Step;
use super::tally::count_step;
use super::ticket::Ticket;

/// A saga on its way, with its ticket.
pub struct Run {
    pub saga: Saga,
    pub ticket: Ticket,
}

/// Starts the workers of a stage. They end when the queue is closed.
pub fn start(step: Arc<dyn Step>, queue: mpsc::Receiver<Run>, workers: usize, router: &Arc<Router>) {
    let (queue, router) = (Arc::new(Mutex::new(queue)), Arc::clone(router));
    // A step that panics loses its batch, which recovery picks up from the ledger; the stage goes on.
    keep_working(workers, step.name().as_str(), move || {
        work(Arc::clone(&step), Arc::clone(&queue), Arc::clone(&router))
    });
}

/// Starts workers, each of which works until its work ends by itself, and begins it again after a panic.
pub fn keep_working<F>(workers: usize, what: &'static str, work: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    for _ in 0..workers {
        let work = work.clone();
        tokio::spawn(async move {
            loop {
                match tokio::spawn(work()).await {
                    Ok(()) => break,
                    // The process ends, and this task with it.
                    Err(error) if error.is_cancelled() => break,
                    Err(error) => tracing::error!(%error, what, "a worker failed"),
                }
            }
        });
    }
}

async fn work(step: Arc<dyn Step>, queue: Arc<Mutex<mpsc::Receiver<Run>>>, router: Arc<Router>) {
    let mut runs = Vec::new();
    loop {
        if queue.lock().await.recv_many(&mut runs, step.batch_max()).await == 0 {
            return;
        }
        let (mut acting, mut undoing) = (Batch::default(), Batch::default());
        for run in runs.drain(..) {
            match run.saga.phase {
                Phase::Acting(_) => acting.push(run, None),
                Phase::Undoing(_, reason) => undoing.push(run, Some(reason)),
                Phase::Stuck { .. } | Phase::Waiting | Phase::Ended(_) => {
                    debug_assert!(false, "only sagas with something to do are queued");
                }
            }
        }
        if !acting.sagas.is_empty() {
            let began = Instant::now();
            let outcomes = step.act(&mut acting.sagas).await;
            acting.show(&*step, false, began, &outcomes, &router);
            acting.route(outcomes, &router);
        }
        if !undoing.sagas.is_empty() {
            let began = Instant::now();
            let outcomes = step.undo(&mut undoing.sagas, &undoing.reasons).await;
            undoing.show(&*step, true, began, &outcomes, &router);
            undoing.route(outcomes, &router);
        }
    }
}

#[derive(Default)]
struct Batch {
    sagas: Vec<Saga>,
    reasons: Vec<Reason>,
    tickets: Vec<Ticket>,
}

impl Batch {
    fn push(&mut self, run: Run, reason: Option<Reason>) {
        self.sagas.push(run.saga);
        self.reasons.extend(reason);
        self.tickets.push(run.ticket);
    }

    /// Counts what came of a step, and shows it to whoever watches.
    fn show(&self, step: &dyn Step, undone: bool, began: Instant, outcomes: &[Outcome], router: &Router) {
        let took = began.elapsed();
        let taken = Taken { step: step.name(), undone, took, sagas: &self.sagas, outcomes };
        count_step(&taken);
        if let Some(watcher) = &router.ports.watcher {
            watcher.stepped(taken);
        }
    }

    fn route(self, outcomes: Vec<Outcome>, router: &Arc<Router>) {
        debug_assert_eq!(self.sagas.len(), outcomes.len(), "a step answers for every saga");
        for ((saga, ticket), outcome) in self.sagas.into_iter().zip(self.tickets).zip(outcomes) {
            router.route(Run { saga, ticket }, outcome);
        }
    }
}
