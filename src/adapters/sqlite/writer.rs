//! Group commit: one thread owns the writing connection and commits whatever is waiting at once.
//!
//! While a commit is on its way to the disk the next jobs queue up, and all of them share the next
//! commit. A job alone is a group of one: nobody waits for company.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Jobs that may share one commit. Jobs are whole batches, so few are enough.
const JOBS_PER_COMMIT_MAX: usize = 256;

/// Jobs that may wait. Above it the caller is told at once.
const QUEUE_MAX: usize = 4_096;

/// Why a job has no answer. Unless it says otherwise, its effect may or may not be there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    #[error("too much is waiting to be written")]
    QueueFull,
    #[error("the store is closed")]
    Closed,
    /// Nothing of the job was changed.
    #[error("the job panicked")]
    Panicked,
    #[error("{0}")]
    Sqlite(String),
}

/// The one writer of a store file. Closing waits for what is queued.
pub struct Writer {
    queue: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread `name` that owns `connection`.
    pub fn start(name: &str, connection: Connection) -> Self {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let database = name.to_owned();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || commit_groups(&database, &connection, &jobs))
            .expect("a thread can be started");
        Self { queue: Some(queue), thread: Some(thread) }
    }

    /// Runs `work` inside the next commit and answers after it. When `work` fails, only its own
    /// changes are rolled back. It may be run twice: when another job of its group fails, the group
    /// is rolled back and each job gets a transaction of its own.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write<T, F>(&self, work: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { work, result: None, reply });
        match self.queue.as_ref().ok_or(WriteError::Closed)?.try_send(job) {
            Ok(()) => answer.await.map_err(|_| WriteError::Closed)?,
            Err(TrySendError::Full(_)) => Err(WriteError::QueueFull),
            Err(TrySendError::Disconnected(_)) => Err(WriteError::Closed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Something to do inside a transaction, and somebody to tell after it.
trait Job: Send {
    /// Makes the changes; whether they may stay.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the caller.
    fn finish(self: Box<Self>, commit: Result<(), WriteError>);
}

struct Call<T, F> {
    work: F,
    result: Option<rusqlite::Result<T>>,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // A panic is the failure of this job alone: what it changed is rolled back, and the thread
        // goes on for everybody else.
        let run = std::panic::AssertUnwindSafe(|| (self.work)(connection));
        self.result = std::panic::catch_unwind(run).ok();
        self.result.as_ref().is_some_and(Result::is_ok)
    }

    fn finish(self: Box<Self>, commit: Result<(), WriteError>) {
        let result = match (self.result, commit) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(WriteError::Sqlite(error.to_string())),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(WriteError::Panicked),
        };
        // Nobody may be waiting any more; the effect stands all the same.
        let _ = self.reply.send(result);
    }
}

fn commit_groups(database: &str, connection: &Connection, jobs: &Receiver<Box<dyn Job>>) {
    let mut group = Vec::new();
    let labels = [("database", database.to_owned())];
    while let Ok(first) = jobs.recv() {
        group.push(first);
        while group.len() < JOBS_PER_COMMIT_MAX {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        let begun = Instant::now();
        let committed = commit(connection, &mut group);
        metrics::histogram!("holdfast_db_commit_duration_seconds", &labels).record(begun.elapsed());
        metrics::histogram!("holdfast_db_commit_batch_size", &labels).record(group.len() as f64);
        match committed {
            // A savepoint for each job would spare the others this, at the price of a copy of every
            // page that it changes; jobs hardly ever fail.
            Ok(false) if group.len() > 1 => {
                for mut job in group.drain(..) {
                    let result = commit(connection, std::slice::from_mut(&mut job)).map(drop);
                    job.finish(result);
                }
            }
            result => {
                let result = result.map(drop);
                group.drain(..).for_each(|job| job.finish(result.clone()));
            }
        }
    }
    // SQLite does this by itself only when a writer is the last to close, and here readers are. After an
    // orderly end the file alone is whole: whoever copies it without the log beside it loses nothing.
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    if !matches!(emptied, Ok(false)) {
        tracing::warn!(?emptied, "the log of a store could not be emptied; keep it beside the store");
    }
}

/// Runs all jobs in one transaction; `false` when one of them failed and nothing was changed.
fn commit(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<bool, WriteError> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop);
    let committed = run("BEGIN IMMEDIATE").and_then(|()| {
        let all = group.iter_mut().all(|job| job.run(connection));
        run(if all { "COMMIT" } else { "ROLLBACK" }).map(|()| all)
    });
    committed.map_err(|error| {
        tracing::error!(%error, jobs = group.len(), "a commit failed");
        // Some errors have ended the transaction already.
        if !connection.is_autocommit()
            && let Err(error) = run("ROLLBACK")
        {
            tracing::error!(%error, "a roll-back failed");
        }
        WriteError::Sqlite(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rows(writer: &Writer) -> i64 {
        writer.write(|c| c.query_row("SELECT count(*) FROM t", [], |row| row.get(0))).await.expect("counted")
    }

    #[tokio::test]
    async fn a_job_that_fails_or_panics_beside_others_changes_nothing_and_spares_them() {
        let connection = Connection::open_in_memory().expect("a store");
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").expect("a table");
        let writer = Writer::start("test", connection);
        let insert = |n: i64| move |c: &Connection| c.execute("INSERT INTO t VALUES (?)", [n]);
        for round in 0..50 {
            let n = round * 10;
            let fails = writer.write(move |c| insert(n + 1)(c).and_then(|_| insert(n)(c)));
            let panics = writer.write(move |c| -> rusqlite::Result<usize> {
                insert(n + 2)(c)?;
                panic!("on purpose");
            });
            let (first, fails, panics, last) =
                tokio::join!(writer.write(insert(n)), fails, panics, writer.write(insert(n + 3)));
            assert!(first.is_ok() && last.is_ok());
            assert!(matches!(fails, Err(WriteError::Sqlite(_))), "{fails:?}");
            assert!(matches!(panics, Err(WriteError::Panicked)), "{panics:?}");
            assert_eq!(rows(&writer).await, 2 * (round + 1));
        }
    }
}
