//! Connections for reading beside the writer, in threads where they may block.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::ports::Unavailable;

use super::StoreFile;

/// Reads that may run side by side; more of them only wait for the same processors.
const READERS_MAX: usize = 4;

/// A small pool of reading connections. Each sees everything committed before it began.
#[derive(Clone)]
pub struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// What the file is called in metrics.
    name: metrics::SharedString,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the store file at `path`.
    pub fn new(path: PathBuf) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = Arc::<str>::from(&*name).into();
        let free = Arc::new(Semaphore::new(READERS_MAX));
        let shared = Shared { path, name, idle: Mutex::default(), free };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `query` on one of the connections.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub async fn read<T, F>(&self, query: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let begun = Instant::now();
        let permit = Arc::clone(&self.shared.free).acquire_owned().await;
        let permit = permit.map_err(|_| Unavailable("the store is closed".into()))?;
        metrics::histogram!("holdfast_db_connection_wait_seconds").record(begun.elapsed());
        self.shared.show_connections();
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => StoreFile::open_reader(&shared.path)?,
            };
            let result = query(&connection);
            if result.is_ok() {
                shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            shared.show_connections();
            result
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => result.map_err(|error: rusqlite::Error| Unavailable(error.to_string())),
            // The program ends before the query has begun: there is nobody who could make something of that.
            Err(error) if error.is_cancelled() => std::future::pending().await,
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }
}

impl Shared {
    /// Shows how many of the connections are used.
    fn show_connections(&self) {
        let busy = READERS_MAX.saturating_sub(self.free.available_permits());
        for (state, connections) in [("busy", busy), ("idle", READERS_MAX - busy)] {
            metrics::gauge!("holdfast_db_connections", "database" => self.name.clone(), "state" => state)
                .set(connections as f64);
        }
        metrics::gauge!("holdfast_db_connections_max", "database" => self.name.clone())
            .set(READERS_MAX as f64);
    }
}
