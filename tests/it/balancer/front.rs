//! What customers get at the door: encryption, what is kept of answers, live pages and limits.

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::nginx::{BROWSER, Nginx, Plan, Servers};
use crate::support::process::PATIENCE;
use crate::support::wait_for;

const LONG: &str = include_str!("../../../deploy/nginx/nginx.conf");

#[tokio::test]
async fn many_who_look_at_a_product_are_one_question() {
    let kept = "200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=60";
    let servers = Servers::start(Plan::Answer(kept, r#"{"available":5}"#)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    let token = &["--header", "Authorization: Bearer secret"];
    let look = async || nginx.ask("/api/v1/products/1", token).await;
    let answers = tokio::join!(look(), look(), look(), look());
    for answer in [answers.0, answers.1, answers.2, answers.3, look().await] {
        assert_eq!((answer.status, answer.body.as_slice()), (200, br#"{"available":5}"#.as_slice()));
    }
    let seen = servers.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(!seen[0].1.to_lowercase().contains("authorization"), "who asks is not told: {seen:?}");
    // Others are other questions.
    nginx.ask("/api/v1/products?q=mug", &[]).await;
    assert_eq!(servers.seen().len(), 2);
    nginx.stop().await;
}

#[tokio::test]
async fn products_are_shown_while_all_servers_are_away() {
    let kept = "200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=1";
    let mut servers = Servers::start(Plan::Answer(kept, "{}")).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    assert_eq!(nginx.ask("/api/v1/products/1", &[]).await.header("x-cache"), Some("MISS"));
    servers.close_all().await;
    wait_for("what was kept to be old", PATIENCE, async || {
        let answer = nginx.ask("/api/v1/products/1", &[]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()), "{answer:?}");
        answer.header("x-cache") == Some("STALE")
    })
    .await;
    nginx.stop().await;
}

#[tokio::test]
async fn live_pages_go_out_as_they_come() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let text: &'static str = Box::leak(format!("{head}d\r\nevent: stock\n\r\n").into_boxed_str());
    let servers = Servers::start(Plan::Begin(text)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    let of_api = ["/api/v1/products/1/live", "/api/v1/orders/1/live"];
    for path in of_api.into_iter().chain(["/products/1/live", "/orders/1/live", "/admin/live"]) {
        let mut curl = nginx.curl_command(&["--no-buffer", &nginx.url(path)]);
        let mut curl = curl.spawn().expect("curl starts");
        let mut lines = BufReader::new(curl.stdout.take().expect("a pipe")).lines();
        // The server is not done, and says nothing more.
        let line = timeout(PATIENCE, lines.next_line()).await.expect("an event in time").expect("a pipe");
        assert_eq!(line.as_deref(), Some("event: stock"), "{path}");
        curl.kill().await.expect("curl ends");
    }
    nginx.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_come_back() {
    let servers = Servers::start(Plan::Answer("200 OK\r\ncontent-type: application/json", "{}")).await;
    let nginx = Nginx::start(servers.addresses, 1).await;
    // More than may come at once, as fast as they come.
    let url = nginx.url("/api/v1/auth/login?n=[1-150]");
    let statuses = nginx
        .curl(&["--json", "{}", "--output", "/dev/null", "--write-out", "%{http_code}\n", url.as_str()])
        .await;
    let statuses = String::from_utf8(statuses).expect("statuses");
    let count = |wanted: &str| statuses.lines().filter(|status| *status == wanted).count();
    assert_eq!(count("200") + count("429"), 150, "{statuses}");
    assert!(count("200") >= 101 && count("429") > 0, "{statuses}");
    let answer = nginx.ask("/api/v1/auth/login", &["--json", "{}"]).await;
    answer.assert_problem(429, "about:blank");
    let page = nginx.ask("/sign-in", &["--data", "", "--header", BROWSER]).await;
    page.assert_page(429, false);
    // Other things go on.
    assert_eq!(nginx.ask("/api/v1/orders/1", &[]).await.status, 200);
    nginx.stop().await;
}

#[tokio::test]
async fn answers_are_encrypted_and_compressed_and_figures_stay_inside() {
    let servers = Servers::start(Plan::Answer("200 OK\r\ncontent-type: application/json", LONG)).await;
    let nginx = Nginx::start(servers.addresses, 50).await;
    let (url, gzip) = (nginx.url("/api/v1/orders/1"), "Accept-Encoding: gzip");
    let form = ["--http2", "--output", "/dev/null", "--write-out", "%{http_version}", url.as_str()];
    assert_eq!(nginx.curl(&form).await, b"2");
    let answer = nginx.ask("/api/v1/orders/1", &["--header", gzip]).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"), "{answer:?}");
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    assert!(answer.body.len() < LONG.len() / 2, "{} of {} bytes", answer.body.len(), LONG.len());
    let plain = nginx.ask("/api/v1/orders/1", &["--header", "X-Request-Id: mine"]).await;
    assert_eq!(plain.body, LONG.as_bytes());
    assert!(servers.seen().last().is_some_and(|(_, head)| head.contains("X-Request-Id: mine\r\n")));
    assert_eq!(plain.header("x-request-id"), Some("mine"));
    assert_eq!(answer.header("x-request-id").map(str::len), Some(32), "nginx names a request without a name");

    let before = servers.seen().len();
    assert_eq!(nginx.ask("/metrics", &[]).await.status, 404);
    assert_eq!(servers.seen().len(), before);
    let figures = nginx.ask_inside("/metrics").await;
    assert!(String::from_utf8_lossy(&figures.body).contains("\nnginx_connections{state=\"active\"} "));
    nginx.stop().await;
}
