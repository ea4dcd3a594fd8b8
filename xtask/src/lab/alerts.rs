//! `cargo xtask lab alerts`: each of the four alerts that R34 asks for is made to fire by a real fault, and to clear
//! again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::placement::{host_of, process};
use super::watch::{Pace, Watch};
use super::{Lab, group, shop};
use crate::services::process::Process;
use crate::services::redis::Redis;
use crate::services::wait::{LIMIT, now, output, wait_for};
use crate::services::{Service as _, mysql, show};

/// How long an alert may take to fire, or to be over.
const ALERT_LIMIT: Duration = Duration::from_mins(4);

/// Pause between two looks at Alertmanager.
const PAUSE: Duration = Duration::from_secs(1);

/// More than a server has connections to a member.
const READERS: u32 = 400;

/// Products that one visitor looks at.
const LOOKS: u32 = 50_000;

/// Something that is wrong with the lab.
trait Fault {
    /// The alert that tells of it.
    const ALERT: &'static str;

    /// What it is, for people.
    const WHAT: &'static str;

    /// Breaks it, and keeps it broken when it is called again.
    ///
    /// # Errors
    /// It cannot be broken.
    fn keep_up(&mut self) -> Result<(), String>;

    /// # Errors
    /// It stays broken.
    fn mend(&mut self) -> Result<(), String>;
}

/// Makes the alerts fire, one after the other, in a lab that runs.
///
/// # Errors
/// An alert does not fire, or is not over when its fault is; one line says which.
pub fn run(lab: &Lab) -> Result<(), String> {
    let state = &lab.state;
    let watch = Watch::new(state, &super::deploy());
    watch.set_pace(Pace::Hurried)?;
    let tried = try_all(lab, state);
    let calm = watch.set_pace(Pace::Shipped);
    tried.and(calm)
}

fn try_all(lab: &Lab, state: &Path) -> Result<(), String> {
    let _buyers = Background::start(&mut buyers(state)?)?;
    try_one(state, SilentGateway { state: state.to_owned() })?;
    try_one(state, ManyProducts { server: server(state), visitors: Vec::new(), next: 1_000_000 })?;
    try_one(state, KeptLock { state: state.to_owned(), primary: primary(lab)? })?;
    let token = output(
        holdfast(state, "token")?.args(["--user", "1", "--role", "customer"]),
        "holdfast token",
        LIMIT,
    )?;
    // It may be another one by now.
    let primary = process(primary(lab)?, state);
    try_one(state, LockedOrders { server: server(state), token, primary, session: None, readers: None })
}

/// Breaks something until its alert fires, mends it, and waits until the alert is over.
fn try_one<F: Fault>(state: &Path, mut fault: F) -> Result<(), String> {
    show(&format!("{} … ", F::WHAT));
    let fired = until(state, F::ALERT, true, || fault.keep_up());
    // Also when it did not fire.
    let mended = fault.mend();
    let fired_after_s = fired?;
    mended?;
    let over_after_s = until(state, F::ALERT, false, || Ok(()))?;
    show(&format!("{} fired after {fired_after_s} s, and was over {over_after_s} s after that\n", F::ALERT));
    Ok(())
}

/// Waits until Alertmanager has an alert on its list, or no longer has it. Returns how many seconds that took.
fn until(
    state: &Path,
    alert: &str,
    is_there: bool,
    mut meanwhile: impl FnMut() -> Result<(), String>,
) -> Result<u64, String> {
    let began = now();
    let what = format!("{alert} to {}", if is_there { "fire" } else { "be over" });
    let url = format!("http://{}/api/v2/alerts?active=true", process("alertmanager", state).address());
    wait_for(&what, ALERT_LIMIT, || {
        meanwhile()?;
        thread::sleep(PAUSE);
        let listed = output(Command::new("curl").args(["--silent", "--fail", &url]), "curl", LIMIT)?;
        Ok(listed.contains(&format!("\"alertname\":\"{alert}\"")) == is_there)
    })?;
    Ok(began.elapsed().as_secs())
}

/// A program that runs until it is dropped.
struct Background(Child);

impl Background {
    fn start(command: &mut Command) -> Result<Self, String> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child
            .map(Self)
            .map_err(|error| format!("{} could not be started: {error}", command.get_program().display()))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(state: &Path) -> String {
    format!("http://{}", process(shop::SERVERS[0], state).address())
}

fn holdfast(state: &Path, command: &str) -> Result<Command, String> {
    let mut holdfast = Command::new(shop::program(state)?);
    holdfast.arg(command).arg("--config").arg(shop::config(state));
    Ok(holdfast)
}

/// Those who buy and look meanwhile.
fn buyers(state: &Path) -> Result<Command, String> {
    let mut bench = holdfast(state, "bench")?;
    bench.args(["--target", &server(state), "--load", "mixed", "--rate", "100"]);
    bench.args(["--connections", "32", "--seconds", "3600"]);
    Ok(bench)
}

/// The name of the member that can be written.
fn primary(lab: &Lab) -> Result<&'static str, String> {
    let host = lab.primary()?;
    let primary = group::MEMBERS.into_iter().find(|member| host_of(member).name == host);
    primary.ok_or_else(|| "MySQL has no primary".to_owned())
}

/// What the administrator tells a member.
fn administer(member: &Process, statements: &str) -> Result<Command, String> {
    let mut client = mysql::programs(false)?.command("usr/bin/mysql");
    client.args(["--no-defaults", "--user=root", "--vertical"]);
    client.arg(format!("--socket={}", mysql::socket(member)?)).args(["--execute", statements]);
    Ok(client)
}

struct SilentGateway {
    state: PathBuf,
}

impl Fault for SilentGateway {
    const ALERT: &'static str = "PurchaseFailuresHigh";
    const WHAT: &'static str = "the payment gateway is killed";

    fn keep_up(&mut self) -> Result<(), String> {
        shop::gateway(&self.state).kill()
    }

    fn mend(&mut self) -> Result<(), String> {
        shop::Gateway::new(&self.state).start(&shop::gateway(&self.state))
    }
}

/// Visitors who look at one product after the other, none of which is in a cache yet.
struct ManyProducts {
    server: String,
    visitors: Vec<Background>,
    next: u32,
}

impl Fault for ManyProducts {
    const ALERT: &'static str = "CacheHitRateLow";
    const WHAT: &'static str = "visitors look at every product once";

    fn keep_up(&mut self) -> Result<(), String> {
        self.visitors.retain_mut(|visitor| !visitor.has_ended());
        while self.visitors.len() < 2 {
            let url = format!("{}/api/v1/products/[{}-{}]", self.server, self.next, self.next + LOOKS - 1);
            self.visitors.push(Background::start(Command::new("curl").args(["--silent", &url]))?);
            self.next += LOOKS;
        }
        Ok(())
    }

    fn mend(&mut self) -> Result<(), String> {
        self.visitors.clear();
        Ok(())
    }
}

/// Redis has lost the product that is sold, and somebody else has its lock.
struct KeptLock {
    state: PathBuf,
    primary: &'static str,
}

impl KeptLock {
    fn redis(&self, arguments: &[&str]) -> Result<(), String> {
        let node = process("redis-1", &self.state);
        let mut redis = Redis::programs(false)?.command("usr/bin/redis-cli");
        redis.args(["-c", "-h", &node.ip.to_string(), "-p", &node.port.to_string()]).args(arguments);
        output(&mut redis, "redis-cli", LIMIT).map(drop)
    }

    /// The id of the product that is sold, which is the newest.
    fn product(&self) -> Result<String, String> {
        let primary = process(self.primary, &self.state);
        let mut ask = administer(&primary, "SELECT MAX(id) AS id FROM holdfast.products")?;
        let answer = output(&mut ask, "asking the primary", LIMIT)?;
        mysql::field(&answer, "id").map(str::to_owned).ok_or_else(|| "the shop has no product".to_owned())
    }
}

impl Fault for KeptLock {
    const ALERT: &'static str = "LockTimeoutsHigh";
    const WHAT: &'static str = "Redis loses a product, and somebody keeps its lock";

    fn keep_up(&mut self) -> Result<(), String> {
        let product = self.product()?;
        self.redis(&["SET", &format!("lock:product:{product}"), "somebody", "PX", "60000"])?;
        let keys = ["stock", "reserved", "holds", "gate"].map(|part| format!("product:{{{product}}}:{part}"));
        self.redis(&[&["DEL"], &keys.each_ref().map(String::as_str)[..]].concat())
    }

    fn mend(&mut self) -> Result<(), String> {
        self.redis(&["DEL", &format!("lock:product:{}", self.product()?)])
    }
}

/// Somebody keeps everybody from the table of orders, and customers ask for theirs.
struct LockedOrders {
    server: String,
    token: String,
    primary: Process,
    session: Option<Background>,
    readers: Option<Background>,
}

impl Fault for LockedOrders {
    const ALERT: &'static str = "PoolNearlyFull";
    const WHAT: &'static str = "somebody locks the table of orders, and customers ask for theirs";

    fn keep_up(&mut self) -> Result<(), String> {
        if self.session.as_mut().is_none_or(Background::has_ended) {
            let lock = "LOCK TABLES holdfast.orders WRITE; SELECT SLEEP(45)";
            self.session = Some(Background::start(&mut administer(&self.primary, lock)?)?);
        }
        if self.readers.as_mut().is_none_or(Background::has_ended) {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--max-time", "30", "--parallel", "--parallel-immediate"]);
            curl.args(["--parallel-max", "300", "--header"]);
            curl.arg(format!("Authorization: Bearer {}", self.token.trim()));
            // What comes after # is not sent.
            curl.arg(format!("{}/api/v1/orders?limit=20#[1-{READERS}]", self.server));
            self.readers = Some(Background::start(&mut curl)?);
        }
        Ok(())
    }

    fn mend(&mut self) -> Result<(), String> {
        self.readers = None;
        self.session = None;
        Ok(())
    }
}
