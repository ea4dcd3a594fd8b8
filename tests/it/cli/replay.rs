//! Real days, imported and sold again by the commands, and compared with sums that are taken
//! straight from the files.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::ports::event_log::Group;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::chaos::books::{Books, look_into, rows};
use crate::support::process::{Finished, PATIENCE, Site};
use crate::support::retail::{DAYS, Kind, Line, file_of, lines_of};
use crate::support::wait_for;

/// The stock code that a sku was made from.
fn code_of(sku: &str) -> String {
    sku.split('@').next().expect("a sku").to_owned()
}

/// Sums of units.
#[derive(Default, PartialEq, Eq, Debug)]
struct Sums<K: Ord>(BTreeMap<K, i64>);

impl<K: Ord> Sums<K> {
    fn add(&mut self, key: K, units: i64) {
        *self.0.entry(key).or_default() += units;
    }

    /// Without those that are 0.
    fn of(units: impl IntoIterator<Item = (K, i64)>) -> Self {
        let mut sums = Self(BTreeMap::new());
        units.into_iter().for_each(|(key, units)| sums.add(key, units));
        sums.0.retain(|_, units| *units != 0);
        sums
    }
}

/// Every row of the tables that a sale changes, and of the gateway.
fn dump(site: &Site) -> BTreeMap<&'static str, Vec<Vec<Cell>>> {
    let all = |file: &std::path::Path, table: &'static str| {
        let rows = rows(&look_into(file), &format!("SELECT * FROM {table} ORDER BY 1, 2"), |row| {
            (0..row.as_ref().column_count()).map(|column| row.get(column)).collect()
        });
        (table, rows)
    };
    let tables =
        ["orders", "order_lines", "products", "inventory_logs", "outbox", "saga_states", "stock_adjustments"];
    let ledger = tables.map(|table| all(&site.ledger(), table));
    ledger.into_iter().chain([all(&site.gateway(), "charges")]).collect()
}

/// Compares what the ledger has with what the lines say.
fn assert_sold(site: &Site, lines: &[Line]) {
    let ledger = look_into(&site.ledger());
    let of = |kind| lines.iter().filter(move |line| line.kind() == kind);
    let by_code = |kind| Sums::of(of(kind).map(|line| (line.code.clone(), line.quantity)));

    // Units of each code at each price.
    let sold = rows(
        &ledger,
        "SELECT sku, unit_price_minor, quantity FROM order_lines JOIN orders ON order_id = id \
         WHERE status = 'CONFIRMED'",
        |row| Ok(((code_of(&row.get::<_, String>(0)?), row.get::<_, i64>(1)?), row.get(2)?)),
    );
    let expected = of(Kind::Sale).map(|line| ((line.code.clone(), line.pence), line.quantity));
    assert_eq!(Sums::of(sold), Sums::of(expected), "units sold by code and price");

    // What each customer paid for each invoice.
    let mut invoices: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for line in of(Kind::Sale) {
        let invoice = invoices.entry(&line.invoice).or_insert((line.customer, 0));
        invoice.1 += line.quantity * line.pence;
    }
    let mut expected: Vec<(i64, i64)> = invoices.into_values().collect();
    expected.sort_unstable();
    let paid = rows(
        &ledger,
        "SELECT user_id, total_minor FROM orders WHERE status = 'CONFIRMED' ORDER BY user_id, total_minor",
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    assert_eq!(paid, expected, "customer and total of each order");

    // Returns and write-offs.
    let logged = |reason: &str| {
        let sql = format!(
            "SELECT sku, change_amount FROM inventory_logs l JOIN products p ON p.id = product_id \
             WHERE l.reason = '{reason}'"
        );
        Sums::of(rows(&ledger, &sql, |row| Ok((code_of(&row.get::<_, String>(0)?), row.get(1)?))))
    };
    let returned = Sums::of(of(Kind::Return).map(|line| (line.code.clone(), -line.quantity)));
    assert_eq!(logged("return"), returned, "units returned by code");
    assert_eq!(logged("write-off"), by_code(Kind::WriteOff), "units written off by code");

    // In the evening there is what came back, and nothing else.
    let left = rows(&ledger, "SELECT sku, stock - reserved FROM products", |row| {
        Ok((code_of(&row.get::<_, String>(0)?), row.get(1)?))
    });
    assert_eq!(Sums::of(left), returned, "units left by code");
}

/// Compares the summary with the lines, down to the last one.
pub fn assert_accounted_for(summary: &Value, lines: &[Line]) {
    let lines_of = |kind| lines.iter().filter(|line| line.kind() == kind).count();
    let invoices = |of: &dyn Fn(&Line) -> bool| {
        lines.iter().filter(|line| of(line)).map(|line| line.invoice.as_str()).collect::<BTreeSet<_>>()
    };
    let with = |kind| invoices(&move |line: &Line| line.kind() == kind);
    let only = |kind, not| with(kind).difference(&with(not)).count();
    let expected = json!({
        "lines_read": lines.len(),
        "sale_lines": lines_of(Kind::Sale),
        "write_off_lines": lines_of(Kind::WriteOff),
        "restocked_lines": lines_of(Kind::Return),
        "money_only_lines": lines_of(Kind::MoneyOnly),
        "invoices_read": invoices(&|_| true).len(),
        "orders": with(Kind::Sale).len(),
        "write_off_only_invoices": only(Kind::WriteOff, Kind::Sale),
        "restocking_returns": with(Kind::Return).len(),
        "money_only_returns": only(Kind::MoneyOnly, Kind::Return),
    });
    for (what, count) in expected.as_object().expect("an object") {
        assert_eq!(&summary[what], count, "{what}");
    }
}

/// What consumers have made of a day.
pub struct Made {
    /// Mails of each kind.
    pub mails: Vec<(String, i64)>,
    /// Units and pence of each sku.
    pub by_product: Vec<(String, i64, i64)>,
    /// Sales, units and pence of all minutes.
    pub totals: (i64, i64, i64),
}

/// Compares what consumers have made of a day with what its lines say.
pub fn assert_made(made: &Made, lines: &[Line]) {
    let sold = || lines.iter().filter(|line| line.kind() == Kind::Sale);
    let invoices = sold().map(|line| &line.invoice).collect::<BTreeSet<_>>().len();
    let orders = i64::try_from(invoices).expect("few");
    let kind = |kind: &str| (kind.to_owned(), orders);
    assert_eq!(made.mails, [kind("order-confirmation"), kind("shipping-notice")], "mails");
    let units = Sums::of(sold().map(|line| (line.code.clone(), line.quantity)));
    let counted = made.by_product.iter().map(|(sku, units, _)| (code_of(sku), *units));
    assert_eq!(Sums::of(counted), units, "units by code, as counted");
    let pence = Sums::of(sold().map(|line| (line.code.clone(), line.quantity * line.pence)));
    let counted = made.by_product.iter().map(|(sku, _, pence)| (code_of(sku), *pence));
    assert_eq!(Sums::of(counted), pence, "pence by code, as counted");
    let sum = |of: fn(&Line) -> i64| sold().map(of).sum();
    let totals = (orders, sum(|line| line.quantity), sum(|line| line.quantity * line.pence));
    assert_eq!(made.totals, totals, "all minutes together");
}

/// What the consumers of a shop of one process have made of everything. Waits until they have.
async fn made(site: &Site) -> Made {
    let (store, ledger) = (look_into(&site.data().join("consumers.sqlite3")), look_into(&site.ledger()));
    let number = |of: &rusqlite::Connection, sql: &str| -> i64 {
        of.query_row(sql, [], |row| row.get(0)).expect("a number")
    };
    wait_for("consumers have caught up", PATIENCE, async || {
        let end = number(&ledger, "SELECT max(position) FROM outbox");
        number(&store, &format!("SELECT count(*) FROM consumer_offsets WHERE position = {end}"))
            == i64::try_from(Group::ALL.len()).expect("few")
    })
    .await;
    let skus: BTreeMap<i64, String> =
        rows(&ledger, "SELECT id, sku FROM products", |row| Ok((row.get(0)?, row.get(1)?)))
            .into_iter()
            .collect();
    let by_product = rows(&store, "SELECT product_id, units, revenue_minor FROM sales_by_product", |row| {
        Ok((skus[&row.get(0)?].clone(), row.get(1)?, row.get(2)?))
    });
    let totals = "SELECT sum(sales), sum(units), sum(revenue_minor) FROM sales_by_minute";
    let totals = rows(&store, totals, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))[0];
    let mails = "SELECT kind, count(*) FROM mails GROUP BY kind ORDER BY kind";
    Made { mails: rows(&store, mails, |row| Ok((row.get(0)?, row.get(1)?))), by_product, totals }
}

async fn replay_a_day(day: &str) {
    let (file, lines) = (file_of(day), lines_of(day));
    assert!(lines.len() > 4_000, "the day is not empty");
    let site = Site::new();
    let import = site.holdfast(&["import", "--format", "online-retail", "--json"]).arg(&file);
    let imported = import.run().await.json();
    assert_accounted_for(&imported["summary"], &lines);
    let opening: i64 = lines
        .iter()
        .filter(|line| matches!(line.kind(), Kind::Sale | Kind::WriteOff))
        .map(|line| line.quantity.abs())
        .sum();
    assert_eq!(imported["units"], opening, "units at opening");

    let server = site.shop().open().await;
    let replay = || site.holdfast(&["replay", "--json", "--target", server.url()]).arg(&file);
    // How often a request had to be repeated says something about this machine only.
    let told = |finished: Finished| {
        let mut told = finished.json();
        told["outcome"].as_object_mut().expect("an object").remove("repeated").expect("it is counted");
        told
    };
    let replayed = told(replay().run().await);
    assert_accounted_for(&replayed["summary"], &lines);
    let sold = lines.iter().filter(|line| line.kind() == Kind::Sale);
    let revenue: i64 = sold.clone().map(|line| line.quantity * line.pence).sum();
    let units: i64 = sold.map(|line| line.quantity).sum();
    let stock_changes =
        lines.iter().filter(|line| matches!(line.kind(), Kind::Return | Kind::WriteOff)).count();
    let expected = json!({
        "orders_confirmed": replayed["summary"]["orders"], "orders_refused": 0, "orders_declined": 0,
        "orders_failed": 0, "stock_changes": stock_changes, "revenue_minor": revenue, "units_sold": units,
        "errors": [],
    });
    assert_eq!(replayed["outcome"], expected);
    assert_sold(&site, &lines);

    let before = dump(&site);
    let again = told(replay().run().await);
    assert_eq!(again, replayed, "the same day again is told the same");
    let after = dump(&site);
    for (table, rows) in &before {
        assert!(rows == &after[table], "the same day again has changed {table}");
    }

    assert_made(&made(&site).await, &lines);
    server.stop().await;
    let report = site.audited().await;
    assert_eq!(report["revenue_minor"], json!({ "GBP": revenue }));
    assert_eq!(report["units_sold"], units);
    assert_eq!(report["orders"], json!({ "CONFIRMED": replayed["summary"]["orders"] }));
    assert_eq!(
        Books::of(&site).orders.len(),
        replayed["summary"]["orders"].as_u64().expect("a count") as usize
    );
}

#[tokio::test]
async fn the_29th_of_november_is_sold_again_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[0]).await;
}

#[tokio::test]
async fn the_5th_of_december_is_sold_again_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[1]).await;
}

#[tokio::test]
async fn the_8th_of_december_is_sold_again_to_the_last_unit_and_penny() {
    replay_a_day(DAYS[2]).await;
}

#[tokio::test]
async fn a_day_whose_customers_have_to_accept_is_sold_to_the_last_unit_and_penny_by_itself() {
    let (file, lines) = (file_of(DAYS[0]), lines_of(DAYS[0]));
    let site = Site::new();
    site.holdfast(&["import", "--format", "online-retail"]).arg(&file).run().await;
    let shop = site.shop().env("HOLDFAST_PAYMENTS__FAULTS__NEEDS_CUSTOMER_RATE", "0.2");
    let server = shop.env("HOLDFAST_PAYMENTS__FAULTS__CUSTOMER_AFTER_MS", "50").open().await;
    let replay = site.holdfast(&["replay", "--json", "--target", server.url()]).arg(&file);
    let replayed = replay.run().await.json();
    assert_eq!(replayed["outcome"]["orders_confirmed"], replayed["summary"]["orders"], "{replayed}");
    assert_eq!(replayed["outcome"]["errors"], json!([]), "{replayed}");
    assert_sold(&site, &lines);
    server.stop().await;
    let report = site.audited().await;
    assert_eq!(report["orders"], json!({ "CONFIRMED": replayed["summary"]["orders"] }));
}

#[tokio::test]
async fn a_replay_goes_on_where_a_killed_shop_stopped() {
    let file = file_of(DAYS[2]);
    let site = Site::new();
    site.holdfast(&["import", "--format", "online-retail"]).arg(&file).run().await;
    // The second server has to be where the first one was.
    let server = site.shop().open().await;
    let address = server.url().strip_prefix("http://").expect("an address").to_owned();
    let at_once =
        site.holdfast(&["replay", "--json", "--connections", "4", "--target", server.url()]).arg(&file);
    let replaying = tokio::spawn(at_once.run());
    let ledger = look_into(&site.ledger());
    crate::support::wait_for("some orders", crate::support::process::PATIENCE, async || {
        ledger.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0)).expect("a count")
            >= 20
    })
    .await;
    server.kill().await;
    let server = site.holdfast(&["serve", "--json", "--no-sample", "--listen", &address]).open().await;
    let outcome = replaying.await.expect("no panic").json()["outcome"].clone();
    assert_eq!(outcome["errors"], json!([]), "{outcome}");
    assert!(outcome["repeated"].as_u64() > Some(0), "the kill came too late: {outcome}");
    assert_sold(&site, &lines_of(DAYS[2]));
    server.stop().await;
    site.audited().await;
}
