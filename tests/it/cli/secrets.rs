//! Passwords and secrets: who gets to see them, and who does not.

use std::os::unix::fs::PermissionsExt as _;

use holdfast::ports::ledger::Role;
use serde_json::json;

use crate::support::http_client;
use crate::support::process::{Server, Site};

const SECRET: &str = "a-secret-of-more-than-32-characters-that-nobody-may-see";
const EMAIL: &str = "anna@example.org";
const PASSWORD: &str = "correct horse battery";

/// What signing in with these words is answered with.
async fn sign_in(server: &Server, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    server.client("").await.post("/api/v1/auth/login", &body).await.0
}

#[tokio::test]
async fn the_settings_are_shown_without_the_secret() {
    let site = Site::new();
    let secrets = ["AUTH__SECRET", "PAYMENTS__SECRET", "PAYMENTS__WEBHOOK_SECRET"];
    let show = secrets.into_iter().fold(site.bare(&["serve", "--print-config"]), |show, name| {
        show.env(&format!("HOLDFAST_{name}"), SECRET)
    });
    let shown = show.run().await;
    assert!(!shown.stdout.contains("nobody-may-see"), "{}", shown.stdout);
    let settings = shown.json();
    assert_eq!(settings["auth"]["secret"], "(secret)");
    for name in ["secret", "webhook_secret"] {
        assert_eq!(settings["payments"][name], "(secret)");
    }
    let file = site.write("shop.toml", format!("auth.secret = '{SECRET}'\nauth.tokem_ttl_s = 3\n"));
    let refused = site.bare(&["serve", "--print-config", "--config"]).arg(&file).run().await;
    refused.refused(&["tokem_ttl_s"]);
    assert!(!refused.stderr.contains("nobody-may-see"), "{}", refused.stderr);
}

#[tokio::test]
async fn the_first_administrator_comes_from_the_environment() {
    let site = Site::new();
    let start = || site.shop().env("HOLDFAST_ADMIN_EMAIL", EMAIL).env("HOLDFAST_ADMIN_PASSWORD", PASSWORD);
    let server = start().open().await;
    assert_eq!(
        (&server.greeting["admin_email"], &server.greeting["admin_password"]),
        (&json!(EMAIL), &json!(null))
    );
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let (status, token) = server.client("").await.post("/api/v1/auth/login", &body).await;
    assert_eq!(status, 200);
    let mut admin = server.client(token["access_token"].as_str().expect("a token")).await;
    assert_eq!(admin.unfinished().await.len(), 0);
    server.stop().await;

    // Later starts change nothing about it, whatever the environment says then.
    let server = site.shop().env("HOLDFAST_ADMIN_PASSWORD", "another password").open().await;
    assert_eq!(server.greeting["admin_email"], json!(null));
    assert_eq!(sign_in(&server, EMAIL, "another password").await, 401);
    assert_eq!(sign_in(&server, EMAIL, PASSWORD).await, 200);
}

#[tokio::test]
async fn a_password_that_was_made_is_printed_once() {
    let site = Site::new();
    let server = site.shop().open().await;
    let email = server.greeting["admin_email"].as_str().expect("an address").to_owned();
    let password = server.greeting["admin_password"].as_str().expect("a password").to_owned();
    assert!(password.len() >= 20, "{password:?} can be guessed");
    assert_eq!(sign_in(&server, &email, &password).await, 200);
    server.stop().await;

    let server = site.shop().open().await;
    assert_eq!(
        (&server.greeting["admin_email"], &server.greeting["admin_password"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(sign_in(&server, &email, &password).await, 200);
    server.stop().await;
    // And nowhere but in the greeting.
    assert!(!site.logs().contains(&password));
    let other = Site::new();
    let server = other.shop().open().await;
    assert_ne!(server.greeting["admin_password"], password, "two shops made the same password");
}

#[tokio::test]
async fn a_first_administrator_that_cannot_be_is_refused() {
    let site = Site::new();
    for (email, password) in [(EMAIL, "short"), (EMAIL, ""), ("nobody", PASSWORD), ("", PASSWORD)] {
        let start = site.shop().env("HOLDFAST_ADMIN_EMAIL", email).env("HOLDFAST_ADMIN_PASSWORD", password);
        let finished = start.run().await;
        finished.refused(&["HOLDFAST_ADMIN_EMAIL", "HOLDFAST_ADMIN_PASSWORD"]);
        assert!(password.is_empty() || !finished.stderr.contains(password), "{}", finished.stderr);
    }
    // The next start is the first one all the same.
    let server = site.shop().env("HOLDFAST_ADMIN_PASSWORD", PASSWORD).open().await;
    assert_eq!(sign_in(&server, "admin@localhost", PASSWORD).await, 200);
}

#[tokio::test]
async fn the_secret_that_signs_tokens_is_for_its_owner_alone() {
    let site = Site::new();
    site.shop().open().await.stop().await;
    let key = site.data().join("token.key");
    let mode = || std::fs::metadata(&key).expect("the shop has a secret").permissions().mode() & 0o777;
    let made = std::fs::read(&key).expect("the shop has a secret");
    assert_eq!(mode(), 0o600);
    site.shop().open().await.stop().await;
    assert_eq!((mode(), std::fs::read(&key).expect("a secret")), (0o600, made), "the secret stays");
}

#[tokio::test]
async fn no_log_line_has_a_password_a_token_or_a_secret() {
    for format in ["text", "json"] {
        let site = Site::new();
        site.import("sku,name,price,currency,stock\nlamp,Lamp,89.00,EUR,10\n").await;
        let trace = [
            ("HOLDFAST_LOG__LEVEL", "trace".to_owned()),
            ("HOLDFAST_LOG__FORMAT", format.to_owned()),
            // Nothing is left out.
            ("HOLDFAST_LOG__PER_SECOND_MAX", "1000000".to_owned()),
        ];
        let admin = ("HOLDFAST_ADMIN_PASSWORD", PASSWORD.to_owned());
        let server = site.shop().envs(&trace).envs(&[admin]).open().await;
        let mut guest = server.client("").await;
        let credentials = json!({ "email": EMAIL, "password": "a password of a customer" });
        let (status, registered) = guest.post("/api/v1/auth/register", &credentials).await;
        assert_eq!(status, 201);
        let wrong = json!({ "email": EMAIL, "password": "a password that is wrong" });
        assert_eq!(guest.post("/api/v1/auth/login", &wrong).await.0, 401);
        let odd = json!({ "email": EMAIL, "passphrase": "a password in the wrong field" });
        assert!(guest.post("/api/v1/auth/login", &odd).await.0 >= 400);

        let bearer = registered["access_token"].as_str().expect("a token").to_owned();
        let mut buyer = server.client(&bearer).await;
        let lamp = buyer.get("/api/v1/products").await["items"][0]["id"].clone();
        for token in ["tok_ok", "tok_timeout_before", "card-number-4242"] {
            let body = json!({ "lines": [{ "product_id": lamp, "quantity": 1 }], "payment_token": token });
            buyer.order(token, &body).await.expect("an answer");
        }
        // The same on pages, where a browser sends forms.
        let page = http_client::Client::new(server.address(), None);
        for (path, form) in [
            ("/sign-in", "email=anna%40example.org&password=a+password+that+is+wrong&csrf=x"),
            ("/sign-up", "email=anna%40example.org&password=short-pw"),
            ("/checkout", "key=1&basket=1x1&card=card-number-4242&total_minor=1&currency=EUR"),
        ] {
            let refused = page
                .request("POST", path)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .await;
            assert!(refused.status >= 300, "{}", refused.shown());
        }
        let forged = format!("{}x", server.token(7, Role::Admin));
        let mut forger = server.client(&forged).await;
        assert_eq!(forger.send("GET", "/api/v1/admin/sagas", None, None).await.expect("an answer").0, 401);
        server.stop().await;

        let log = site.logs();
        assert!(log.contains("a charge was not answered"), "the log says nothing: {log}");
        let key = std::fs::read_to_string(site.data().join("token.key")).expect("a secret");
        let signature = |token: &str| token.rsplit('.').next().expect("a part").to_owned();
        for secret in [
            PASSWORD,
            "a password of a customer",
            "a password that is wrong",
            "a password in the wrong field",
            &bearer,
            &signature(&bearer),
            &forged,
            &key,
            "card-number-4242",
            "argon2id$",
            EMAIL,
            "anna%40example.org",
            "password+that",
            "short-pw",
        ] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "a log line has {secret:?}");
        }
    }
}
