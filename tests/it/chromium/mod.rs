//! The shop in a real browser: what `tests/browser/` tells of it. The stories run over either profile, everything about
//! looks over the embedded one.
//!
//! Alone, because some of them measure time.

mod looks;
mod stories;

use std::path::Path;
use std::process::{Command, Stdio};

use holdfast::http::api::register::{Credentials, open_account};
use holdfast::ports::ledger::Role;

use crate::support::test_app::TestApp;

/// Names the browser; `cargo xtask test` has one, and what drives it.
const CHROMIUM: &str = "HOLDFAST_TEST_CHROMIUM";

const EMAIL: &str = "root@example.com";
const PASSWORD: &str = "correct horse battery";

/// Opens a shop and lets a browser do in it what these files tell.
async fn tell(files: &'static [&'static str]) {
    let chromium = std::env::var(CHROMIUM).unwrap_or_default();
    assert!(
        !chromium.is_empty(),
        "{CHROMIUM} names no browser: run `cargo xtask test`, or set it and run `npm ci` in tests/browser"
    );
    let shop = TestApp::builder().product(500).config(|config| {
        // As it is outside of tests: a buyer whose bank stays silent sees their order on its way.
        config.sale.answer_within_ms = 2_000;
        config.payments.faults.timeout_ms = 1_000;
    });
    let app = shop.start().await;
    let credentials = Credentials { email: EMAIL.to_owned(), password: PASSWORD.to_owned().into() };
    open_account(&app.shop, credentials, Role::Admin).await.expect("the administrator has an account");
    let shops: Vec<_> = app.addresses().iter().map(|address| format!("http://{address}")).collect();
    let mut command = Command::new("npx");
    command
        .args(["playwright", "test"])
        .args(files)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser"))
        .env("HOLDFAST_TEST_SHOPS", shops.join(","))
        .env("HOLDFAST_TEST_ADMIN_TOKEN", app.admin_token())
        .env("HOLDFAST_TEST_ADMIN_EMAIL", EMAIL)
        .env("HOLDFAST_TEST_ADMIN_PASSWORD", PASSWORD)
        .stdin(Stdio::null());
    let told = tokio::task::spawn_blocking(move || command.output());
    let told = told.await.expect("it is waited for").expect("npx comes with Node.js, and is not there");
    let text = [told.stdout, told.stderr].concat();
    println!("{}", String::from_utf8_lossy(&text));
    assert!(told.status.success(), "what the browser was to do did not work out: see above");
    app.finish().await;
}
