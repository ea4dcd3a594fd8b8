//! More people than the shop can serve. Alone, because it measures time.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use holdfast::ports::ledger::Role;

use crate::support::http_client::Client;
use crate::support::process::{Server, Site};

/// Each order waits so long for its payment, and so many may do so: that bounds what is sold in a second.
const PAYMENT_MS: &str = "100";
const ROOM: &str = "24";

/// At overload still this part of what is sold without it, refusals within this time, and back soon after it.
const GOODPUT_MIN: f64 = 0.9;
const REFUSED_WITHIN: Duration = Duration::from_millis(20);
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// What one load has measured.
struct Measured {
    sales_per_s: f64,
    refused: u64,
    refused_p99: Duration,
    errors: u64,
}

async fn bench(site: &Site, shop: &Server, connections: &str, rate: Option<f64>) -> Measured {
    let mut bench = site.holdfast(&["bench", "--json", "--seconds", "3", "--users", "1000"]);
    bench = bench.arg("--target").arg(shop.url()).arg("--connections").arg(connections);
    if let Some(rate) = rate {
        bench = bench.arg("--rate").arg(rate.to_string());
    }
    let report = bench.run().await.json();
    let report = &report[0]["report"];
    let of = |answer: &str| &report["answers"][answer];
    let count = |answer: &str| of(answer)["count"].as_u64().unwrap_or_default();
    let p99 =
        |answer: &Value| Duration::from_micros(answer["latency_us"]["p99"].as_u64().unwrap_or_default());
    Measured {
        sales_per_s: of("sale")["per_second"].as_f64().expect("it sells"),
        refused: count("busy"),
        refused_p99: p99(of("busy")),
        errors: count("error") + count("pending"),
    }
}

/// One try; what falls short.
async fn overload(site: &Site, shop: &Server) -> Result<(), String> {
    let peak = bench(site, shop, ROOM, None).await;
    assert_eq!((peak.refused, peak.errors), (0, 0), "everybody gets in");
    for times in [2.0, 5.0] {
        let over = bench(site, shop, "200", Some(peak.sales_per_s * times)).await;
        let goodput = over.sales_per_s / peak.sales_per_s;
        let said = format!(
            "at {times} times {:.0}/s: {goodput:.2} of it is sold, {} are refused within {:?}",
            peak.sales_per_s, over.refused, over.refused_p99
        );
        println!("{said}");
        assert!(over.refused > 0 && over.errors == 0, "{said}, {} errors", over.errors);
        if goodput < GOODPUT_MIN || over.refused_p99 > REFUSED_WITHIN {
            return Err(said);
        }
        let begun = Instant::now();
        let customer = Client::new(shop.address(), Some(shop.token(1_000_000, Role::Customer)));
        let key = format!("after {times} {}", peak.sales_per_s);
        while customer.buy(1, 1, &key).await.status != 201 {
            assert!(begun.elapsed() < BACK_WITHIN, "it has not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn at_five_times_what_it_can_sell_it_sells_as_much_and_refuses_the_rest_at_once() {
    let site = Site::new();
    let shop = site
        .shop()
        .env("HOLDFAST_SALE__IN_FLIGHT_MAX", ROOM)
        .env("HOLDFAST_PAYMENTS__FAULTS__LATENCY_MS", PAYMENT_MS)
        .open()
        .await;
    // Another program may take the processors away for a moment, but not three times.
    let mut fell_short = Vec::new();
    while let Err(said) = overload(&site, &shop).await {
        fell_short.push(said);
        assert!(fell_short.len() < 3, "{fell_short:?}");
    }
    shop.stop().await;
    site.audited().await;
}
