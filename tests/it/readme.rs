//! The README's commands work as printed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

const README: &str = include_str!("../../README.md");

struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shell blocks of the section that buys something.
fn script() -> String {
    let section = README.split("## Buy something").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its end");
    section.split("```sh\n").skip(1).map(|block| block.split("```").next().expect("its end")).collect()
}

#[test]
fn each_curl_of_the_readme_works_as_printed() {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().to_str().expect("a plain path");
    let mut shop = Command::new(program)
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", data])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the shop starts");
    let mut greeting = String::new();
    BufReader::new(shop.stdout.take().expect("its output")).read_line(&mut greeting).expect("a greeting");
    let _shop = Shop(shop);
    let greeting: serde_json::Value = serde_json::from_str(&greeting).expect("JSON");
    let address = greeting["shop"].as_str().expect("an address").trim_start_matches("http://");

    // Only what differs between a reader's machine and this one is replaced, and the status of each
    // answer is told beside it.
    let script = script()
        .replace("cargo run --release --quiet --", &format!("{program} --data-dir {data}"))
        .replace("127.0.0.1:8080", address);
    let told =
        "curl() { command curl --silent --show-error --write-out '%{stderr}%{http_code}\\n' \"$@\"; }\n";
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &format!("{told}{script}")]).output();
    let output = output.expect("bash is installed; on Debian: apt-get install bash curl");
    let (answers, statuses) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "is curl installed? {statuses}\n{answers}");
    let statuses: Vec<&str> = statuses.lines().collect();
    assert_eq!(
        statuses,
        ["200", "200", "201", "200", "200", "200", "200", "409", "402", "201", "201", "200"],
        "{answers}"
    );
    for word in ["CONFIRMED", "out-of-stock", "payment-declined", "OrderCreated", "CANCELLED", "MUG-BLUE"] {
        assert!(answers.contains(word), "{word} is not in {answers}");
    }
}

#[test]
fn every_file_that_the_readme_links_to_is_there() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let missing: Vec<&str> = links
        .filter(|link| !link.starts_with("http"))
        .filter(|link| !std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
