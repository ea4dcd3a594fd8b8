//! What cannot be carried out: exit code 2, one plain line that says why, and nothing changed.

use std::path::Path;

use rusqlite::Connection;

use crate::support::process::{Site, contents};

const HEADER: &str = "sku,name,description,category,price,currency,stock\n";

/// A shop with one product, at rest.
async fn small_shop() -> Site {
    let site = Site::new();
    site.import(&format!("{HEADER}lamp,Lamp,,,89.00,EUR,10\n")).await;
    site.shop().open().await.stop().await;
    site
}

/// The arguments are refused for these reasons, and the data directory stays as it is.
async fn refused(site: &Site, arguments: &[&str], reasons: &[&str]) {
    let before = contents(&site.data());
    site.holdfast(arguments).run().await.refused(reasons);
    assert!(contents(&site.data()) == before, "{arguments:?} changed something");
    assert_eq!(site.data().exists(), !before.is_empty(), "{arguments:?} left an empty directory");
}

/// The file is refused by both kinds of import, by an empty shop and by one with products.
async fn refused_file(name: &str, bytes: impl AsRef<[u8]>, reasons: &[&str]) {
    for site in [Site::new(), small_shop().await] {
        let file = site.write(name, bytes.as_ref());
        let file = file.to_str().expect("a plain path");
        let reasons: Vec<&str> = reasons.iter().copied().chain([file]).collect();
        refused(&site, &["import", file], &reasons).await;
        refused(&site, &["import", "--format", "online-retail", file], &[file]).await;
    }
}

#[tokio::test]
async fn a_missing_file_is_not_imported() {
    for site in [Site::new(), small_shop().await] {
        refused(&site, &["import", "no-such-file.csv"], &["no-such-file.csv", "No such file"]).await;
        refused(&site, &["import", "--format", "online-retail", "no.csv"], &["no.csv", "No such file"]).await;
    }
}

#[tokio::test]
async fn a_directory_is_not_imported() {
    let site = Site::new();
    refused(&site, &["import", "."], &["."]).await;
}

#[tokio::test]
async fn a_file_with_other_columns_is_not_imported() {
    refused_file("other.csv", "id,title,cost\n1,Lamp,89.00\n", &["the first line has to name the columns"])
        .await;
}

#[tokio::test]
async fn garbage_is_not_imported() {
    let garbage: Vec<u8> = (0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    refused_file("garbage.csv", garbage, &["not UTF-8"]).await;
}

#[tokio::test]
async fn an_empty_file_is_not_imported() {
    refused_file("empty.csv", "", &["the file is empty"]).await;
    refused_file("header.csv", HEADER, &["no rows"]).await;
}

#[tokio::test]
async fn a_sku_that_comes_twice_is_not_imported() {
    let rows = format!("{HEADER}mug,Mug,,,1.00,EUR,1\ntea,Tea,,,1.00,EUR,1\nmug,Mug,,,1.00,EUR,1\n");
    refused_file("twice.csv", rows, &["Line 4", "mug"]).await;
}

#[tokio::test]
async fn a_sku_that_the_shop_has_is_not_imported_nor_is_anything_beside_it() {
    let site = small_shop().await;
    let file = site.write("more.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,1\nlamp,Lamp,,,1.00,EUR,1\n"));
    let products = || {
        let ledger = crate::chaos::books::look_into(&site.ledger());
        crate::chaos::books::rows(&ledger, "SELECT sku FROM products", |row| row.get::<_, String>(0))
    };
    let finished = site.holdfast(&["import"]).arg(&file).run().await;
    finished.refused(&["more.csv", "lamp", "nothing was imported"]);
    assert_eq!(products(), ["lamp"]);
}

#[tokio::test]
async fn a_price_that_is_none_is_not_imported() {
    for price in ["-1.00", "1.005", "free", "1e3", "", "99999999999999999999", "NaN", "1,00"] {
        let site = Site::new();
        let file = site.write("price.csv", format!("{HEADER}mug,Mug,,,\"{price}\",EUR,1\n"));
        refused(&site, &["import", file.to_str().expect("a plain path")], &["Line 2", "price"]).await;
    }
}

#[tokio::test]
async fn stock_that_is_none_is_not_imported() {
    for stock in ["-1", "1.5", "many", "", "1000000001", "99999999999999999999"] {
        let site = Site::new();
        let file = site.write("stock.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,{stock}\n"));
        refused(&site, &["import", file.to_str().expect("a plain path")], &["Line 2", "stock"]).await;
    }
}

#[tokio::test]
async fn a_data_directory_in_use_is_left_alone() {
    let site = small_shop().await;
    let server = site.shop().open().await;
    let file = site.write("more.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,1\n"));
    let file = file.to_str().expect("a plain path");
    for arguments in [&["import", file][..], &["audit"], &["serve", "--listen", "127.0.0.1:0"]] {
        refused(&site, arguments, &["in use by another process"]).await;
    }
    // The shop has not noticed.
    assert_eq!(
        server.client("").await.get("/api/v1/products").await["items"].as_array().map(Vec::len),
        Some(1)
    );
    server.stop().await;
    site.audited().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for site in [Site::new(), small_shop().await] {
        refused(&site, &["serve", "--listen", &address], &[&address, "in use"]).await;
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    refused(&Site::new(), &["serve", "--listen", "localhost"], &["--listen", "localhost"]).await;
}

/// Commands that open the stores leave this one as it is.
async fn refused_store(site: &Site, reasons: &[&str]) {
    let file = site.write("more.csv", format!("{HEADER}mug,Mug,,,1.00,EUR,1\n"));
    let file = file.to_str().expect("a plain path");
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["import", file], &["audit"]] {
        refused(site, arguments, reasons).await;
    }
}

fn change(store: &Path, sql: &str) {
    Connection::open(store).expect("the store opens").execute_batch(sql).expect("SQL");
}

#[tokio::test]
async fn a_ledger_from_a_newer_version_is_left_alone() {
    let site = small_shop().await;
    change(&site.ledger(), "PRAGMA user_version = 1000");
    refused_store(&site, &["ledger.sqlite3", "newer version", "nothing was changed"]).await;
}

#[tokio::test]
async fn a_gateway_file_from_a_newer_version_is_left_alone() {
    let site = small_shop().await;
    change(&site.gateway(), "PRAGMA user_version = 1000");
    refused_store(&site, &["gateway.sqlite3", "newer version", "nothing was changed"]).await;
}

#[tokio::test]
async fn a_database_of_somebody_else_is_left_alone() {
    let site = small_shop().await;
    std::fs::remove_file(site.ledger()).expect("it is there");
    change(&site.ledger(), "CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')");
    refused_store(&site, &["ledger.sqlite3", "not a ledger", "nothing was changed"]).await;
}

#[tokio::test]
async fn a_ledger_in_the_place_of_the_gateway_file_is_left_alone() {
    let site = small_shop().await;
    std::fs::copy(site.ledger(), site.gateway()).expect("it is copied");
    refused_store(&site, &["gateway.sqlite3", "not a gateway file", "nothing was changed"]).await;
}

#[tokio::test]
async fn garbage_in_the_place_of_the_ledger_is_left_alone() {
    let site = small_shop().await;
    let garbage: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(site.ledger(), garbage).expect("it is written");
    refused_store(&site, &["ledger.sqlite3", "not a ledger", "nothing was changed"]).await;
}

#[tokio::test]
async fn a_token_secret_that_is_too_short_is_left_alone() {
    let site = small_shop().await;
    std::fs::write(site.data().join("token.key"), "short").expect("it is written");
    let serve = site.holdfast(&["serve", "--listen", "127.0.0.1:0"]).run().await;
    serve.refused(&["token.key", "too short"]);
    refused(&site, &["token", "--user", "7", "--role", "customer"], &["token.key", "too short"]).await;
}

#[tokio::test]
async fn a_file_in_the_place_of_the_data_directory_is_left_alone() {
    let site = Site::new();
    site.write("data", "not a directory");
    for arguments in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["audit"], &["token", "--user", "7", "--role", "admin"]]
    {
        site.holdfast(arguments).run().await.refused(&["data"]);
    }
    assert_eq!(std::fs::read_to_string(site.data()).expect("still a file"), "not a directory");
}

#[tokio::test]
async fn a_setting_that_is_not_known_is_refused() {
    let site = Site::new();
    let file = site.write("shop.toml", "[sale]\nlines_maximum = 3\n");
    let file = file.to_str().expect("a plain path");
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--config", file][..],
        &["serve", "--print-config", "--config", file],
        &["audit", "--config", file],
        &["token", "--user", "7", "--role", "admin", "--config", file],
    ] {
        refused(&site, arguments, &["configuration", "lines_maximum"]).await;
    }
    let finished =
        site.holdfast(&["serve", "--listen", "127.0.0.1:0"]).env("HOLDFAST_SALE__LINES_MAXIMUM", "3").run();
    finished.await.refused(&["configuration", "lines_maximum"]);
    assert!(!site.data().exists());
}

#[tokio::test]
async fn a_setting_with_a_bad_value_is_refused() {
    let site = Site::new();
    for (name, value, reason) in [
        ("HOLDFAST_SALE__LINES_MAX", "many", "LINES_MAX"),
        ("HOLDFAST_SALE__LINES_MAX", "-1", "LINES_MAX"),
        ("HOLDFAST_SALE__LINES_MAX", "0", "sale.lines_max"),
        ("HOLDFAST_SERVER__LISTEN", "nowhere", "LISTEN"),
        ("HOLDFAST_AUTH__SECRET", "short", "auth.secret"),
        ("HOLDFAST_PAYMENTS__FAULTS__LATE_RATE", "2", "rates"),
        ("HOLDFAST_LOG__LEVEL", "loud=very", "log.level"),
        ("HOLDFAST_LOG__FORMAT", "xml", "FORMAT"),
    ] {
        let finished = site.holdfast(&["serve"]).env(name, value).run().await;
        finished.refused(&["configuration", reason]);
        assert!(!site.data().exists(), "{name}={value} left a data directory");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_refused() {
    let site = Site::new();
    refused(&site, &["serve", "--config", "no.toml"], &["no.toml", "cannot be read"]).await;
    let file = site.write("broken.toml", "[sale\n");
    refused(&site, &["serve", "--config", file.to_str().expect("a plain path")], &["configuration"]).await;
}

#[tokio::test]
async fn a_back_end_that_is_not_known_is_refused() {
    for (name, value, reason) in [
        ("HOLDFAST_LEDGER__URL", "mysql://localhost/shop", "ledger.url"),
        ("HOLDFAST_LEDGER__URL", "sqlite:", "ledger.url"),
        ("HOLDFAST_LEDGER__URL", "sqlite:../elsewhere.sqlite3", "ledger.url"),
        ("HOLDFAST_LEDGER__URL", "sqlite:..", "ledger.url"),
        ("HOLDFAST_PAYMENTS__URL", "stripe:key", "payments.url"),
        ("HOLDFAST_PAYMENTS__URL", "simulated:a/b", "payments.url"),
        ("HOLDFAST_PAYMENTS__URL", "simulated:ledger.sqlite3", "payments.url"),
    ] {
        let site = Site::new();
        let finished = site.holdfast(&["serve", "--listen", "127.0.0.1:0"]).env(name, value).run().await;
        finished.refused(&["configuration", reason]);
        assert!(
            !site.data().exists(),
            "{name}={value} left a data directory: {:?}",
            contents(&site.data()).keys()
        );
    }
}

#[tokio::test]
async fn a_token_for_nobody_is_refused() {
    let site = small_shop().await;
    refused(&site, &["token", "--user", "0", "--role", "admin"], &["--user"]).await;
    refused(&site, &["token", "--user=-7", "--role", "admin"], &["--user"]).await;
    refused(&site, &["token", "--user", "me", "--role", "admin"], &["--user", "me"]).await;
    refused(&site, &["token", "--role", "admin"], &["--user"]).await;
}

#[tokio::test]
async fn a_token_for_a_role_that_is_not_known_is_refused() {
    let site = small_shop().await;
    refused(&site, &["token", "--user", "7", "--role", "king"], &["king", "customer", "admin"]).await;
}

#[tokio::test]
async fn there_is_no_token_without_a_shop() {
    let site = Site::new();
    refused(&site, &["token", "--user", "7", "--role", "admin"], &["there is no shop"]).await;
    // Nor in a directory with something else in it.
    std::fs::create_dir(site.data()).expect("a directory");
    std::fs::write(site.data().join("diary.txt"), "Dear diary").expect("it is written");
    refused(&site, &["token", "--user", "7", "--role", "admin"], &["there is no shop"]).await;
}

#[tokio::test]
async fn there_is_no_audit_without_a_shop() {
    let site = Site::new();
    refused(&site, &["audit"], &["there is no shop"]).await;
    std::fs::create_dir(site.data()).expect("a directory");
    std::fs::write(site.data().join("diary.txt"), "Dear diary").expect("it is written");
    refused(&site, &["audit"], &["there is no shop"]).await;
}

#[tokio::test]
async fn an_audit_does_not_invent_a_gateway_file_that_is_gone() {
    let site = small_shop().await;
    std::fs::remove_file(site.gateway()).expect("it is there");
    refused(&site, &["audit"], &["gateway.sqlite3"]).await;
}

/// A day of two invoices.
const DAY: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1001,10001,MUG,2,2011-11-29 08:07:00,1.50,13349.0,France
C1002,10001,MUG,-1,2011-11-29 09:00:00,1.50,13349.0,France
";

#[tokio::test]
async fn a_replay_needs_a_shop_that_answers() {
    let site = small_shop().await;
    let file = site.write("day.csv", DAY);
    let file = file.to_str().expect("a plain path");
    // Nobody listens at a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    refused(&site, &["replay", file, "--target", &nobody], &["cannot reach the shop"]).await;
    refused(&site, &["replay", file, "--target", "https://127.0.0.1:1"], &["https", "not supported"]).await;
    refused(&site, &["replay", file, "--target", "127.0.0.1:8080"], &["http://host:port"]).await;
    refused(&site, &["replay", file, "--target", "http://shop.invalid"], &["shop.invalid"]).await;
}

#[tokio::test]
async fn a_replay_needs_a_shop_with_the_products_of_the_day() {
    let site = small_shop().await;
    let file = site.write("day.csv", DAY);
    let file = file.to_str().expect("a plain path");
    let server = site.shop().open().await;
    refused(&site, &["replay", file, "--target", server.url()], &["10001", "import the file first"]).await;
    refused(&site, &["replay", "no.csv", "--target", server.url()], &["no.csv", "No such file"]).await;
}

#[tokio::test]
async fn a_replay_needs_numbers_that_make_sense() {
    let site = small_shop().await;
    let file = site.write("day.csv", DAY);
    let file = file.to_str().expect("a plain path");
    for (flag, value) in [
        ("--connections", "0"),
        ("--connections", "many"),
        ("--speed", "0"),
        ("--speed", "-1"),
        ("--speed", "NaN"),
        ("--speed", "1e-300"),
        ("--patience", "-1"),
        ("--patience", "18446744073709551615"),
    ] {
        refused(&site, &["replay", file, &format!("{flag}={value}")], &[flag]).await;
    }
}

#[tokio::test]
async fn a_bench_needs_numbers_that_make_sense() {
    let site = small_shop().await;
    let server = site.shop().open().await;
    for (flag, value) in [
        ("--connections", "0"),
        ("--connections", "1,0"),
        ("--connections", "many"),
        ("--seconds", "0"),
        ("--seconds", "NaN"),
        ("--seconds", "1e300"),
        ("--users", "0"),
        ("--products", "0"),
        ("--stock", "-1"),
        ("--rate", "0"),
        ("--rate", "NaN"),
        ("--rate", "-5"),
    ] {
        let argument = format!("{flag}={value}");
        refused(&site, &["bench", "--target", server.url(), &argument], &[flag]).await;
    }
    let products = server.client("").await.get("/api/v1/products").await;
    assert_eq!(products["items"].as_array().map(Vec::len), Some(1), "a bench that was refused made products");
}

#[tokio::test]
async fn a_command_that_is_not_known_is_refused() {
    let site = Site::new();
    refused(&site, &["sell"], &["sell", "--help"]).await;
    refused(&site, &["audit", "--everything"], &["--everything"]).await;
    refused(&site, &["import"], &["FILE"]).await;
    refused(&site, &["import", "a.csv", "--format", "xml"], &["xml", "online-retail"]).await;
}
