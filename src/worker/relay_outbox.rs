//! Sends committed events to the event log: at once from memory, and what was missed from the outbox.
//!
//! Any server may send any entry, several may send the same one; but an entry goes out only after the one before
//! it of its saga is known to be in the log, so that the first of all copies come in order. What has no room in
//! memory is left to the outbox: this never holds more than a batch.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::consumers::BackOff;
use crate::domain::Event;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::event_log::EventLog;
use crate::ports::outbox::{Backlog, EntryKey};
use crate::telemetry::Traces;

/// Entries that may wait in memory.
pub const ROOM: usize = 4_096;

/// Entries sent in one go.
const BATCH: usize = 512;

/// Pause between two looks for what was missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is younger is left to the server that has committed it.
const MISSED_AFTER: Duration = Duration::from_secs(3);

/// Where events come from and where they go.
pub struct Relay {
    pub backlog: Arc<dyn Backlog>,
    pub log: Arc<dyn EventLog>,
    pub clock: Arc<dyn Clock>,
    pub traces: Traces,
    /// Entries of this server's commits.
    pub committed: mpsc::Receiver<Vec<Event>>,
}

/// Runs for ever.
pub async fn run(mut relay: Relay) {
    let mut back_off = BackOff::new(Arc::clone(&relay.clock));
    while let Err(error) = relay.log.prepare().await {
        tracing::warn!(%error, "the topics could not be made or looked at");
        back_off.pause().await;
    }
    back_off.reset();
    // Entries whose predecessor was in the batch before.
    let mut waiting: Vec<Vec<Event>> = Vec::new();
    let mut looked = Instant::now();
    loop {
        let done = match relay.next_batch(&mut waiting, looked + LOOK_EVERY).await {
            Some(batch) => relay.send_new(batch, &mut waiting).await,
            None => Ok(()),
        };
        let done = match done {
            Ok(()) if looked.elapsed() >= LOOK_EVERY => {
                looked = Instant::now();
                relay.send_missed().await
            }
            done => done,
        };
        match done {
            Ok(()) => back_off.reset(),
            Err(error) => {
                tracing::warn!(%error, "events could not be sent; they are kept in the outbox");
                back_off.pause().await;
            }
        }
    }
}

fn key(entry: &[Event]) -> Option<EntryKey> {
    entry.first().map(|event| (event.saga_id, event.sequence))
}

impl Relay {
    /// What was committed since, or nothing until then.
    async fn next_batch(&mut self, waiting: &mut Vec<Vec<Event>>, until: Instant) -> Option<Vec<Vec<Event>>> {
        let mut batch = std::mem::take(waiting);
        if batch.is_empty() {
            let patience = until.saturating_duration_since(Instant::now());
            let _ = timeout(patience, self.committed.recv_many(&mut batch, BATCH)).await;
        } else {
            while batch.len() < BATCH
                && let Ok(entry) = self.committed.try_recv()
            {
                batch.push(entry);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends entries of this server. Those that may not go yet are put into `waiting` when they follow one of this
    /// very batch, and left to the outbox when they follow another server's.
    async fn send_new(
        &self,
        batch: Vec<Vec<Event>>,
        waiting: &mut Vec<Vec<Event>>,
    ) -> Result<(), Unavailable> {
        let later: Vec<EntryKey> =
            batch.iter().filter_map(|entry| key(entry)).filter(|key| key.1 > 1).collect();
        let blocked: HashSet<EntryKey> = self.backlog.blocked(&later).await?.into_iter().collect();
        let mut sagas = HashSet::new();
        let mut now = Vec::with_capacity(batch.len());
        for entry in batch {
            let Some(key) = key(&entry) else { continue };
            if !sagas.insert(key.0) {
                waiting.push(entry);
            } else if !blocked.contains(&key) {
                now.push(entry);
            }
        }
        self.send(now).await
    }

    /// Sends what no server has sent, until there is nothing of it.
    async fn send_missed(&self) -> Result<(), Unavailable> {
        loop {
            let missed = self.backlog.unsent(self.clock.now().minus(MISSED_AFTER), BATCH).await?;
            let was_all = missed.len() < BATCH;
            metrics::counter!("holdfast_relay_missed_total").increment(missed.len() as u64);
            let mut rest = missed;
            while !rest.is_empty() {
                let mut sagas = HashSet::new();
                let (now, later) = rest
                    .into_iter()
                    .partition(|entry| key(entry).is_some_and(|(saga, _)| sagas.insert(saga)));
                self.send(now).await?;
                rest = later;
            }
            if was_all {
                return Ok(());
            }
        }
    }

    /// Sends entries of different sagas, and remembers that they were sent.
    async fn send(&self, entries: Vec<Vec<Event>>) -> Result<(), Unavailable> {
        if entries.is_empty() {
            return Ok(());
        }
        let keys: Vec<EntryKey> = entries.iter().filter_map(|entry| key(entry)).collect();
        let count: usize = entries.iter().map(Vec::len).sum();
        // An entry of both topics is sent topic by topic, each after the one before is there.
        let runs: Vec<Vec<Vec<Event>>> = entries
            .into_iter()
            .map(|entry| {
                let by_topic = entry.chunk_by(|a, b| a.body.topic() == b.body.topic());
                by_topic.map(<[Event]>::to_vec).collect()
            })
            .collect();
        for round in 0.. {
            let now: Vec<Event> = runs.iter().filter_map(|runs| runs.get(round)).flatten().cloned().collect();
            if now.is_empty() {
                break;
            }
            let publishing = self.traces.publishing(&now);
            self.log.publish(now).await?;
            if let Some(publishing) = publishing {
                publishing.done();
            }
        }
        self.backlog.mark_sent(&keys).await?;
        metrics::counter!("holdfast_relay_sent_events_total").increment(count as u64);
        Ok(())
    }
}
