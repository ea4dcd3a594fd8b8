//! Clients that hang up before they are answered: what they asked for is done whole or not at all.

use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

use super::administration::{adjust, lamp};

/// Sends each request and hangs up without waiting for its answer.
async fn hang_up(app: &TestApp, requests: impl IntoIterator<Item = Vec<u8>>) {
    for request in requests {
        let mut connection = app.connect().await;
        connection.write(&request).await;
    }
}

/// Looks in a row that have to show the same.
const LOOKS: u32 = 100;

/// Waits until nothing of what was asked for is still being done, on any server.
async fn settled(app: &TestApp) {
    app.anybody().get("/readyz").await.expect(200);
    app.quiet().await;
    let (mut last, mut same) = (None, 0);
    wait_for("nothing changes any more", PATIENCE, async || {
        let now = Some((app.levels().await, app.gate_levels().await));
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same == LOOKS
    })
    .await;
}

#[tokio::test]
async fn stock_changed_for_somebody_who_hung_up_is_changed_at_the_gate_too() {
    let app = TestApp::builder().product(5).start().await;
    let admin = app.admin();
    for n in 0..50 {
        hang_up(&app, [adjust(&admin, &format!("key {n}"), 1).bytes()]).await;
    }
    // A change that is answered is not kept waiting by one of them.
    tokio::time::timeout(PATIENCE / 3, adjust(&admin, "last", 1)).await.expect("no lock is left").expect(200);
    let agree = async || {
        let gate = app.gate_levels().await;
        gate.iter().map(|level| (level.stock, level.reserved)).collect::<Vec<_>>() == app.levels().await
    };
    wait_for("the gate agrees with the ledger", PATIENCE, agree).await;
    settled(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn a_product_added_for_somebody_who_hung_up_can_be_bought() {
    let app = TestApp::builder().start().await;
    let admin = app.admin();
    for n in 0..50 {
        let mut product = lamp();
        product["sku"] = format!("LAMP-{n}").into();
        hang_up(&app, [admin.post("/api/v1/admin/products", &product).bytes()]).await;
    }
    settled(&app).await;
    let known = async || {
        let gate = app.gate_levels().await;
        gate.len() == app.levels().await.len()
    };
    wait_for("the gate knows every product", PATIENCE, known).await;
    app.finish().await;
}

#[tokio::test]
async fn orders_of_buyers_who_hung_up_are_sold_whole_or_not_at_all() {
    let app = TestApp::builder().product(100).start().await;
    let buyers: Vec<_> = (1..=100).map(|id| app.customer(id)).collect();
    hang_up(&app, buyers.iter().map(|buyer| buyer.buy(1, 1, "a").bytes())).await;
    // Their retries find what there is, or buy now.
    for buyer in &buyers {
        buyer.buy(1, 1, "a").await.expect(201);
    }
    assert_eq!(app.levels().await, [(0, 0)]);
    let report = app.finish().await;
    assert_eq!(report.orders, [("CONFIRMED", 100)].into());
}

#[tokio::test]
async fn an_order_cancelled_by_somebody_who_hung_up_is_cancelled_or_still_confirmed() {
    let app = TestApp::builder().product(20).start().await;
    let buyer = app.customer(1);
    let mut orders = Vec::new();
    for n in 0..20 {
        orders.push(buyer.buy(1, 1, &format!("key {n}")).await.expect(201).id());
    }
    hang_up(&app, orders.iter().map(|order| buyer.cancel(order).bytes())).await;
    for order in &orders {
        let cancelled = async || buyer.cancel(order).await.status == 200;
        wait_for("the order is cancelled", PATIENCE, cancelled).await;
    }
    assert_eq!(app.levels().await, [(20, 0)]);
    app.finish().await;
}
