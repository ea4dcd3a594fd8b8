//! Services that go away in the middle of a sale. These tests stop what others use, so they run alone.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::domain::ProductId;
use holdfast::ports::ledger::Role;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::buyers::{Buyers, Clients, body_of, goods, seed};
use crate::support::cluster_site::ClusterSite;
use crate::support::process::{PATIENCE, Server};
use crate::support::{redis_cluster, wait_for};

const BUYERS: usize = 8;

const TOKENS: &[&str] = &["tok_declined", "tok_timeout_after", "tok_late", "tok_duplicate"];

pub(super) const SETTINGS: [(&str, &str); 4] = [
    ("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", "5"),
    ("HOLDFAST_PAYMENTS__FAULTS__TIMEOUT_MS", "50"),
    ("HOLDFAST_PAYMENTS__FAULTS__LATE_MS", "120"),
    ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "5000"),
];

/// Within which time sales go on when a service is there again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Where MySQL of `cargo xtask services` is.
const PRIMARY: &str = "127.0.0.1:13306";

/// `cargo xtask services` with these arguments.
fn services(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["xtask", "services"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "services {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The services, all of which run again when it is dropped.
pub(super) struct Services;

impl Services {
    pub(super) fn of_ours() -> Self {
        let ours = |name: &str, port: &str| std::env::var(name).map_or(true, |url| url.contains(port));
        assert!(
            ours("HOLDFAST_TEST_MYSQL", PRIMARY)
                && ours("HOLDFAST_TEST_REDIS", "127.0.0.1:17001")
                && ours("HOLDFAST_TEST_KAFKA", "127.0.0.1:19092"),
            "these tests stop services and start them again, so they need those of `cargo xtask services`"
        );
        services(&["status"]);
        Self
    }

    pub(super) async fn each(&self, verb: &'static str, names: &[String]) {
        let names = names.to_vec();
        let work = move || names.iter().for_each(|name| services(&[verb, name]));
        tokio::task::spawn_blocking(work).await.expect("it works");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        services(&["up"]);
    }
}

fn nodes() -> Vec<String> {
    (1..=6).map(|n| format!("redis-{n}")).collect()
}

/// Whether every node of the Redis Cluster says that the cluster works.
async fn redis_works() -> bool {
    for port in 17_001..=17_006 {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("an address");
        let Ok(mut node) = client.get_multiplexed_async_connection().await else { return false };
        let state: Result<String, _> = redis::cmd("CLUSTER").arg("INFO").query_async(&mut node).await;
        if !state.is_ok_and(|state| state.contains("cluster_state:ok")) {
            return false;
        }
    }
    true
}

/// A sale with two servers in the middle of which something happens; afterwards all is as it should be.
pub(super) async fn sale_through<T>(
    site: &ClusterSite,
    trouble: impl AsyncFnOnce(&Buyers, &[Server; 2], &mut ChaCha8Rng) -> T,
) -> T {
    let seed = seed();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let goods = goods();
    let ids = site.import(&goods).await;
    let servers = site.open_two().await;
    let mut buyers = Buyers::begin(site, &ids, seed, BUYERS, TOKENS, &[&servers[0], &servers[1]]).await;
    buyers.sell(100).await;
    let done = trouble(&buyers, &servers, &mut dice).await;
    buyers.sell(100).await;
    buyers.come_to_an_end(site).await;
    let books = site.closed_and_balanced(servers, &goods).await;
    buyers.assert_in(&books);
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_everything_in_the_middle_of_a_sale_does_no_harm() {
    let site = ClusterSite::with(&SETTINGS).await;
    let _services = Services::of_ours();
    sale_through(&site, async |buyers, _, dice| {
        for _ in 0..5 {
            let since = Instant::now();
            for master in redis_cluster::a_product_on_each_master().await.into_keys() {
                let client = redis::Client::open(format!("redis://{master}")).expect("an address");
                let mut node = client.get_multiplexed_async_connection().await.expect("the node answers");
                redis::cmd("FLUSHALL").query_async::<()>(&mut node).await.expect("it forgets");
            }
            buyers.sell(1).await;
            let first = since.elapsed();
            buyers.sell(100).await;
            let pause = buyers.longest_pause_since(since);
            eprintln!("after FLUSHALL: a sale within {first:?}, longest pause {pause:?}");
            assert!(pause < BACK_WITHIN);
            tokio::time::sleep(Duration::from_micros(dice.random_range(0..300_000))).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_for_20_seconds_stops_the_sale_and_does_no_harm() {
    let site = ClusterSite::with(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, _, _| {
        running.each("kill", &nodes()).await;
        let since = Instant::now();
        wait_for("20 seconds to pass", PATIENCE, async || since.elapsed() >= Duration::from_secs(20)).await;
        let before = buyers.confirmed();
        let nodes = nodes();
        let starting = running.each("start", &nodes);
        let works = async {
            wait_for("Redis to work", PATIENCE, redis_works).await;
            (Instant::now(), buyers.confirmed())
        };
        let ((), (back, sold)) = tokio::join!(starting, works);
        eprintln!("Redis was gone for {:?}; {} sales before all of it was back", back - since, sold - before);
        if sold == before {
            buyers.sell(1).await;
        }
        let first = back.elapsed();
        buyers.sell(100).await;
        eprintln!("a sale {first:?} after Redis was back, 100 after {:?}", back.elapsed());
        assert!(first < BACK_WITHIN);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_master_killed_while_it_reserves_is_replaced_and_nothing_is_oversold() {
    let site = ClusterSite::with(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, servers, dice| {
        // Products 11 to 20 are those of which there is enough.
        let keys: Vec<String> = (11..=20).map(|id| format!("{{{id}}}")).collect();
        let masters = redis_cluster::masters_of(&keys).await;
        let chosen = dice.random_range(0..masters.len());
        let product = ProductId(11 + i64::try_from(chosen).expect("few"));
        let (_, port) = masters[chosen].rsplit_once(':').expect("an address");
        let node = vec![format!("redis-{}", port.parse::<u16>().expect("a port") - 17_000)];
        running.each("kill", &node).await;
        let since = Instant::now();
        let (mut clients, body) = (Clients::default(), body_of(&[(product.0, 1)].into(), None));
        let mut tries = 0;
        wait_for("a sale of a product of the master that died", PATIENCE, async || {
            tries += 1;
            let (server, key) = (&servers[tries % 2], format!("probe-{tries}"));
            let answer = clients.order(&server.target, site.customers()(1), &key, &body).await;
            answer.is_ok_and(|(status, _)| status == 201)
        })
        .await;
        eprintln!("{} ({product}): the first sale {:?} after it was killed", node[0], since.elapsed());
        eprintln!("the longest pause of the whole sale was {:?}", buyers.longest_pause_since(since));
        assert!(since.elapsed() < Duration::from_secs(15));
        buyers.sell(100).await;
        running.each("start", &node).await;
        buyers.sell(100).await;
    })
    .await;
}

/// A process that stands still until this is dropped.
struct Still(Pid);

impl Still {
    fn begin(pid: Pid) -> Self {
        kill_process(pid, Signal::STOP).expect("it stands still");
        Self(pid)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("it goes on");
    }
}

/// The process of the node at an address.
async fn pid_of(node: &str) -> Pid {
    let client = redis::Client::open(format!("redis://{node}")).expect("an address");
    let mut node = client.get_multiplexed_async_connection().await.expect("the node answers");
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut node).await.expect("it tells");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("its process");
    Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process")
}

/// Within which time sales go on when a node falls silent: two for the cluster to notice, two to elect, and some to
/// find out.
const REPLACED_WITHIN: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_master_that_falls_silent_is_replaced_and_sales_go_on() {
    let site = ClusterSite::with(&SETTINGS).await;
    let _services = Services::of_ours();
    sale_through(&site, async |buyers, servers, _| {
        let keys: Vec<String> = (11..=20).map(|id| format!("{{{id}}}")).collect();
        let masters = redis_cluster::masters_of(&keys).await;
        let other = (0..10).find(|n| masters[*n] != masters[0]).expect("products of two masters");
        let (silent, other) = (11, 11 + i64::try_from(other).expect("few"));
        let still = Still::begin(pid_of(&masters[0]).await);
        let since = Instant::now();
        let probe = async |product: i64, until: &AtomicBool, done: &AtomicBool| {
            let (mut clients, body) = (Clients::default(), body_of(&[(product, 1)].into(), None));
            let (mut last, mut longest, mut n) = (Instant::now(), Duration::ZERO, 0);
            while !until.load(Ordering::Relaxed) {
                n += 1;
                let key = format!("probe-{product}-{n}");
                let target = &servers[n % 2].target;
                let answer = clients.order(target, site.customers()(product), &key, &body).await;
                if answer.is_ok_and(|(status, _)| status == 201) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    done.store(true, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            longest.max(last.elapsed())
        };
        let (sold, enough) = (AtomicBool::new(false), AtomicBool::new(false));
        let watch = async {
            wait_for("a sale of a product of the silent master", PATIENCE, async || {
                sold.load(Ordering::Relaxed)
            })
            .await;
            enough.store(true, Ordering::Relaxed);
            since.elapsed()
        };
        let ignored = AtomicBool::new(false);
        let (_, longest, first) =
            tokio::join!(probe(silent, &enough, &sold), probe(other, &enough, &ignored), watch);
        eprintln!(
            "what the silent master had is sold after {first:?}; the others' longest pause was {longest:?}"
        );
        assert!(longest < REPLACED_WITHIN && first < REPLACED_WITHIN);
        drop(still);
        wait_for("Redis to work", PATIENCE, redis_works).await;
        buyers.sell(100).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_database_buyers_are_told_at_once_and_views_go_on() {
    let site = ClusterSite::with(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, servers, _| {
        const PRODUCT: &str = "/api/v1/products/15";
        let databases = ["mysql-primary", "mysql-replica"].map(str::to_owned);
        let mut client = servers[0].client(&site.token(77, Role::Customer)).await;
        let first = client.get(PRODUCT).await["as_of"].as_str().expect("a time").to_owned();
        running.each("kill", &databases).await;
        let since = Instant::now();
        wait_for("the door to be closed", PATIENCE, async || {
            let (status, body) = client.send("GET", "/readyz", None, None).await.expect("an answer");
            status == 503 && body["missing"] == "ledger"
        })
        .await;
        let closed = since.elapsed();
        let (mut view, mut refusal, mut shown) = (Duration::ZERO, Duration::ZERO, String::new());
        let account = json!({ "email": "late@example.org", "password": "long enough to be one" });
        // Views are shown for five seconds as they are, and longer when there is no newer one.
        while since.elapsed() < Duration::from_secs(9) {
            let asked = Instant::now();
            shown = client.get(PRODUCT).await["as_of"].as_str().expect("a time").to_owned();
            view = view.max(asked.elapsed());
            let asked = Instant::now();
            let (status, body) = client.order("in-vain", &body_of(&[(15, 1)].into(), None)).await.expect("an answer");
            assert_eq!(status, 503, "{body}");
            assert!(client.retry_after_s.is_some_and(|seconds| (1..=5).contains(&seconds)));
            refusal = refusal.max(asked.elapsed());
            let (status, body) = client.post("/api/v1/auth/register", &account).await;
            assert_eq!(status, 503, "{body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.each("start", &databases).await;
        let back = Instant::now();
        buyers.sell(1).await;
        eprintln!(
            "closed after {closed:?}, slowest view {view:?} and refusal {refusal:?}, figures of {first} shown as of \
             {shown}; a sale {:?} after the databases were back",
            back.elapsed()
        );
        assert!(closed < Duration::from_secs(4));
        assert!(view < Duration::from_secs(1) && refusal < Duration::from_secs(1));
        assert!(back.elapsed() < BACK_WITHIN);
        wait_for("the view is new again", PATIENCE, async || {
            client.get(PRODUCT).await["as_of"].as_str().is_some_and(|as_of| as_of > &*shown)
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_restarted_under_load_interrupts_the_sale_and_loses_nothing() {
    let site = ClusterSite::with(&SETTINGS).await;
    let running = Services::of_ours();
    sale_through(&site, async |buyers, _, _| {
        let primary = vec!["mysql-primary".to_owned()];
        for _ in 0..2 {
            running.each("kill", &primary).await;
            let since = Instant::now();
            running.each("start", &primary).await;
            let back = Instant::now();
            buyers.sell(1).await;
            let first = back.elapsed();
            eprintln!(
                "the primary was gone for {:?}; a sale {first:?} after it was back, longest pause {:?}",
                back - since,
                buyers.longest_pause_since(since)
            );
            assert!(first < BACK_WITHIN);
            buyers.sell(100).await;
        }
    })
    .await;
}

/// Stands before MySQL and cuts connections, whatever is on its way on them.
struct Cutter {
    port: u16,
    cut: broadcast::Sender<()>,
    /// Connections that were cut between a question and its answer.
    in_between: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Cutter {
    async fn before_primary(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, _) = broadcast::channel(4);
        let signal = cut.clone();
        let in_between = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&in_between);
        let accepting = tokio::spawn(async move {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let cuts = signal.subscribe();
                let dice = ChaCha8Rng::seed_from_u64(dice.random());
                tokio::spawn(pass_on(client, cuts, dice, Arc::clone(&count)));
            }
        });
        Self { port, cut, in_between, accepting }
    }

    /// Cuts most of the connections with something on their way, and some others.
    fn cut(&self) {
        // Nobody is connected: then there is nothing to cut.
        let _ = self.cut.send(());
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on in one direction, and says whether an answer is waited for from then on.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, waited_for: Arc<AtomicBool>, asks: bool) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        waited_for.store(asks, Ordering::Relaxed);
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Passes bytes on until the connection is cut: both ways at once, or the answers first.
async fn pass_on(
    client: TcpStream,
    mut cuts: broadcast::Receiver<()>,
    mut dice: ChaCha8Rng,
    in_between: Arc<AtomicUsize>,
) {
    let Ok(server) = TcpStream::connect(PRIMARY).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let waited_for = Arc::new(AtomicBool::new(false));
    let mut questions = tokio::spawn(pump(from_client, to_server, Arc::clone(&waited_for), true));
    let mut answers = tokio::spawn(pump(from_server, to_client, Arc::clone(&waited_for), false));
    let is_cut = async {
        while let Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) = cuts.recv().await {
            // Most are idle at any moment, and nothing is learned from those.
            if dice.random_bool(if waited_for.load(Ordering::Relaxed) { 0.9 } else { 0.2 }) {
                return;
            }
        }
    };
    tokio::select! {
        () = is_cut => {
            answers.abort();
            in_between.fetch_add(usize::from(waited_for.load(Ordering::Relaxed)), Ordering::Relaxed);
            if dice.random_bool(0.5) {
                // What was asked for is done, and nobody hears of it.
                let _ = tokio::time::timeout(Duration::from_millis(30), &mut questions).await;
            }
            questions.abort();
        }
        _ = &mut questions => answers.abort(),
        _ = &mut answers => questions.abort(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_cuts_of_the_connections_to_mysql_lose_nothing_and_sell_nothing_twice() {
    let cutter = Arc::new(Cutter::before_primary(seed()).await);
    let site = ClusterSite::with(&SETTINGS).await;
    let through = site.database.url().replace(PRIMARY, &format!("127.0.0.1:{}", cutter.port));
    let site = site.with_ledger_at(&through);
    let _services = Services::of_ours();
    sale_through(&site, async |buyers, _, dice| {
        let (since, before) = (Instant::now(), buyers.confirmed());
        for _ in 0..400 {
            cutter.cut();
            tokio::time::sleep(Duration::from_micros(dice.random_range(0..50_000))).await;
        }
        let in_between = cutter.in_between.load(Ordering::Relaxed);
        assert!(in_between > 0, "nothing was on its way when connections were cut");
        eprintln!(
            "400 cuts in {:?}, {in_between} before an answer: {} sales meanwhile, longest pause {:?}",
            since.elapsed(),
            buyers.confirmed() - before,
            buyers.longest_pause_since(since)
        );
    })
    .await;
}
