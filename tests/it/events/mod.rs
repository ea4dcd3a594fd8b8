//! What becomes of events: mails, figures, findings, webhooks, traces. Over the log of one process, and over Kafka with two servers.

mod caches;
mod crashes;
mod figures;
mod mails;
mod poison;
mod traces;
mod webhooks;

use serde_json::json;

use crate::support::http_client::Client;
use crate::support::kafka;
use crate::support::test_app::TestApp;

/// Waits until every group has taken in everything that has happened.
async fn caught_up(app: &TestApp) {
    app.quiet().await;
    let log = app.shop.stores.log.as_ref().expect("there is an event log");
    // What is committed last may still be on its way to the log.
    let told = async || {
        let mut history = log.history().await.expect("the log answers");
        let mut count = 0;
        loop {
            let part = history.next(1_000, std::time::Duration::from_secs(2)).await.expect("the log answers");
            if part.is_empty() {
                return count;
            }
            count += part.len();
        }
    };
    let all = audit(app).await.events;
    crate::support::wait_for("every event is in the log", crate::support::test_app::PATIENCE, async || {
        told().await >= usize::try_from(all).expect("few")
    })
    .await;
    kafka::caught_up(&**log).await;
}

async fn audit(app: &TestApp) -> holdfast::audit::Report {
    holdfast::audit::Audit::of(&app.shop.stores).run(|_| {}).await.expect("the stores answer")
}

/// Closes the shop after every group has caught up, so that the audit compares everything.
async fn finish(app: TestApp) {
    caught_up(&app).await;
    let report = app.finish().await;
    assert!(report.lag.is_empty(), "{:?}", report.lag);
}

/// Opens an account and signs in.
async fn registered(app: &TestApp, email: &str) -> Client {
    let credentials = json!({ "email": email, "password": "a password that is long enough" });
    let token = app.anybody().post("/api/v1/auth/register", &credentials).await.expect(201).json();
    let mut client = app.anybody();
    client.token = token["access_token"].as_str().map(str::to_owned);
    client
}
