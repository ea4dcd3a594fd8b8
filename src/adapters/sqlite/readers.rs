//! Connections for reading beside the writer, in threads where they may block.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

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
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the store file at `path`.
    pub fn new(path: PathBuf) -> Self {
        let shared = Shared { path, idle: Mutex::default(), free: Arc::new(Semaphore::new(READERS_MAX)) };
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
        let permit = Arc::clone(&self.shared.free).acquire_owned().await;
        let permit = permit.map_err(|_| Unavailable("the store is closed".into()))?;
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let _permit = permit;
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => StoreFile::open_reader(&shared.path)?,
            };
            let result = query(&connection);
            if result.is_ok() {
                shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
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
