//! Disks that are full or cannot be written.
//!
//! As root a disk is a small tmpfs of the test's own. Where mounting is not allowed, a limit on the
//! size of files and a directory without the right to write stand in for it, as far as they can.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use holdfast::ports::ledger::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::chaos::books::Books;
use crate::support::process::{Client, PATIENCE, Site, contents};
use crate::support::wait_for;

const HEADER: &str = "sku,name,description,category,price,currency,stock\n";

/// A site whose data directory is a disk of its own.
struct Disk(Site);

impl Disk {
    /// `None`, said loudly, where the test may not mount.
    fn mount(size: &str) -> Option<Self> {
        let site = Site::new();
        fs::create_dir(site.data()).expect("a fresh directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(site.data())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(site)),
            refused => {
                let test = std::thread::current().name().unwrap_or_default().to_owned();
                // Past the test harness, which hides what successful tests print.
                let _ = writeln!(
                    std::io::stderr(),
                    "NOT TESTED in full: {test} needs the right to mount a tmpfs; run it as root ({refused:?})"
                );
                None
            }
        }
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0.data()).status();
        assert!(status.expect("mount runs").success(), "remounting with {option}");
    }

    /// Takes all the room there is, and gives it back when the file is removed.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.data().join("ballast");
        let mut ballast = File::create(&path).expect("a file");
        for size in [65_536, 4_096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, for a failing test may have left a shop that is about to be killed.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.data()).status();
    }
}

/// A catalogue that takes some megabytes.
fn large_catalogue() -> String {
    let text = "x".repeat(3_000);
    let row = |n| format!("large-{n},Large,{text},,1.00,EUR,1\n");
    HEADER.to_owned() + &(0..1_000).map(row).collect::<String>()
}

#[tokio::test]
async fn a_shop_is_not_opened_on_a_full_disk() {
    let Some(disk) = Disk::mount("32k") else { return };
    let site = &disk.0;
    for _ in 0..2 {
        site.shop().run().await.refused(&["ledger.sqlite3", "the disk is full"]);
        let file = site.write("small.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,1\n"));
        site.holdfast(&["import"]).arg(&file).run().await.refused(&["ledger.sqlite3", "the disk is full"]);
    }
    // With room, the shop opens as if nothing had been.
    disk.remount("size=16m");
    site.shop().open().await.stop().await;
    site.audited().await;
}

#[tokio::test]
async fn an_import_that_does_not_fit_on_the_disk_leaves_the_shop_as_it_was() {
    let Some(disk) = Disk::mount("1m") else { return };
    let site = &disk.0;
    site.import(&format!("{HEADER}mug,Mug,,,1.00,EUR,1\n")).await;
    let file = site.write("large.csv", large_catalogue());
    let finished = site.holdfast(&["import"]).arg(&file).run().await;
    finished.refused(&["large.csv", "nothing was imported", "full"]);
    Books::of(site).assert_balanced(&[("mug".to_owned(), 1)].into());
    site.audited().await;
    disk.remount("size=64m");
    site.holdfast(&["import"]).arg(&file).run().await.assert_success();
}

/// Needs no rights at all: the limit is on the size of each file, and the answer is another error.
#[tokio::test]
async fn a_shop_whose_files_may_not_grow_is_not_opened() {
    let site = Site::new();
    let holdfast = env!("CARGO_BIN_EXE_holdfast");
    let limited = |site: &Site, blocks, arguments: &[&str]| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        site.program("sh", &[&["-c", &script, "sh", holdfast], arguments].concat()).data_dir(&site.data())
    };
    for _ in 0..2 {
        limited(&site, 40, &["serve", "--listen", "127.0.0.1:0"])
            .run()
            .await
            .refused(&["ledger.sqlite3", "the disk"]);
    }
    // A shop that is there already stays as it is.
    let site = Site::new();
    site.import(&format!("{HEADER}mug,Mug,,,1.00,EUR,1\n")).await;
    let file = site.write("large.csv", large_catalogue());
    limited(&site, 1_000, &["import"]).arg(&file).run().await.refused(&["nothing was imported"]);
    Books::of(&site).assert_balanced(&[("mug".to_owned(), 1)].into());
    site.audited().await;
}

/// Nothing can be done here that has to write, and what only reads can be done.
async fn refuses_to_write(site: &Site) {
    let before = contents(&site.data());
    let file = site.write("more.csv", format!("{HEADER}pot,Pot,,,1.00,EUR,1\n"));
    let file = file.to_str().expect("a plain path");
    let data = site.data();
    let data = data.to_str().expect("a plain path");
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["import", file], &["audit"]] {
        site.holdfast(arguments).run().await.refused(&[data]);
        assert!(contents(&site.data()) == before, "{arguments:?} changed something");
    }
    site.holdfast(&["token", "--user", "7", "--role", "customer"]).run().await.assert_success();
}

/// Makes a shop, takes the right to write away, and looks.
#[tokio::test]
async fn a_shop_on_a_disk_that_cannot_be_written_is_left_alone() {
    let shop = async |site: &Site| {
        site.import(&format!("{HEADER}mug,Mug,,,1.00,EUR,1\n")).await;
        site.shop().open().await.stop().await;
    };
    if let Some(disk) = Disk::mount("16m") {
        shop(&disk.0).await;
        disk.remount("ro");
        refuses_to_write(&disk.0).await;
        disk.remount("rw");
        disk.0.audited().await;
        return;
    }
    // Without the right to mount, the right to write can be taken away, unless from root.
    let site = Site::new();
    shop(&site).await;
    let rights = |files, directory| {
        for name in contents(&site.data()).keys() {
            fs::set_permissions(site.data().join(name), Permissions::from_mode(files)).expect("it is ours");
        }
        fs::set_permissions(site.data(), Permissions::from_mode(directory)).expect("it is ours");
    };
    rights(0o400, 0o500);
    if File::create(site.data().join("lock")).is_err() {
        refuses_to_write(&site).await;
    } else {
        let _ =
            writeln!(std::io::stderr(), "NOT TESTED: a read-only disk; nothing keeps this user from writing");
    }
    rights(0o600, 0o700);
}

#[tokio::test]
async fn an_empty_disk_that_cannot_be_written_is_no_place_for_a_shop() {
    let Some(disk) = Disk::mount("16m") else { return };
    disk.remount("ro");
    disk.0.shop().run().await.refused(&["data", "Read-only file system"]);
    let file = disk.0.write("small.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,1\n"));
    disk.0.holdfast(&["import"]).arg(&file).run().await.refused(&["data", "Read-only file system"]);
    disk.0.holdfast(&["token", "--user", "7", "--role", "admin"]).run().await.refused(&["there is no shop"]);
}

/// Buyers that order lamps until they are told to stop, and what each order was answered with.
struct Buyers {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    at_work: JoinSet<Vec<(i64, String, u16, Value)>>,
}

const BUYERS: i64 = 6;

fn order_of(lamp: &Value) -> Value {
    json!({ "lines": [{ "product_id": lamp, "quantity": 1 }] })
}

async fn buy_until_stopped(
    mut client: Client,
    user: i64,
    lamp: Value,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
) -> Vec<(i64, String, u16, Value)> {
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("lamp-{}", told.len());
        let (status, body) = client.order(&key, &order_of(&lamp)).await.expect("an answer");
        refused.fetch_add(usize::from(status == 503), Ordering::Relaxed);
        told.push((user, key, status, body));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_during_a_sale_costs_time_and_nothing_else() {
    const LAMPS: i64 = 1_000_000;
    let Some(disk) = Disk::mount("24m") else { return };
    let site = &disk.0;
    site.import(&format!("{HEADER}lamp,Lamp,,,89.00,EUR,{LAMPS}\n")).await;
    let quick = [
        ("HOLDFAST_SALE__ANSWER_WITHIN_MS", "500".to_owned()),
        ("HOLDFAST_SALE__PAUSE_MAX_MS", "100".to_owned()),
    ];
    let server = site.shop().envs(&quick).open().await;
    let mut admin = server.admin().await;
    let lamp = admin.get("/api/v1/products").await["items"][0]["id"].clone();
    let mut buyers = Buyers { stop: Arc::default(), refused: Arc::default(), at_work: JoinSet::new() };
    for user in 1..=BUYERS {
        let client = server.client(&server.token(user, Role::Customer)).await;
        let (stop, refused) = (Arc::clone(&buyers.stop), Arc::clone(&buyers.refused));
        buyers.at_work.spawn(buy_until_stopped(client, user, lamp.clone(), stop, refused));
    }
    let ballast = disk.fill();
    wait_for("buyers to be refused", PATIENCE, async || {
        buyers.refused.load(Ordering::Relaxed) > 2 * usize::try_from(BUYERS).expect("few")
    })
    .await;
    // What can be looked at without writing can be looked at.
    admin.get(&format!("/api/v1/products/{lamp}")).await;
    buyers.stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    while let Some(of_one) = buyers.at_work.join_next().await {
        told.extend(of_one.expect("no panic"));
    }
    fs::remove_file(ballast).expect("it is there");

    // Every request that was refused is repeated with its key. Nobody buys twice.
    let mut sold: Vec<uuid::Uuid> = Vec::new();
    for (user, key, status, body) in told {
        let mut client = server.client(&server.token(user, Role::Customer)).await;
        let (mut status, mut body) = (status, body);
        wait_for("the shop to sell again", PATIENCE, async || {
            if status == 503 || status == 202 {
                // An order may have got stuck for want of room; somebody has to say that there is some now.
                for stuck in admin.unfinished().await.iter().filter(|saga| saga["stuck"] == true) {
                    let path = format!("/api/v1/admin/sagas/{}/resume", stuck["id"].as_str().expect("an id"));
                    admin.send("POST", &path, None, None).await.expect("an answer");
                }
                (status, body) = client.order(&key, &order_of(&lamp)).await.expect("an answer");
            }
            !(status == 503 || status == 202)
        })
        .await;
        match status {
            201 => sold.push(body["id"].as_str().expect("an id").parse().expect("an id")),
            409 => assert_eq!(body["type"], "/problems/attempt-expired", "{body}"),
            502 => assert_eq!(body["order"]["status"], "FAILED", "{body}"),
            _ => panic!("an order was answered with {status} {body}"),
        }
    }
    wait_for("unfinished orders to end", PATIENCE, async || admin.unfinished().await.is_empty()).await;
    server.stop().await;
    let books = Books::of(site);
    books.assert_balanced(&[("lamp".to_owned(), LAMPS)].into());
    let mut confirmed: Vec<uuid::Uuid> =
        books.orders.iter().filter(|(_, order)| order.status == "CONFIRMED").map(|(id, _)| *id).collect();
    confirmed.sort_unstable();
    sold.sort_unstable();
    assert!(confirmed == sold, "{} orders are CONFIRMED, {} were told so", confirmed.len(), sold.len());
    site.audited().await;
}
