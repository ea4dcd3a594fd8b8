//! A shop of one process, and what goes wrong in it.

use std::time::Duration;

use holdfast::ports::ledger::Role;
use rusqlite::Connection;

use crate::support::exposition::Exposition;
use crate::support::http_client::Client;
use crate::support::process::{Server, Site};
use crate::support::wait_for;

const CATALOGUE: &str = "sku,name,price,currency,stock\nA,Lantern,12.50,EUR,30\nB,Kettle,1.00,EUR,5\n";

/// The books are checked as often as gate and ledger are compared.
const OFTEN: (&str, &str) = ("HOLDFAST_CLUSTER__COMPARE_EVERY_MS", "100");

const PATIENCE: Duration = Duration::from_secs(30);

async fn customer(shop: &Server, user: i64) -> Client {
    Client::new(shop.address(), Some(shop.token(user, Role::Customer)))
}

#[tokio::test]
async fn figures_are_described_and_add_up_with_the_ledger_whatever_ends_the_process() {
    let site = Site::new();
    site.import(CATALOGUE).await;
    let shop = site.shop().env(OFTEN.0, OFTEN.1).open().await;
    for user in 1..=6 {
        let customer = customer(&shop, user).await;
        customer.buy(1, 2, "sold").await.expect(201);
        customer.buy_with("tok_declined", 1, "declined").await.expect(402);
        customer.buy(2, 6, "too many").await.expect(409);
        customer.buy(99, 1, "no such product").await.expect(422);
        customer.get("/api/v1/products/1").await.expect(200);
    }
    let cancelled = customer(&shop, 7).await;
    let order = cancelled.buy(1, 3, "sold").await.expect(201).id();
    cancelled.cancel(&order).await.expect(200);
    let shows = async |shop: &Server, name: &str, value: f64| {
        wait_for(name, PATIENCE, async || Exposition::of(shop).await.get(name) == Some(value)).await;
    };
    shows(&shop, "holdfast_shop_sales_total", 7.0).await;
    shows(&shop, "holdfast_shop_sold_units_total", 15.0).await;
    shows(&shop, "holdfast_shop_cancelled_sales_total", 1.0).await;
    shows(&shop, "holdfast_oversold_units", 0.0).await;
    let figures = Exposition::of(&shop).await;
    figures.assert_described();
    let told = |result: &str| figures.get(&format!("holdfast_purchases_total{{result=\"{result}\"}}"));
    assert_eq!(
        ["sold", "declined", "refused", "invalid", "failed", "busy"].map(told),
        [Some(7.0), Some(6.0), Some(6.0), Some(6.0), None, None]
    );
    assert_eq!(figures.get("holdfast_sold_units_total"), Some(15.0));
    assert_eq!(figures.get("holdfast_saga_duration_seconds_count{result=\"confirmed\"}"), Some(7.0));
    assert_eq!(
        figures.get(
            "holdfast_saga_step_outcomes_total{step=\"take_payment\",action=\"act\",outcome=\"rejected\"}"
        ),
        Some(6.0)
    );
    for name in [
        "holdfast_db_commit_duration_seconds_count",
        "holdfast_db_connections_max",
        "holdfast_http_connections",
        "holdfast_runtime_workers",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(figures.sum(name) > 0.0, "{name}");
    }
    // The process's own counts begin anew, those of the shop go on, and nothing is counted twice.
    shop.kill().await;
    let shop = site.shop().open().await;
    customer(&shop, 8).await.buy(1, 1, "sold").await.expect(201);
    shows(&shop, "holdfast_shop_sales_total", 8.0).await;
    shows(&shop, "holdfast_shop_sold_units_total", 16.0).await;
    shows(&shop, "holdfast_sagas_total{result=\"confirmed\",reason=\"\"}", 1.0).await;
    shop.stop().await;
    let ledger = Connection::open(site.ledger()).expect("the ledger");
    let count = |sql: &str| ledger.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("it answers");
    assert_eq!(count("SELECT count(*) FROM orders WHERE status = 'CONFIRMED'"), 8 - 1);
    assert_eq!(count("SELECT count(*) FROM orders WHERE status = 'CANCELLED'"), 1);
}

#[tokio::test]
async fn units_that_never_were_and_money_without_an_order_are_found_in_the_data() {
    let site = Site::new();
    site.import(CATALOGUE).await;
    let shop = site.shop().open().await;
    let [kept, changed] = [1, 2];
    let mut orders = Vec::new();
    for user in [kept, changed] {
        orders.push(customer(&shop, user).await.buy(2, 1, "a").await.expect(201).id());
    }
    shop.stop().await;
    // Somebody has been at the files: an order of 1 of 5 units is one of 7, and another one is said to have failed.
    let ledger = Connection::open(site.ledger()).expect("the ledger");
    let id = |order: &str| order.replace('-', "");
    let change = |sql: String| assert_eq!(ledger.execute(&sql, []).expect("it is changed"), 1, "{sql}");
    change(format!("UPDATE order_lines SET quantity = 7 WHERE order_id = x'{}'", id(&orders[0])));
    change(format!("UPDATE orders SET status = 'FAILED' WHERE id = x'{}'", id(&orders[1])));
    drop(ledger);
    let shop = site.shop().env(OFTEN.0, OFTEN.1).open().await;
    wait_for("both to be found", PATIENCE, async || {
        let figures = Exposition::of(&shop).await;
        figures.get("holdfast_oversold_units") == Some(2.0)
            && figures.get("holdfast_charged_without_order") == Some(1.0)
    })
    .await;
    shop.stop().await;
}
