//! `holdfast doctor` over the real stores, and what a server makes of the same findings.

use serde_json::Value;

use crate::support::cluster_site::ClusterSite;
use crate::support::process::Invocation;
use crate::support::redis_cluster::closed_port;

/// The doctor, where an address is free and few files are needed.
pub(super) fn doctor(site: &ClusterSite, arguments: &[&str]) -> Invocation {
    let invocation = site.holdfast(&[&["doctor"], arguments].concat());
    invocation.env("HOLDFAST_SERVER__LISTEN", "127.0.0.1:0").env("HOLDFAST_SERVER__CONNECTIONS_MAX", "100")
}

/// What the doctor says in JSON, and its exit code.
pub(super) async fn diagnosis(invocation: Invocation) -> (Option<i32>, Vec<Value>) {
    let finished = invocation.arg("--json").run().await;
    let findings: Value = serde_json::from_str(&finished.stdout).expect("JSON, whatever there is to do");
    (finished.code, findings.as_array().expect("findings").clone())
}

/// The findings of a check: verdict, and detail with advice.
pub(super) fn of_check(findings: &[Value], check: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = findings.iter().filter(|finding| finding["check"] == check);
    found
        .map(|finding| {
            (text(&finding["verdict"]), format!("{}; {}", text(&finding["detail"]), text(&finding["advice"])))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_every_store_is_asked() {
    let site = ClusterSite::telling(&[]).await;
    let (code, findings) = diagnosis(doctor(&site, &[])).await;
    for (check, verdict, says) in [
        ("database members", "ok", "all 2 answer"),
        ("database version", "ok", "MySQL "),
        ("database durability", "ok", "sync_binlog = 1"),
        // A primary and a replica on this machine.
        ("database group", "warn", "nobody takes over by itself"),
        ("database clocks", "ok", "2 differ by at most"),
        ("database connections", "ok", "members let in 400"),
        ("database TLS", "warn", "ledger.ca_file"),
        ("gate nodes", "ok", "all 6 answer"),
        ("gate version", "ok", "Redis "),
        ("gate memory", "ok", "256 MiB"),
        ("gate durability", "ok", "within a second"),
        ("gate quorum", "warn", "all 3 votes"),
        ("gate clocks", "ok", "6 differ by at most"),
        ("event log brokers", "ok", "2 answer"),
        ("event log mode", "ok", "KRaft"),
        ("event log quorum", "warn", "all 3 votes"),
        ("event log topics", "ok", "2 copies each"),
        ("stores", "ok", "commit to the disk"),
        ("gate", "ok", "it answers"),
        ("payments", "ok", "answers"),
    ] {
        let found = of_check(&findings, check);
        assert_eq!(found.len(), 1, "{check}: {found:?}");
        assert!(found[0].0 == verdict && found[0].1.contains(says), "{check}: {found:?}");
    }
    assert_eq!(code, Some(0), "warnings are no failures: {findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_promises_more_connections_than_there_are_does_not_start() {
    let site = ClusterSite::with(&[("HOLDFAST_LEDGER__CONNECTIONS_MAX", "100000")]).await;
    let (code, findings) = diagnosis(doctor(&site, &[])).await;
    assert_eq!(code, Some(1), "{findings:?}");
    let found = of_check(&findings, "database connections");
    assert_eq!(found.len(), 2, "each of the members: {findings:?}");
    let (detail, advice) = found[0].1.split_once("; ").expect("detail and advice");
    site.shop().run().await.refused(&["FAIL database connections", detail, advice]);
    let opened = of_check(&findings, "stores");
    assert!(opened[0].1.contains("not opened"), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_named_and_the_shop_opens_without_them() {
    let site = ClusterSite::new().await;
    let gone = format!("127.0.0.1:{}", closed_port().await);
    let all = site.database.url_of_all();
    let (members, name) = all.rsplit_once('/').expect("a URL with a database");
    let site = site.with_ledger_at(&format!("{members},{gone}/{name}"));
    let kafka = ("HOLDFAST_EVENTS__URL", format!("kafka://{gone}"));
    let (code, findings) = diagnosis(doctor(&site, &[]).envs(std::slice::from_ref(&kafka))).await;
    assert_eq!(code, Some(1), "{findings:?}");
    for (check, verdict) in [("database members", "warn"), ("event log brokers", "fail")] {
        let found = of_check(&findings, check);
        assert!(found.len() == 1 && found[0].0 == verdict, "{check}: {found:?}");
    }
    assert!(of_check(&findings, "database members")[0].1.contains(&gone));
    let since = tokio::time::Instant::now();
    let server = site.shop().envs(&[kafka]).open().await;
    assert!(since.elapsed() < std::time::Duration::from_secs(8), "{:?}", since.elapsed());
    server.stop().await;
}
