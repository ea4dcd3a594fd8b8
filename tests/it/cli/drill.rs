//! Drills over a real shop in a process of its own, and a check that finds every kind of lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::process::{Finished, PATIENCE, Site};
use crate::support::wait_for;

/// Writes a script that starts a shop at the address it is given and leaves it running, its id in the file `pid`.
fn script(site: &Site) -> PathBuf {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let text = format!(
        "{program} serve --json --no-sample --data-dir data --listen \"$1\" >>greetings 2>>greetings &\necho $! >pid\n"
    );
    site.write("serve.sh", text)
}

/// Ends the shop that the script has started last, whatever becomes of the test.
struct ShopOfScript<'a>(&'a Site);

impl ShopOfScript<'_> {
    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.0.path("pid")).expect("the script was run");
        // It may be gone.
        let _ = Command::new("kill").args([signal, pid.trim()]).output();
    }
}

impl Drop for ShopOfScript<'_> {
    fn drop(&mut self) {
        self.signal("-9");
    }
}

async fn drill(site: &Site, url: &str, arguments: &[&str]) -> Finished {
    let drill = ["drill", "--json", "--seed", "7", "--target", url, "--history", "history.jsonl"];
    site.holdfast(&[&drill, arguments].concat()).run().await
}

/// Checks a history against the stores of a site at rest.
async fn audit(site: &Site, history: &Path) -> (Option<i32>, Value) {
    let finished = site.holdfast(&["audit", "--json"]).arg("--history").arg(history).run().await;
    let findings = serde_json::from_str(&finished.stdout);
    (finished.code, findings.unwrap_or_else(|error| panic!("{error}: {finished:?}")))
}

#[tokio::test]
async fn a_drill_survives_kill_9_and_tells_how_long_nothing_was_sold() {
    let site = Site::new();
    let script = script(&site);
    site.program("sh", &[]).arg(&script).arg("127.0.0.1:0").run().await.assert_success();
    let shop = ShopOfScript(&site);
    let mut address = None;
    wait_for("the shop's greeting", PATIENCE, async || {
        let greetings = fs::read_to_string(site.path("greetings")).unwrap_or_default();
        let greeting: Option<Value> = greetings.lines().find_map(|line| serde_json::from_str(line).ok());
        address = greeting.and_then(|greeting| Some(greeting["shop"].as_str()?.to_owned()));
        address.is_some()
    })
    .await;
    let url = address.expect("an address");
    let mend = format!("sh serve.sh {}", url.trim_start_matches("http://"));
    let faults = format!(
        "[[fault]]\nname = 'kill'\nbreak = 'kill -9 $(cat pid)'\nmend = '{mend}'\ncalm_s = 2\nlasts_s = 1\nsettle_s = 3\n"
    );
    site.write("faults.toml", faults);
    let arguments = ["--faults", "faults.toml", "--report", "report.md", "--rate", "100"];
    let drilled = drill(&site, &url, &arguments).await.json();

    // The shop has its stores for itself.
    let not_checked = drilled["not_checked"].as_str().expect("not checked yet");
    assert!(not_checked.contains("holdfast audit --history history.jsonl"), "{not_checked}");
    let figures = &drilled["figures"];
    let run = &figures["runs"][0];
    for gone in ["without_sales_s", "without_views_s"] {
        let gone_s = run[gone].as_f64().expect("a time");
        assert!((1.0..30.0).contains(&gone_s), "{gone}: {run}");
    }
    assert!(run["troubles"]["connection"].as_u64() > Some(10), "{run}");
    assert_eq!(run["failed"], 0, "{figures}");
    assert!(figures["sales"].as_u64() > Some(50), "{figures}");
    let report = fs::read_to_string(site.path("report.md")).expect("a report");
    assert!(report.contains("| kill | 1 |"), "{report}");

    shop.signal("-TERM");
    wait_for("the shop's end", PATIENCE, async || site.holdfast(&["audit"]).run().await.code != Some(2))
        .await;
    let (code, findings) = audit(&site, &site.path("history.jsonl")).await;
    assert_eq!(code, Some(0), "{findings}");
    assert_eq!(findings["purchases"], figures["purchases"], "{findings}");
    let history = fs::read_to_string(site.path("history.jsonl")).expect("a history");
    assert!(!history.contains("eyJ"), "there is a token in the history");
}

#[tokio::test]
async fn a_command_that_fails_ends_the_drill_after_mending() {
    let site = Site::new();
    let server = site.shop().open().await;
    site.write(
        "faults.toml",
        "[[fault]]\nname = 'odd'\nbreak = 'echo no such host; exit 3'\nmend = 'touch mended'\ncalm_s = 0.5\ntimes = 3\n",
    );
    let drilled = drill(&site, server.url(), &["--faults", "faults.toml"]).await;
    assert_eq!(drilled.code, Some(2), "{drilled:?}");
    let last = drilled.stderr.lines().last().expect("why");
    assert!(last.contains("odd") && last.contains("exit code 3: no such host"), "{last}");
    assert!(site.path("mended").exists());
    server.stop().await;
    let (code, findings) = audit(&site, &site.path("history.jsonl")).await;
    assert_eq!(code, Some(0), "{findings}");
}

#[tokio::test]
async fn an_interrupt_mends_and_ends_the_drill() {
    let site = Site::new();
    let server = site.shop().open().await;
    site.write(
        "faults.toml",
        "[[fault]]\nname = 'long'\nbreak = 'kill -INT $PPID'\nmend = 'touch mended'\ncalm_s = 0.5\nlasts_s = 600\n",
    );
    let drilled = drill(&site, server.url(), &["--faults", "faults.toml"]).await.json();
    assert_eq!(drilled["figures"]["interrupted"], true, "{drilled}");
    assert!(site.path("mended").exists());
    server.stop().await;
}

/// A shop at rest that has kept all of its promises, and the history of them.
struct Honest {
    site: Site,
    lines: Vec<Value>,
}

impl Honest {
    async fn new() -> Self {
        let site = Site::new();
        let server = site.shop().open().await;
        drill(&site, server.url(), &["--for", "4", "--rate", "150"]).await.json();
        server.stop().await;
        let history = fs::read_to_string(site.path("history.jsonl")).expect("a history");
        let lines = history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        Self { site, lines }
    }

    /// Answers 201, each of another purchase that nobody cancelled.
    fn sales(&self) -> impl Iterator<Item = &Value> {
        let cancelled =
            |key: &Value| self.lines.iter().any(|line| line["kind"] == "cancel" && line["key"] == *key);
        self.lines.iter().filter(move |line| line["status"] == 201 && !cancelled(&line["key"]))
    }

    /// The promises that the check says are broken when this history is told of these stores.
    async fn broken(&self, site: &Site, lines: &[Value]) -> Vec<String> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (code, findings) = audit(site, &site.write("told.jsonl", text)).await;
        let broken = findings["broken"].as_object().expect("promises").iter();
        let mut broken: Vec<String> =
            broken.filter(|(_, broken)| broken["count"] != 0).map(|(name, _)| name.clone()).collect();
        if let Some(invariant) = findings["audit"]["broken"]["invariant"].as_str() {
            broken.push(invariant.to_owned());
        }
        assert_eq!(code, Some(i32::from(!broken.is_empty())), "{findings}");
        broken
    }

    /// The same for a history in which something was changed.
    async fn told(&self, change: impl FnOnce(&mut Vec<Value>)) -> Vec<String> {
        let mut lines = self.lines.clone();
        change(&mut lines);
        assert_ne!(lines, self.lines, "nothing was changed");
        self.broken(&self.site, &lines).await
    }

    /// The same for stores in which something was changed: one row of a file.
    async fn done(&self, file: &str, sql: &str, order: &str) -> Vec<String> {
        let site = Site::new();
        self.site.copy_data_to(&site);
        let store = Connection::open(site.data().join(file)).expect("the store");
        let id = Uuid::parse_str(order).expect("an id");
        for sql in sql.split(';') {
            assert!(store.execute(sql, [id.as_bytes().as_slice()]).expect("a change") > 0, "{sql}");
        }
        drop(store);
        self.broken(&site, &self.lines).await
    }
}

fn assert_names(found: &[String], promises: &[&str]) {
    for promise in promises {
        assert!(found.iter().any(|name| name == promise), "{promise} is not among {found:?}");
    }
}

#[tokio::test]
async fn each_lie_is_named() {
    let honest = Honest::new().await;
    let none: [&str; 0] = [];
    assert_eq!(honest.broken(&honest.site, &honest.lines).await, none);
    let sales: Vec<Value> = honest.sales().take(2).cloned().collect();
    let [sale, other] = &*sales else { panic!("too few sales") };
    let (key, order) = (&sale["key"], sale["order"].as_str().expect("an order"));
    let of_key =
        |line: &Value| line["key"] == *key && (line["event"] == "purchase" || line["kind"] == "purchase");
    let at = |lines: &[Value]| {
        let is_answer = |line: &Value| of_key(line) && line["status"] == 201;
        lines.iter().position(is_answer).expect("the answer")
    };

    // What customers were told and the stores do not know.
    let found = honest.told(|lines| {
        let answer = at(lines);
        lines[answer]["order"] = Uuid::from_u128(7).to_string().into();
    });
    assert_names(&found.await, &["lost", "duplicated"]);
    let found = honest.told(|lines| {
        let mut again = lines[at(lines)].clone();
        again["order"] = Uuid::from_u128(7).to_string().into();
        lines.push(again);
    });
    assert_names(&found.await, &["duplicated"]);
    let found = honest.told(|lines| {
        let mut again = lines[at(lines)].clone();
        again["order"] = other["order"].clone();
        lines.push(again);
    });
    assert_names(&found.await, &["duplicated"]);
    assert_eq!(honest.told(|lines| lines.retain(|line| !of_key(line))).await, ["duplicated"]);
    let found = honest.told(|lines| {
        let answer = at(lines);
        lines[answer]["status"] = 409.into();
        for field in ["order", "order_status"] {
            lines[answer].as_object_mut().expect("an object").remove(field);
        }
    });
    assert_eq!(found.await, ["refused-and-sold"]);
    let found = honest.told(|lines| {
        let mut cancel = lines[at(lines)].clone();
        (cancel["kind"], cancel["status"]) = ("cancel".into(), 200.into());
        lines.push(cancel);
    });
    assert_eq!(found.await, ["not-cancelled"]);
    let found = honest.told(|lines| {
        let begun = lines.iter_mut().find(|line| line["event"] == "purchase" && of_key(line));
        begun.expect("its begin")["lines"][0]["quantity"] = 99.into();
    });
    assert_names(&found.await, &["changed"]);
    let found = honest.told(|lines| {
        let begun = lines.iter_mut().find(|line| line["event"] == "purchase" && of_key(line));
        begun.expect("its begin")["total"]["amount"] = 1.into();
    });
    assert_eq!(found.await, ["changed"]);
    let found = honest.told(|lines| {
        let begun = lines.iter_mut().find(|line| line["event"] == "purchase" && of_key(line));
        let user = &mut begun.expect("its begin")["user"];
        *user = (user.as_i64().expect("an id") + 1).into();
    });
    assert_eq!(found.await, ["changed"]);
    let found = honest.told(|lines| {
        let restock = lines.iter().find(|line| line["event"] == "restock").expect("a delivery");
        let (mut again, mut answer) = (restock.clone(), lines[at(lines)].clone());
        again["key"] = 1_000_000.into();
        (answer["key"], answer["kind"], answer["status"]) = (1_000_000.into(), "restock".into(), 200.into());
        lines.extend([again, answer]);
    });
    assert_eq!(found.await, ["restocked"]);
    // There were only as many as were sold of it, less one.
    let found = honest.told(|lines| lines[0]["products"][0]["stock"] = 1.into());
    assert_names(&found.await, &["oversold"]);

    // What the stores have and nobody was told.
    let (ledger, gateway) = ("ledger.sqlite3", "gateway.sqlite3");
    let found = honest.done(ledger, "DELETE FROM orders WHERE id = ?1", order);
    assert_names(&found.await, &["lost", "charged-without-order"]);
    let found = honest.done(ledger, "UPDATE orders SET status = 'FAILED' WHERE id = ?1", order);
    assert_names(&found.await, &["lost", "charged-without-order"]);
    let found = honest.done(ledger, "UPDATE orders SET status = 'CANCELLED' WHERE id = ?1", order);
    assert_names(&found.await, &["lost", "charged-without-order"]);
    let found = honest.done(ledger, "UPDATE orders SET status = 'PENDING' WHERE id = ?1", order);
    assert_names(&found.await, &["unfinished"]);
    let found = honest.done(ledger, "DELETE FROM outbox WHERE saga_id = ?1 AND first_sequence = 1", order);
    assert_eq!(found.await, ["events-complete"]);
    let sold_more = "UPDATE inventory_logs SET change_amount = 1 WHERE reason = 'opening' AND ?1 IS NOT NULL";
    assert_names(&honest.done(ledger, sold_more, order).await, &["oversold", "restocked"]);
    let found = honest.done(gateway, "DELETE FROM charges WHERE order_id = ?1", order);
    assert_names(&found.await, &["unpaid"]);
    let later = "UPDATE charges SET order_id = x'7fffffffffff7fffbfffffffffffffff' WHERE order_id = ?1";
    assert_names(&honest.done(gateway, later, order).await, &["charged-without-order", "unpaid"]);
}

#[tokio::test]
async fn a_file_that_is_no_history_is_refused() {
    let site = Site::new();
    site.shop().open().await.stop().await;
    let header = json!({
        "holdfast_history": 1, "run": "r", "seed": 7, "target": "http://shop", "rate_per_second": 1.0,
        "started_at": "2026-01-01T00:00:00Z", "products": [], "first_customer": 1, "customers": 9,
    });
    let mut other = header.clone();
    other["holdfast_history"] = 2.into();
    let attempt = json!({
        "event": "attempt", "kind": "purchase", "key": 1, "attempt": 1, "start_us": 0, "end_us": 1, "status": 201,
    });
    for (text, why) in [
        (String::new(), "line 1"),
        ("once upon a time\n".to_owned(), "line 1"),
        (format!("{other}\n"), "format is 2"),
        (format!("{header}\n{{\"event\":\"feast\"}}\n"), "line 2"),
        (format!("{header}\nnull\n"), "line 2"),
        (format!("{header}\n{attempt}\n"), "purchase 1 does not begin"),
    ] {
        let file = site.write("told.jsonl", text);
        site.holdfast(&["audit"]).arg("--history").arg(&file).run().await.refused(&["told.jsonl", why]);
    }
    site.holdfast(&["audit", "--history", "none.jsonl"]).run().await.refused(&["none.jsonl", "No such file"]);
    // The last line of a drill that was killed may be cut off.
    let file = site.write("told.jsonl", format!("{header}\n{{\"event\":\"att"));
    site.holdfast(&["audit"]).arg("--history").arg(&file).run().await.assert_success();
}

#[tokio::test]
async fn a_drill_that_cannot_begin_leaves_nothing_behind() {
    let site = Site::new();
    let server = site.shop().open().await;
    let url = server.url();
    site.write("no-break.toml", "[[fault]]\nname = 'db'\n");
    site.write("unknown.toml", "[[fault]]\nname = 'db'\nbreak = 'x'\nlength_s = 3\n");
    site.write("fine.toml", "[[fault]]\nname = 'db'\nbreak = 'true'\n");
    for (arguments, why) in [
        (&["--faults", "none.toml"][..], "none.toml"),
        (&["--faults", "no-break.toml"], "break"),
        (&["--faults", "unknown.toml"], "length_s"),
        (&["--faults", "fine.toml", "--for", "60"], "--every"),
        (&["--faults", "fine.toml", "--for", "60", "--every", "61"], "--every"),
        (&["--every", "60"], "--faults"),
        (&[], "--for"),
        (&["--for", "0"], "--for"),
        (&["--for", "5", "--rate", "0"], "--rate"),
        (&["--for", "5", "--rate", "NaN"], "--rate"),
        (&["--for", "5", "--buyers", "0"], "--buyers"),
        (&["--for", "5", "--ca", "none.pem", "--insecure"], "--insecure"),
        (&["--for", "5", "--report", "no/such/folder"], "no/such/folder"),
    ] {
        drill(&site, url, arguments).await.refused(&[why]);
    }
    let secure = url.replace("http://", "https://");
    drill(&site, &secure, &["--for", "5", "--ca", "none.pem"]).await.refused(&["none.pem"]);
    drill(&site, "http://127.0.0.1:1", &["--for", "5"]).await.refused(&["127.0.0.1:1"]);
    drill(&site, "ftp://127.0.0.1", &["--for", "5"]).await.refused(&["ftp://127.0.0.1"]);
    let page = server.admin().await.get("/api/v1/products").await;
    assert_eq!(page["items"], json!([]));
    server.stop().await;
}
