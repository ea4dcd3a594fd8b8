//! Two servers behind nginx over MySQL, Redis and Kafka, watched with all exporters: every panel of every dashboard has
//! something to draw.

use std::net::SocketAddr;

use holdfast::ports::ledger::Role;
use rustix::process::Signal;

use super::dashboards::queries;
use super::monitoring::{Monitoring, target, target_of};
use super::run::{Buyer, have_data};
use super::{program, shipped};
use crate::balancer::nginx::Nginx;
use crate::support::cluster_site::ClusterSite;
use crate::support::database::Database;
use crate::support::http_client::Client;
use crate::support::process::{Server, Site, Starting};
use crate::support::{free_address, kafka, redis_cluster};

/// The hosts and ports of a URL like `scheme://USER@HOST:PORT,HOST:PORT/PATH`.
fn addresses(url: &str) -> Vec<String> {
    let authority = url.split("://").last().and_then(|rest| rest.split('/').next()).unwrap_or(url);
    authority.rsplit('@').next().unwrap_or(authority).split(',').map(str::to_owned).collect()
}

/// An exporter of Debian's, at an address of its own.
fn exporter(
    site: &Site,
    name: &str,
    options: &[&str],
    environment: &[(&str, &str)],
) -> (SocketAddr, Starting) {
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    let program = program(name);
    let exporter = site.program(program.to_str().expect("a path in UTF-8"), options).arg(listen);
    let exporter = environment.iter().fold(exporter, |exporter, (name, value)| exporter.env(name, value));
    (address, exporter.start())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_something_to_draw() {
    let at_gateway = free_address().to_string();
    let payments = format!("http://{at_gateway}");
    let settings =
        [("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "1000"), ("HOLDFAST_PAYMENTS__URL", payments.as_str())];
    let site = ClusterSite::telling(&settings).await;
    let gateway = site.site.gateway_process(&at_gateway).await;
    site.import(&[("lantern".to_owned(), 1_000_000, 1_250), ("poster".to_owned(), 5, 300)]).await;
    let servers = site.open_two().await;
    let shops = servers.each_ref().map(Server::address);
    let nginx = Nginx::start(shops, 50).await;

    let blackbox = format!("--config.file={}", shipped("deploy/prometheus/blackbox.yml").display());
    let no_file = format!("--config.my-cnf={}", site.site.path("none").display());
    let of_mysql = [
        no_file.as_str(),
        "--mysqld.username=holdfast",
        "--tls.insecure-skip-verify",
        "--collect.slave_status",
        "--collect.perf_schema.replication_group_members",
    ];
    let password = Database::password();
    let exporters = [
        exporter(
            &site.site,
            "prometheus-mysqld-exporter",
            &of_mysql,
            &[("MYSQLD_EXPORTER_PASSWORD", &password)],
        ),
        exporter(&site.site, "prometheus-redis-exporter", &["--is-cluster"], &[("REDIS_ADDR", "")]),
        exporter(&site.site, "prometheus-blackbox-exporter", &[&blackbox], &[]),
        exporter(&site.site, "prometheus-node-exporter", &[], &[]),
    ];
    let [mysql, redis, blackbox, node] = exporters.each_ref().map(|(address, _)| *address);
    let targets = vec![
        target("holdfast", &shops.map(|address| address.to_string())),
        target("nginx", &[nginx.inner.to_string()]),
        target("node", &[node.to_string()]),
        target_of(mysql, "/probe", "", "mysql", &addresses(&site.database.url_of_all())),
        target_of(redis, "/scrape", "", "redis", &addresses(&redis_cluster::addresses())),
        target_of(blackbox, "/probe", "tcp", "kafka-brokers", &addresses(&kafka::url())),
        target_of(blackbox, "/probe", "tls", "certificate", &[nginx.customers.to_string()]),
    ];
    let of_us = targets.iter().map(|group| group["targets"].as_array().map_or(0, Vec::len)).sum::<usize>();
    let monitoring = Monitoring::start(&site.site, targets).await;
    monitoring.until_all_are_up(of_us + 2).await;

    let token = site.token(7, Role::Customer);
    let buyer = Buyer::start(Client::alternating(shops.to_vec(), Some(token)));
    have_data(&monitoring, queries("10s").into_iter()).await;
    assert_eq!(monitoring.broken_rules().await, [""; 0]);
    assert_eq!(monitoring.query("mysql_up == 0 or redis_up == 0 or probe_success == 0").await, []);
    buyer.stop().await;

    monitoring.stop().await;
    for (_, exporter) in exporters {
        exporter.kill().await;
    }
    nginx.stop().await;
    site.audited().await;
    for server in servers {
        server.stop().await;
    }
    gateway.stop(Signal::TERM).await;
}
