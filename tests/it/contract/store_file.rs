//! Files that are no store of ours are named as such and stay as they are, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast::adapters::gateway::SimulatedGateway;
use holdfast::adapters::sqlite::{OpenError, SqliteLedger};
use holdfast::ports::clock::SystemClock;
use rusqlite::Connection;

use crate::support::goods::now;
use crate::support::shop::NO_FAULTS;

fn open_ledger(path: &Path) -> Result<(), OpenError> {
    SqliteLedger::open(path, now()).map(drop)
}

fn open_gateway(path: &Path) -> Result<(), OpenError> {
    SimulatedGateway::open(path, Arc::new(SystemClock), NO_FAULTS).map(drop)
}

/// Every file of a directory with its bytes.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    files.sort();
    files
}

/// Makes a file, opens it as either kind of store, and looks whether anything has changed.
fn refused(make: impl Fn(&Path), right: impl Fn(&OpenError) -> bool) {
    for open in [open_ledger, open_gateway] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.db");
        make(&path);
        let before = files(directory.path());
        for _ in 0..2 {
            let error = open(&path).expect_err("it is no store of ours");
            assert!(right(&error), "{error:?}");
            assert!(error.to_string().contains("file.db"), "the message names the file: {error}");
            assert!(files(directory.path()) == before, "something changed: {error}");
        }
    }
}

fn not_a_store(error: &OpenError) -> bool {
    matches!(error, OpenError::NotAStore { .. }) && error.to_string().contains("nothing was changed")
}

fn sql(path: &Path, sql: &str) {
    Connection::open(path).expect("it opens").execute_batch(sql).expect("SQL");
}

#[test]
fn garbage_is_not_a_store() {
    refused(
        |path| fs::write(path, "not a database, however long it is\n".repeat(500)).expect("written"),
        not_a_store,
    );
}

#[test]
fn another_programs_database_is_not_a_store() {
    refused(
        |path| sql(path, "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine');"),
        not_a_store,
    );
}

#[test]
fn another_programs_database_in_wal_mode_is_not_a_store() {
    let make = |path: &Path| sql(path, "PRAGMA journal_mode = WAL; CREATE TABLE notes (text TEXT);");
    refused(make, not_a_store);
}

#[test]
fn another_programs_empty_database_is_not_a_store() {
    refused(|path| sql(path, "PRAGMA application_id = 42; PRAGMA user_version = 1;"), not_a_store);
}

#[test]
fn a_ledger_is_no_gateway_file_and_the_other_way_round() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, gateway) = (directory.path().join("ledger.db"), directory.path().join("gateway.db"));
    open_ledger(&ledger).expect("a new ledger");
    open_gateway(&gateway).expect("a new gateway file");
    let before = files(directory.path());
    assert!(not_a_store(&open_gateway(&ledger).expect_err("it is a ledger")));
    assert!(not_a_store(&open_ledger(&gateway).expect_err("it is a gateway file")));
    assert!(files(directory.path()) == before, "something changed");
    open_ledger(&ledger).expect("it still opens");
    open_gateway(&gateway).expect("it still opens");
}

#[test]
fn a_store_of_a_newer_version_is_not_touched() {
    for open in [open_ledger, open_gateway] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.db");
        open(&path).expect("a new store");
        sql(&path, "PRAGMA user_version = 99; CREATE TABLE things_to_come (text TEXT);");
        let before = files(directory.path());
        let error = open(&path).expect_err("it is from the future");
        assert!(matches!(error, OpenError::Newer { found: 99, known: 1..9, .. }), "{error:?}");
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert!(files(directory.path()) == before, "something changed");
    }
}

#[test]
fn a_damaged_store_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file.db");
    open_ledger(&path).expect("a new ledger");
    let mut bytes = fs::read(&path).expect("a file");
    bytes[..16].fill(0);
    fs::write(&path, &bytes).expect("written");
    let error = open_ledger(&path).expect_err("its header is gone");
    assert!(not_a_store(&error), "{error:?}");
    assert!(fs::read(&path).expect("a file") == bytes, "something changed");
}

#[test]
fn a_directory_or_a_missing_directory_cannot_be_written() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path().to_owned(), directory.path().join("missing").join("file.db")] {
        let error = open_ledger(&path).expect_err("no file can be there");
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    }
    assert_eq!(files(directory.path()), []);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file.db");
    fs::write(&path, "").expect("written");
    open_ledger(&path).expect("a new ledger");
    open_ledger(&path).expect("the same ledger");
}

#[test]
fn a_new_store_is_configured_for_safety_and_speed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file.db");
    open_ledger(&path).expect("a new ledger");
    let connection = Connection::open(&path).expect("it opens");
    let setting = |name: &str| -> String {
        let value = connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.expect("a setting"))
    };
    assert_eq!((&*setting("page_size"), &*setting("journal_mode")), ("Integer(4096)", "Text(\"wal\")"));
}
