//! Kafka and consumers that go away, most in the middle of a sale. These tests stop what others use, so they run alone
//! (their names have `outages` in them).

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use super::outages::{SETTINGS, Services, sale_through};
use crate::support::cluster_site::ClusterSite;
use crate::support::exposition::Exposition;
use crate::support::process::Server;
use crate::support::wait_for;

/// How long Kafka is gone.
const GONE_FOR: Duration = Duration::from_secs(60);

/// A sale may take so long while Kafka is gone: nobody waits for it.
const SALES_PAUSE_MAX: Duration = Duration::from_secs(3);

/// What a server may grow by meanwhile.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

/// Memory that a server occupies.
fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line about memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn brokers() -> Vec<String> {
    (1..=2).map(|n| format!("kafka-{n}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_gone_for_a_minute_stops_no_sale_and_loses_no_event() {
    let site = ClusterSite::telling(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, servers, _| {
        buyers.sell(500).await;
        let before: Vec<u64> = servers.iter().map(resident_kib).collect();
        running.each("kill", &brokers()).await;
        let (since, sold) = (Instant::now(), buyers.confirmed());
        tokio::time::sleep(GONE_FOR).await;
        let sold = buyers.confirmed() - sold;
        let pause = buyers.longest_pause_since(since);
        let after: Vec<u64> = servers.iter().map(resident_kib).collect();
        eprintln!(
            "without Kafka for {GONE_FOR:?}: {sold} sales, longest pause {pause:?}, memory from {before:?} to {after:?} KiB"
        );
        assert!(pause < SALES_PAUSE_MAX, "{pause:?}");
        for (before, after) in before.iter().zip(&after) {
            assert!(after < &(before + GROWTH_MAX_KIB), "{before} KiB have become {after}");
        }
        running.each("start", &brokers()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_restarted_and_consumers_that_are_killed_lose_no_event() {
    let site = ClusterSite::telling(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, _, dice| {
        let roles = "relay,inventory,notification,analytics,coordination";
        for broker in brokers() {
            // A third server that only consumes is killed again and again meanwhile.
            let kills = async {
                for _ in 0..4 {
                    let consumer = site.shop().arg("--roles").arg(roles).open().await;
                    tokio::time::sleep(Duration::from_millis(dice.random_range(200..2_500))).await;
                    consumer.kill().await;
                }
            };
            tokio::join!(running.each("restart", std::slice::from_ref(&broker)), kills);
            eprintln!("{broker} was restarted, and 4 consumers were killed");
            buyers.sell(100).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_shows_that_a_broker_keeps_no_copies_any_more() {
    let site = ClusterSite::telling(&[]).await;
    let running = Services::of_ours();
    let server = site.open().await;
    let shows = async |whole, under_replicated| {
        wait_for("what is kept, and how often", Duration::from_secs(60), async || {
            let figures = Exposition::of(&server).await;
            let of = |state| figures.get(&format!("holdfast_event_log_partitions{{state=\"{state}\"}}"));
            (of("whole"), of("under_replicated"), of("offline"))
                == (Some(whole), Some(under_replicated), Some(0.0))
        })
        .await;
    };
    // Three partitions of four topics.
    shows(12.0, 0.0).await;
    running.each("kill", &brokers()[..1]).await;
    shows(0.0, 12.0).await;
    running.each("start", &brokers()[..1]).await;
    shows(12.0, 0.0).await;
    server.stop().await;
}
