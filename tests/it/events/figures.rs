//! Figures of sales, as administrators see them.

use serde_json::json;

use crate::contract::suite;
use crate::support::profile::Stores;
use crate::support::test_app::TestApp;

use super::{caught_up, finish};

async fn sales_cancels_and_failures_are_counted_once(stores: Stores) {
    let builder = TestApp::builder().priced(10, 250, "EUR").priced(10, 900, "EUR").priced(10, 100, "GBP");
    let app = builder.start_over(stores).await;
    let customer = app.customer(5);
    let cancelled = customer.buy(1, 2, "a").await.expect(201).id();
    customer.buy(1, 1, "b").await.expect(201);
    customer.buy(2, 3, "c").await.expect(201);
    customer.buy(3, 4, "d").await.expect(201);
    customer.buy_with("tok_declined", 1, "e").await.expect(402);
    customer.buy(1, 11, "f").await.expect(409);
    customer.cancel(&cancelled).await.expect(200);
    caught_up(&app).await;
    let figures = app.admin().get("/api/v1/admin/analytics").await.expect(200).json();
    let sum = |currency: &str, field: &str| -> i64 {
        let minutes = figures["minutes"].as_array().expect("minutes").iter();
        let of_currency = minutes.filter(|minute| minute["revenue"]["currency"] == currency);
        of_currency
            .map(|minute| minute[field].as_i64().or(minute[field]["amount"].as_i64()).expect("a number"))
            .sum()
    };
    let euros = ["sales", "units", "revenue", "cancelled_sales", "cancelled_units", "cancelled"]
        .map(|field| sum("EUR", field));
    assert_eq!(euros, [3, 6, 2 * 250 + 250 + 3 * 900, 1, 2, 500]);
    assert_eq!(["sales", "units", "revenue"].map(|field| sum("GBP", field)), [1, 4, 400]);
    let failures = figures["failures"].as_array().expect("failures");
    assert_eq!(
        (failures.len(), &failures[0]["reason"], &failures[0]["orders"]),
        (1, &json!("PAYMENT_DECLINED"), &json!(1))
    );
    let best: Vec<_> =
        figures["top_products"].as_array().expect("products").iter().map(|p| &p["product_id"]).collect();
    assert_eq!(best, [2, 1, 3]);
    let one = app.admin().get("/api/v1/admin/analytics?top=1").await.expect(200).json();
    assert_eq!(one["top_products"].as_array().map(Vec::len), Some(2), "one of each currency");
    let before = "/api/v1/admin/analytics?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    assert_eq!(app.admin().get(before).await.expect(200).json()["minutes"], json!([]));
    finish(app).await;
}

async fn figures_and_findings_are_for_administrators(stores: Stores) {
    let app = TestApp::builder().product(1).start_over(stores).await;
    for path in ["/api/v1/admin/analytics", "/api/v1/admin/sagas/findings"] {
        app.anybody().get(path).await.expect(401);
        app.customer(5).get(path).await.expect(403);
        app.admin().get(path).await.expect(200);
    }
    for (query, status) in [
        ("top=0", 422),
        ("top=1001", 422),
        ("top=many", 400),
        ("from=yesterday", 400),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
        ("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", 422),
        ("until=2026-01-01T00:00:00Z", 400),
    ] {
        app.admin().get(&format!("/api/v1/admin/analytics?{query}")).await.expect(status);
    }
    app.admin().get("/api/v1/admin/sagas/findings?limit=0").await.expect(422);
    finish(app).await;
}

async fn a_saga_that_ends_as_the_ledger_says_is_no_longer_watched(stores: Stores) {
    let builder = TestApp::builder().product(5).config(|config| config.events.stopped_after_ms = 1);
    let app = builder.start_over(stores).await;
    app.customer(5).buy(1, 1, "a").await.expect(201);
    caught_up(&app).await;
    // All ended as the ledger says: the watch ends, and nothing is found.
    let store = std::sync::Arc::clone(&app.shop.stores.consumers);
    let later = holdfast::domain::Timestamp(i64::MAX);
    crate::support::wait_for("the watch ends", crate::support::test_app::PATIENCE, async || {
        store.watched(later, 10).await.expect("the store answers").is_empty()
    })
    .await;
    let found = app.admin().get("/api/v1/admin/sagas/findings").await.expect(200).json();
    assert_eq!(found, json!({ "items": [] }));
    finish(app).await;
}

macro_rules! stories {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                sales_cancels_and_failures_are_counted_once,
                figures_and_findings_are_for_administrators,
                a_saga_that_ends_as_the_ledger_says_is_no_longer_watched,
            ]
        );
    };
}

stories!(embedded, super::Stores::embedded());
stories!(cluster, super::Stores::cluster_with_kafka().await);
