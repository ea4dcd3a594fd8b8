//! Checks that the files for containers agree with each other and with what the tests run.

use std::collections::BTreeSet;
use std::fs;

use crate::lab::placement::PLACES;

const COMPOSE: [&str; 2] = ["deploy/compose.yaml", "deploy/compose.six.yaml"];

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
    for compose in COMPOSE {
        let compose = read(compose);
        let images: BTreeSet<_> = between(&compose, "apache/kafka:", '\n').collect();
        assert_eq!(images, BTreeSet::from([version]));
    }
}

#[test]
fn one_machine_and_six_hosts_run_the_same_images() {
    let [one, six] = COMPOSE.map(read);
    let images = |text| between(text, "image: ", '\n').map(str::to_owned).collect::<BTreeSet<_>>();
    let (one, mut six) = (images(&one), images(&six));
    // Only hosts share an address.
    assert!(six.remove("holdfast-keepalived:local"));
    assert_eq!(one, six);
}

/// Hosts and ports that stand in quotation marks.
fn addresses(targets: &str) -> BTreeSet<(&str, u16)> {
    let quoted = targets.split('"').skip(1).step_by(2);
    quoted
        .filter_map(|address| address.split_once(':'))
        .filter_map(|(host, port)| Some((host, port.parse().ok()?)))
        .collect()
}

#[test]
fn everything_that_is_watched_is_there() {
    let [one, six] = ["one.yml", "six.yml"].map(|name| read(&format!("deploy/prometheus/targets/{name}")));
    let services = read(COMPOSE[0]);
    let is_service = |host: &str| host == "localhost" || services.contains(&format!("\n  {host}:\n"));
    let one = addresses(&one);
    assert!(one.len() > 20, "targets are found: {one:?}");
    let missing: Vec<_> = one.iter().filter(|(host, _)| !is_service(host)).collect();
    assert!(missing.is_empty(), "{missing:?}");

    // Each is at the address of a process, or shows its figures beside it.
    let inner = [("app-1", 8081), ("app-2", 8081)];
    let places: BTreeSet<_> = PLACES.iter().map(|place| (place.host, place.port)).chain(inner).collect();
    let six = addresses(&six);
    assert!(six.len() > 20, "targets are found: {six:?}");
    let missing: Vec<_> = six.difference(&places).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn one_machine_and_six_hosts_have_the_same_front() {
    let [one, six] = ["deploy/nginx/one.conf.template", "deploy/nginx/six.conf.template"].map(read);
    let lines = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(['#']) && !line.starts_with("resolver "));
        lines.filter(|line| !line.is_empty()).map(|line| line.replace(" resolve ", " ")).collect::<Vec<_>>()
    };
    assert_eq!(lines(&one), lines(&six));
    let names: BTreeSet<_> = between(&six, "${", '}').filter(|name| *name != "NAME").collect();
    assert!(names.len() > 5, "{names:?}");
    for compose in COMPOSE {
        let compose = read(compose);
        let missing: Vec<_> =
            names.iter().filter(|name| !compose.contains(&format!("    {name}: "))).collect();
        assert!(missing.is_empty(), "nginx is not told {missing:?}");
    }
}

/// Which process is on which of the six hosts.
fn placement() -> BTreeSet<(String, String)> {
    let compose = read("deploy/compose.six.yaml");
    let services = compose.split("\nservices:\n").nth(1).expect("services");
    let services = services.split("\nvolumes:\n").next().expect("services");
    let mut places = BTreeSet::new();
    let mut service = String::new();
    for line in services.lines() {
        if let Some(name) = line.strip_prefix("  ").filter(|name| name.starts_with(char::is_alphabetic)) {
            service = name.trim_end_matches(':').to_owned();
        }
        if let Some(profile) =
            line.strip_prefix("    profiles: [").and_then(|profile| profile.strip_suffix(']'))
        {
            places.insert((service.clone(), profile.to_owned()));
        }
    }
    places
}

#[test]
fn containers_are_where_the_table_has_them() {
    let places = PLACES.iter().map(|place| (place.name, place.host));
    // What is no part of any host.
    let places = places.chain([("redis-cluster", "cluster"), ("gateway", "gateway"), ("grafana", "grafana")]);
    let table: BTreeSet<_> = places.map(|(name, host)| (name.to_owned(), host.to_owned())).collect();
    assert_eq!(placement(), table);
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
    for compose in COMPOSE {
        let compose = read(compose);
        let mounted: Vec<_> = between(&compose, "- ./", ':').collect();
        assert!(mounted.len() > 10, "mounts are found: {mounted:?}");
        let missing: Vec<_> =
            mounted.iter().filter(|path| !crate::root().join("deploy").join(path).exists()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_examples_ask_for_every_secret_and_give_none() {
    for (compose, example) in COMPOSE.iter().zip(["deploy/.env.example", "deploy/.env.six.example"]) {
        let compose = read(compose);
        let required: BTreeSet<_> =
            between(&compose, "${", '}').filter_map(|name| Some(name.split_once(":?")?.0)).collect();
        let example = read(example);
        let lines = example.lines().filter(|line| !line.starts_with('#'));
        let given: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
        let missing: Vec<_> =
            required.iter().filter(|name| !given.iter().any(|(given, _)| given == *name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let is_secret = |name: &str| name.ends_with("SECRET") || name.ends_with("PASSWORD");
        let secrets: BTreeSet<_> = required.iter().filter(|name| is_secret(name)).collect();
        let empty: BTreeSet<_> =
            given.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name).collect();
        assert!(secrets.len() > 3, "secrets are found: {secrets:?}");
        assert_eq!(empty, secrets);
    }
}
