//! What the disk and SQLite allow: one table, no index, no thought.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::adapters::sqlite::StoreFile;

const FILE: StoreFile = StoreFile {
    name: "ceiling",
    application_id: 0x43_45_49_4c, // "CEIL"
    migrations: &["CREATE TABLE rows (id INTEGER PRIMARY KEY, filling BLOB NOT NULL) STRICT;"],
};

const ROWS_PER_COMMIT: u32 = 512;
const ROW_BYTES: usize = 400;

/// Rows a second for about `length`, each commit on the disk as the ledger's are.
pub fn sqlite_rows_per_second(directory: &Path, length: Duration) -> anyhow::Result<f64> {
    let mut connection = FILE.open(&directory.join("ceiling.sqlite3"))?;
    let filling = [b'x'; ROW_BYTES];
    let start = Instant::now();
    let mut rows = 0_u64;
    while start.elapsed() < length {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO rows (filling) VALUES (?)")?;
            for _ in 0..ROWS_PER_COMMIT {
                insert.execute([filling.as_slice()])?;
            }
        }
        transaction.commit()?;
        rows += u64::from(ROWS_PER_COMMIT);
    }
    Ok(rows as f64 / start.elapsed().as_secs_f64())
}
