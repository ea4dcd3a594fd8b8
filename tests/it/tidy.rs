//! Habits of this project that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its text.
fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                files.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "there is no source in {folder}");
    files
}

/// The lines of code, numbered from 1, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let without_comment = |line: &'_ str| line.find("//").map_or(line.len(), |comment| comment);
    (1..).zip(text.lines()).map(move |(number, line)| (number, &line[..without_comment(line)]))
}

/// Whether the word occurs in the line, not as part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_word);
        let after = line[at + word.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

/// Every place below the folders where code names one of the words.
fn places(folders: &[&str], words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| rust_files(folder)) {
        for (number, line) in code(&text) {
            for word in words.iter().filter(|word| names(line, word)) {
                places.push(format!("{}:{number} names {word}", path.display()));
            }
        }
    }
    places
}

#[track_caller]
fn assert_none(what: &str, places: &[String]) {
    assert!(places.is_empty(), "{what}:\n  {}", places.join("\n  "));
}

#[test]
fn the_inside_names_no_database_queue_or_web_framework() {
    let outside = ["sqlx", "rusqlite", "redis", "rdkafka", "axum", "opentelemetry"];
    let found = places(&["src/domain", "src/ports", "src/saga"], &outside);
    assert_none("the domain, the ports and the sagas know no adapter", &found);
}

#[test]
fn the_domain_does_no_io_and_waits_for_nothing() {
    let words = ["tokio", "async", "await", "async_trait", "futures_util", "SystemTime", "Instant"];
    assert_none("the domain is plain data", &places(&["src/domain"], &words));
    let io = ["std::fs", "std::net", "std::io", "std::env"];
    assert_none("the domain is plain data", &places(&["src/domain"], &io));
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let mut silent = Vec::new();
    for (path, text) in ["src", "tests", "xtask/src"].into_iter().flat_map(rust_files) {
        if !text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 8) {
            silent.push(path.display().to_string());
        }
    }
    assert_none("the first line says what the file is", &silent);
}

#[test]
fn lints_are_expected_and_not_allowed() {
    let mut allowed = Vec::new();
    for (path, text) in ["src", "tests", "xtask/src"].into_iter().flat_map(rust_files) {
        for (number, line) in code(&text) {
            // Put together, so that this line does not find itself.
            if [concat!("#[al", "low("), concat!("#![al", "low(")]
                .iter()
                .any(|attribute| line.contains(attribute))
            {
                allowed.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert_none("an exception that is no longer needed is noticed only when it is an expect", &allowed);
}

/// The names under `[section]` of `Cargo.toml`.
fn dependencies(section: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let header = format!("[{section}]");
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    let names: Vec<_> = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().trim_matches('"').to_owned())
        .collect();
    assert!(!names.is_empty(), "there are no {section}");
    names
}

fn unused(section: &str, folders: &[&str]) -> Vec<String> {
    let files: Vec<_> = folders.iter().flat_map(|folder| rust_files(folder)).collect();
    let is_used = |name: &str| {
        let name = name.replace('-', "_");
        files.iter().any(|(_, text)| code(text).any(|(_, line)| names(line, &name)))
    };
    dependencies(section).into_iter().filter(|name| !is_used(name)).collect()
}

#[test]
fn every_dependency_is_used() {
    assert_none("dependencies that nothing in src uses", &unused("dependencies", &["src"]));
    let for_tests = unused("dev-dependencies", &["tests", "src"]);
    assert_none("dependencies that no test uses", &for_tests);
}
