//! Checks that the files for containers agree with each other and with what the tests run.

use std::collections::BTreeSet;
use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(crate::root().join(path)).expect(path)
}

fn between<'t>(text: &'t str, before: &str, after: char) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

#[test]
fn containers_have_the_kafka_of_the_tests() {
    let pom = read("deploy/kafka/pom.xml");
    let server = between(&pom, "<artifactId>kafka_2.13</artifactId>", '/').next().expect("the server");
    let version = between(server, "<version>", '<').next().expect("its version");
    let compose = read("deploy/compose.yaml");
    let images: Vec<_> = between(&compose, "apache/kafka:", '\n').collect();
    assert_eq!(images, [version]);
}

#[test]
fn containers_are_built_with_the_oldest_compiler_that_will_do() {
    let manifest = read("Cargo.toml");
    let dockerfile = read("Dockerfile");
    let wanted = between(&manifest, "rust-version = \"", '"').next();
    assert_eq!(between(&dockerfile, "FROM rust:", '-').next(), wanted);
}

#[test]
fn every_file_that_a_container_mounts_is_there() {
    let compose = read("deploy/compose.yaml");
    let mounted: Vec<_> = between(&compose, "- ./", ':').collect();
    assert!(mounted.len() > 10, "mounts are found: {mounted:?}");
    let missing: Vec<_> =
        mounted.iter().filter(|path| !crate::root().join("deploy").join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_example_asks_for_every_secret_and_gives_none() {
    let compose = read("deploy/compose.yaml");
    let required: BTreeSet<_> =
        between(&compose, "${", '}').filter_map(|name| Some(name.split_once(":?")?.0)).collect();
    let example = read("deploy/.env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#'));
    let empty: BTreeSet<_> = lines.filter_map(|line| line.strip_suffix('=')).collect();
    assert!(required.len() > 3, "secrets are found: {required:?}");
    assert_eq!(empty, required);
}
