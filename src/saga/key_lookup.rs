//! Asks the ledger what stands under customers' keys, many at a time: once something is sold out, everybody who comes
//! too late is such a question.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::ports::Unavailable;
use crate::ports::ledger::{KnownPurchase, Ledger, SoughtKey};

use super::stage::keep_working;

/// Keys that are asked for in one go.
const BATCH_MAX: usize = 256;

/// Two, so that one batch fills while the ledger answers the other.
const WORKERS: usize = 2;

type Answer = Result<Option<KnownPurchase>, Unavailable>;

struct Question {
    sought: SoughtKey,
    answer: oneshot::Sender<Answer>,
}

/// Where questions are put.
pub struct KeyLookup(mpsc::Sender<Question>);

impl KeyLookup {
    /// Starts the workers, which end when this is dropped. Where `waiting_max` questions wait, others wait to be put.
    pub fn start(ledger: &Arc<dyn Ledger>, waiting_max: usize) -> Self {
        let (sender, queue) = mpsc::channel(waiting_max);
        let (ledger, queue) = (Arc::clone(ledger), Arc::new(Mutex::new(queue)));
        // A panic loses a batch, whose customers hear that there was no answer.
        keep_working(WORKERS, "key lookup", move || work(Arc::clone(&ledger), Arc::clone(&queue)));
        Self(sender)
    }

    /// What stands under a key.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn find(&self, sought: SoughtKey) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || Unavailable("nobody looks for keys any more".to_owned());
        self.0.send(Question { sought, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn work(ledger: Arc<dyn Ledger>, queue: Arc<Mutex<mpsc::Receiver<Question>>>) {
    let mut questions = Vec::new();
    while queue.lock().await.recv_many(&mut questions, BATCH_MAX).await > 0 {
        let (sought, answers): (Vec<_>, Vec<_>) =
            questions.drain(..).map(|question| (question.sought, question.answer)).unzip();
        // Whoever has gone away meanwhile does not hear.
        match ledger.find_purchases(sought).await {
            Ok(found) => {
                answers.into_iter().zip(found).for_each(|(answer, found)| _ = answer.send(Ok(found)))
            }
            Err(error) => answers.into_iter().for_each(|answer| _ = answer.send(Err(error.clone()))),
        }
    }
}
