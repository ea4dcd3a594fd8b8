//! Whether a store file keeps what was committed: for `holdfast doctor`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::ports::examination::Finding;

use super::file::configure;

const DURABILITY: &str = "file durability";

/// `PRAGMA synchronous` of a commit that is on the disk when it returns.
const FULL: i64 = 2;

/// Asks SQLite what it makes of the settings for these files, where they exist.
pub fn examine(files: &[&Path]) -> Vec<Finding> {
    let files: Vec<_> = files.iter().filter(|file| file.exists()).collect();
    let judge = |file: &&&Path| match question(file) {
        Ok((journal, synchronous)) => judged(file, &journal, synchronous),
        Err(error) => {
            let detail = format!("{}: {error}", file.display());
            Some(Finding::fail(DURABILITY, detail, "look at the file and its disk"))
        }
    };
    let wrong = files.iter().filter_map(judge).collect();
    Finding::all_well_unless(wrong, DURABILITY, || {
        format!("every commit of {} files is flushed (WAL, synchronous FULL)", files.len())
    })
}

/// Journal mode and synchronous of a connection such as the writer's.
fn question(file: &Path) -> rusqlite::Result<(String, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    configure(&connection)?;
    let journal = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok((journal, connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?))
}

fn judged(file: &Path, journal: &str, synchronous: i64) -> Option<Finding> {
    let file = file.display();
    if journal != "wal" {
        let detail = format!("{file} has the journal mode {journal}: its disk does not share memory");
        return Some(Finding::fail(DURABILITY, detail, "move data_dir to a disk of this machine"));
    }
    (synchronous < FULL).then(|| {
        let detail = format!("{file} is not flushed with every commit (synchronous {synchronous})");
        Finding::fail(DURABILITY, detail, "use a build of SQLite that takes PRAGMA synchronous = FULL")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::examination::Verdict;

    #[test]
    fn files_are_asked_and_what_is_not_flushed_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.sqlite3");
        Connection::open(&file).expect("a file").execute_batch("CREATE TABLE t (x)").expect("SQL");
        let findings = examine(&[&file, &directory.path().join("missing")]);
        assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Ok), "{}", findings[0]);
        assert!(findings[0].detail.contains("of 1 files"), "{}", findings[0]);

        std::fs::write(&file, "something else").expect("written");
        assert_eq!(examine(&[&file])[0].verdict, Verdict::Fail);
        for (journal, synchronous, wrong) in
            [("wal", 2, false), ("wal", 3, false), ("wal", 1, true), ("delete", 2, true)]
        {
            assert_eq!(judged(&file, journal, synchronous).is_some(), wrong, "{journal} {synchronous}");
        }
    }
}
