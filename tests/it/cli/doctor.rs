//! `holdfast doctor` on one machine.

use serde_json::Value;

use crate::support::process::{Invocation, Site};

/// The doctor, where an address is free and few files are needed.
fn doctor(site: &Site, arguments: &[&str]) -> Invocation {
    let invocation = site.holdfast(&[&["doctor"], arguments].concat());
    invocation.env("HOLDFAST_SERVER__LISTEN", "127.0.0.1:0").env("HOLDFAST_SERVER__CONNECTIONS_MAX", "100")
}

/// The finding of a check.
#[track_caller]
fn finding<'a>(findings: &'a Value, check: &str) -> &'a Value {
    let list = findings.as_array().expect("a list of findings");
    list.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}: {findings}"))
}

#[tokio::test]
async fn a_sound_shop_has_nothing_to_do_whether_it_runs_or_not() {
    let site = Site::new();
    let stopped = doctor(&site, &[]).run().await;
    assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), ""), "{stopped:?}");
    for check in ["configuration", "stores", "file durability", "payments", "address", "disk", "open files"] {
        let line = format!("ok   {check:<20} ");
        assert!(stopped.stdout.lines().any(|found| found.starts_with(&line)), "{check}: {}", stopped.stdout);
    }
    let server = site.shop().open().await;
    let running = doctor(&site, &["--json"]).run().await.json();
    assert!(running.as_array().is_some_and(|findings| findings.iter().all(|found| found["verdict"] == "ok")));
    let stores = finding(&running, "stores")["detail"].as_str();
    assert!(stores.is_some_and(|detail| detail.contains("running shop")), "{running}");
    assert!(
        finding(&running, "file durability")["detail"].as_str().is_some_and(|detail| detail.contains("WAL"))
    );
    server.stop().await;
}

#[tokio::test]
async fn what_has_to_be_done_is_one_line_that_says_what() {
    let site = Site::new();
    let few_files = doctor(&site, &[]).env("HOLDFAST_SERVER__CONNECTIONS_MAX", "1000000000");
    let findings = few_files.run().await;
    assert_eq!(findings.code, Some(1), "{findings:?}");
    let failed: Vec<_> = findings.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{}", findings.stdout);
    assert!(failed[0].starts_with("FAIL open files "), "{}", failed[0]);
    assert!(failed[0].ends_with("; ulimit -n 1000000100, or lower server.connections_max"), "{}", failed[0]);

    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let findings = doctor(&site, &["--json"]).env("HOLDFAST_SERVER__LISTEN", &address).run().await;
    assert_eq!(findings.code, Some(1), "{findings:?}");
    let findings: Value = serde_json::from_str(&findings.stdout).expect("JSON");
    let finding = finding(&findings, "address");
    assert_eq!(
        (&finding["verdict"], &finding["advice"]),
        (&"fail".into(), &"choose another with --listen".into())
    );
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_found_and_nothing_is_opened() {
    for (name, value, says) in [
        ("HOLDFAST_SALE__LINES", "3", "lines"),
        ("HOLDFAST_GATE__URL", "paper:", "gate.url"),
        ("HOLDFAST_LEDGER__URL", "mysql://holdfast@localhost/holdfast", "both"),
    ] {
        let site = Site::new();
        let findings = doctor(&site, &["--json"]).env(name, value).run().await;
        assert_eq!(findings.code, Some(1), "{findings:?}");
        let findings: Value = serde_json::from_str(&findings.stdout).expect("JSON");
        let finding = finding(&findings, "configuration");
        assert!(finding["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{finding}");
        assert_eq!(finding["verdict"], "fail");
        assert!(!site.data().exists(), "{name}");
    }
}

#[tokio::test]
async fn what_is_no_command_of_the_doctor_is_refused() {
    Site::new().holdfast(&["doctor", "--thoroughly"]).run().await.refused(&["--thoroughly"]);
}
