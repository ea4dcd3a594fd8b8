//! The dashboard of a shop in a process of its own says what its metrics say.

use holdfast::ports::ledger::Role;

use crate::support::http_client::Client;
use crate::support::live_stream::LiveStream;
use crate::support::process::Site;

const CATALOGUE: &str = "sku,name,price,currency,stock\nA,Lantern,12.50,EUR,60\n";

/// What Prometheus would read under a name with these labels.
async fn metric(anybody: &Client, series: &str) -> u64 {
    let exposition = anybody.get("/metrics").await.expect(200).text().to_owned();
    let value = exposition.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_default()
}

#[tokio::test]
async fn its_figures_are_those_of_the_metrics() {
    let site = Site::new();
    site.import(CATALOGUE).await;
    let shop = site.shop().open().await;
    let address = shop.address();
    let anybody = Client::new(address, None);
    let session = format!("holdfast_session={}", shop.token(1, Role::Admin));
    let dashboard = anybody.get("/admin/live").header("cookie", session.as_str());
    let mut stream = LiveStream::open(address, &dashboard.bytes()).await.expect("a stream");
    let consumers = loop {
        // The stores are asked from the moment on in which somebody looks.
        let event = stream.next().await.expect("an event");
        assert_eq!(event.name, "tick");
        if let Some(consumers) = event.data["standing"]["consumers"].as_array() {
            break consumers.len();
        }
    };
    assert_eq!(consumers, 5);

    // 60 are there: 20 times 2 and 20 times 1 are sold, and then nothing.
    let buyer = |user| Client::new(address, Some(shop.token(user, Role::Customer)));
    for user in 1..=20 {
        buyer(user).buy(1, 2, "a").await.expect(201);
        buyer(user).buy_with("tok_declined", 1, "b").await.expect(402);
        buyer(user).buy(1, 1, "c").await.expect(201);
        anybody.get("/api/v1/products/1").await.expect(200);
    }
    for user in 1..=7 {
        buyer(user).buy(1, 1, "d").await.expect(409);
    }
    let mut sums = [0_u64; 5];
    let mut selling = serde_json::Value::Null;
    let names = ["sales", "units", "sold_out", "declined", "views"];
    while sums != [40, 60, 7, 20, 20] {
        let event = stream.next().await.expect("an event");
        for tick in event.data["ticks"].as_array().expect("ticks") {
            for (sum, name) in sums.iter_mut().zip(names) {
                *sum += tick[name].as_u64().expect("a count");
            }
            assert_eq!(tick["servers"], 1);
        }
        if let Some(sold) = event.data["standing"]["selling"].get(0) {
            selling = sold.clone();
        }
        assert!(sums[0] <= 40 && sums[4] <= 20, "{sums:?}");
    }
    while selling["sold"] != 60 {
        let event = stream.next().await.expect("an event");
        selling = event.data["standing"]["selling"].get(0).cloned().unwrap_or(selling);
    }
    assert_eq!(
        (&selling["name"], &selling["available"], &selling["held"]),
        (&"Lantern".into(), &0.into(), &0.into())
    );

    let sagas = |result: &str, reason: &str| {
        format!("holdfast_sagas_total{{result=\"{result}\",reason=\"{reason}\"}}")
    };
    assert_eq!(metric(&anybody, &sagas("confirmed", "")).await, 40);
    assert_eq!(metric(&anybody, &sagas("refused", "INSUFFICIENT_STOCK")).await, 7);
    assert_eq!(metric(&anybody, &sagas("undone", "PAYMENT_DECLINED")).await, 20);
    assert_eq!(metric(&anybody, "holdfast_sold_units_total").await, 60);
    drop(stream);
    shop.stop().await;
    site.audited().await;
}
