//! Live pages: what open streams are told of stock and of orders, and when.

use std::time::Duration;

use futures_util::future::join_all;
use holdfast::domain::OrderId;
use insta::assert_snapshot;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::http_client::Client;
use crate::support::live_stream::{LiveEvent, LiveStream};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

const STOCK: &str = "/api/v1/products/1/live";

/// Within this time a browser sees what another one has bought.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

fn available(event: &LiveEvent) -> i64 {
    assert_eq!(event.name, "stock");
    assert!(event.data["as_of"].as_str().is_some_and(|time| time.ends_with('Z')), "{event:?}");
    event.data["available"].as_i64().expect("a number")
}

/// The events of a stream up to the one that shows so many units.
async fn until(stream: &mut LiveStream, units: i64) -> Vec<LiveEvent> {
    let mut events: Vec<LiveEvent> = Vec::new();
    loop {
        let event = stream.next().await.expect("the stream goes on");
        let shown = available(&event);
        let id = |event: &LiveEvent| event.id.parse::<i64>().expect("milliseconds");
        if let Some(before) = events.last() {
            assert!(id(before) < id(&event), "ids rise: {before:?} {event:?}");
            assert_ne!(available(before), shown, "only what has changed is told");
        }
        events.push(event);
        if shown == units {
            return events;
        }
    }
}

/// A stream of product 1 at each server, which has begun.
async fn streams(app: &TestApp, units: i64) -> Vec<LiveStream> {
    let mut streams = Vec::new();
    for server in 0..app.servers() {
        let mut stream = app.live(server, &app.anybody(), STOCK).await;
        assert_eq!(available(&stream.next().await.expect("an event at once")), units);
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_seen_by_open_pages_of_every_server_within_half_a_second() {
    const SALES: i64 = 7;
    let app = TestApp::builder().product(100).start().await;
    let mut streams = streams(&app, 100).await;
    let buyer = app.customer(1);
    let mut seen_after = Vec::new();
    for sold in 1..=SALES {
        buyer.buy(1, 1, &format!("key {sold}")).await.expect(201);
        let since = Instant::now();
        join_all(streams.iter_mut().map(|stream| until(stream, 100 - sold))).await;
        seen_after.push(since.elapsed());
    }
    // As a rule, because other tests make the machine slow now and then.
    seen_after.sort();
    assert!(seen_after[seen_after.len() / 2] < SEEN_WITHIN, "{seen_after:?}");
    app.finish().await;
}

#[tokio::test]
async fn units_that_come_back_are_seen_too() {
    let app = TestApp::builder().product(3).start().await;
    let mut streams = streams(&app, 3).await;
    let buyer = app.customer(1);
    let order = buyer.buy(1, 3, "a").await.expect(201).id();
    for stream in &mut streams {
        until(stream, 0).await;
    }
    buyer.cancel(&order).await.expect(200);
    for stream in &mut streams {
        until(stream, 3).await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_pages_of_a_product_are_told_the_same() {
    let app = TestApp::builder().product(100).start().await;
    let anybody = app.anybody();
    let mut streams = join_all((0..50).map(|_| app.live(0, &anybody, STOCK))).await;
    let began = join_all(streams.iter_mut().map(LiveStream::next)).await;
    assert!(began.iter().all(|event| *event == began[0] && event.is_some()), "{began:?}");
    app.customer(1).buy(1, 40, "a").await.expect(201);
    let told = join_all(streams.iter_mut().map(|stream| until(stream, 60))).await;
    assert!(told.iter().all(|events| events.last() == told[0].last()), "{told:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_sales_is_told_in_few_events_and_the_last_figure_is_right() {
    let app = TestApp::builder().product(150).start().await;
    let mut streams = streams(&app, 150).await;
    let since = Instant::now();
    let buyers: Vec<_> = (1..=100).map(|id| app.customer(id)).collect();
    let sales = join_all(buyers.iter().map(|buyer| async { buyer.buy(1, 1, "a").await.expect(201) }));
    let told = join_all(streams.iter_mut().map(|stream| until(stream, 50)));
    let (_, told) = tokio::join!(sales, told);
    // Four a second, and the first at once.
    let events_max = since.elapsed().as_millis() / 250 + 2;
    assert!(told.iter().all(|events| events.len() as u128 <= events_max), "{events_max} {told:?}");
    app.finish().await;
}

#[tokio::test]
async fn whoever_comes_back_to_a_product_is_told_its_stock_at_once() {
    let app = TestApp::builder().product(5).start().await;
    let mut streams = streams(&app, 5).await;
    assert!(streams[0].retry_ms.is_some_and(|pause| (1_000..=10_000).contains(&pause)));
    app.customer(1).buy(1, 2, "a").await.expect(201);
    let last = until(&mut streams[0], 3).await.pop().expect("an event");
    drop(streams);
    for server in 0..app.servers() {
        until(&mut app.live_again(server, &app.anybody(), STOCK, &last.id).await, 3).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_live_page_says_what_it_is_and_there_is_none_of_what_is_not_there() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    let stream = app.live(0, &anybody, STOCK).await;
    for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(stream.head.lines().any(|line| line == header), "{}", stream.head);
    }
    assert_snapshot!(
        anybody.get("/api/v1/products/2/live").await.brief(),
        @"404 not-found: There is no such product."
    );
    for path in ["/api/v1/products/0/live", "/api/v1/products/lamp/live"] {
        anybody.get(path).await.expect(404);
    }
    app.finish().await;
}

// ── orders ───────────────────────────────────────────────────────────────────────────────────────

fn path(order: &str) -> String {
    format!("/api/v1/orders/{order}/live")
}

/// Status, reason and step of an event.
fn stand(event: &LiveEvent) -> (&str, Option<&str>, &str) {
    assert_eq!(event.name, "order");
    let word = |name: &str| event.data[name].as_str();
    (word("status").expect("a status"), word("reason"), word("step").expect("a step"))
}

/// The events of a stream until it ends.
async fn all(stream: &mut LiveStream) -> Vec<LiveEvent> {
    let mut events: Vec<LiveEvent> = Vec::new();
    while let Some(event) = stream.next().await {
        assert!(events.iter().all(|before| before.id != event.id), "nothing is told twice: {event:?}");
        events.push(event);
    }
    events
}

/// An order without the step that its saga is at.
fn without_step(event: &LiveEvent) -> Value {
    let mut order = event.data.clone();
    order.as_object_mut().expect("an order").remove("step");
    order
}

/// A shop whose payments take a while and whose buyers do not wait for them.
async fn slow_shop() -> TestApp {
    let slow = |config: &mut holdfast::config::Config| {
        config.sale.answer_within_ms = 50;
        config.payments.faults.latency_ms = 1_500;
    };
    TestApp::builder().product(5).config(slow).start().await
}

/// The customer accepts or refuses at the gateway and comes back.
async fn act(app: &TestApp, buyer: &Client, order: &str, accepted: bool) {
    let id: OrderId = order.parse().expect("an order id");
    app.another_gateway().authenticate(id, accepted).await.expect("the gateway answers");
    buyer.continue_payment(order).await;
}

#[tokio::test]
async fn an_order_is_followed_from_any_server_until_it_is_confirmed() {
    let app = slow_shop().await;
    let buyer = app.customer(1);
    let pending = buyer.buy(1, 1, "a").await.expect(202);
    let order = pending.id();
    let mut streams = Vec::new();
    for server in 0..app.servers() {
        streams.push(app.live(server, &buyer, &path(&order)).await);
    }
    for told in join_all(streams.iter_mut().map(all)).await {
        let stands: Vec<_> = told.iter().map(stand).collect();
        assert_eq!(stands, [("PENDING", None, "take_payment"), ("CONFIRMED", None, "done")]);
        assert_eq!(without_step(&told[0]), pending.json());
        assert_eq!(without_step(&told[1]), buyer.view_order(&order).await.json());
        let numbers: Vec<_> = told.iter().filter_map(|event| event.id.split('-').next()).collect();
        assert_eq!(numbers, ["3", "5"], "the number of its last event");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_order_whose_payment_is_declined_is_followed_to_its_end() {
    let app = slow_shop().await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_declined", 1, "a").await.expect(202).id();
    let told = all(&mut app.live(0, &buyer, &path(&order)).await).await;
    assert_eq!(stand(&told[0]), ("PENDING", None, "take_payment"));
    let last = told.last().expect("an event");
    assert_eq!(stand(last), ("FAILED", Some("PAYMENT_DECLINED"), "done"));
    app.finish().await;
}

#[tokio::test]
async fn a_page_shows_what_the_customer_has_to_do_until_they_have() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let waiting = buyer.buy_with("tok_3ds", 1, "a").await.expect(202);
    let order = waiting.id();
    app.quiet().await;
    let mut stream = app.live(0, &buyer, &path(&order)).await;
    let begun = stream.next().await.expect("an event at once");
    assert_eq!(stand(&begun), ("PENDING", None, "wait_for_customer"));
    assert_eq!(without_step(&begun), waiting.json());
    act(&app, &buyer, &order, true).await;
    let rest = all(&mut stream).await;
    let last = rest.last().expect("an event");
    assert_eq!(stand(last), ("CONFIRMED", None, "done"));
    assert!(last.data.get("next_action").is_none(), "{last:?}");
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_is_followed_to_its_end() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    app.quiet().await;
    let mut stream = app.live(app.servers() - 1, &buyer, &path(&order)).await;
    assert_eq!(stand(&stream.next().await.expect("an event")).0, "PENDING");
    buyer.cancel(&order).await.expect(200);
    let rest = all(&mut stream).await;
    assert_eq!(
        rest.last().map(stand),
        Some(("CANCELLED", Some("CANCELLED_BY_CUSTOMER"), "done")),
        "{rest:?}"
    );
    app.finish().await;
}

#[tokio::test]
async fn whoever_comes_back_to_an_order_is_told_only_what_they_have_not_seen() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    let path = path(&order);
    app.quiet().await;
    let seen = app.live(0, &buyer, &path).await.next().await.expect("an event");
    // On any server: one that goes on from there, and one that has seen something else.
    let mut going_on = Vec::new();
    for server in 0..app.servers() {
        going_on.push(app.live_again(server, &buyer, &path, &seen.id).await);
        let mut other = app.live_again(server, &buyer, &path, "1-00000000").await;
        assert_eq!(other.next().await.as_ref(), Some(&seen));
    }
    act(&app, &buyer, &order, true).await;
    let mut last = None;
    for stream in &mut going_on {
        let rest = all(stream).await;
        assert!(rest.iter().all(|event| event.id != seen.id), "{rest:?}");
        assert_eq!(rest.last().map(stand), Some(("CONFIRMED", None, "done")));
        last = rest.last().cloned();
    }
    let last = last.expect("an event");
    for server in 0..app.servers() {
        // It is settled: whoever has not seen that is told, the others need not come again.
        let mut again = app.live_again(server, &buyer, &path, &seen.id).await;
        assert_eq!(all(&mut again).await, std::slice::from_ref(&last));
        let done = app.try_live(server, &buyer, &path, Some(&last.id)).await.err().expect("nothing to tell");
        assert_eq!((done.status, done.body.len()), (204, 0));
    }
    app.finish().await;
}

#[tokio::test]
async fn only_the_customer_of_an_order_follows_it() {
    let app = TestApp::builder().product(5).start().await;
    let order = app.customer(1).buy(1, 1, "a").await.expect(201).id();
    let path = path(&order);
    assert_snapshot!(app.customer(2).get(&path).await.brief(), @"404 not-found: There is no such order.");
    assert_snapshot!(app.admin().get(&path).await.brief(), @"404 not-found: There is no such order.");
    app.anybody().get(&path).await.expect(401);
    app.customer(1).get("/api/v1/orders/0190a2b4-0000-7000-8000-000000000000/live").await.expect(404);
    app.finish().await;
}

// ── bounds ───────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn there_are_so_many_live_pages_and_no_more_until_one_is_closed() {
    let app = TestApp::builder().product(5).config(|c| c.server.streams_max = 2).start().await;
    let anybody = app.anybody();
    let first = app.live(0, &anybody, STOCK).await;
    let _second = app.live(0, &anybody, STOCK).await;
    let refused = app.try_live(0, &anybody, STOCK, None).await.err().expect("no place");
    assert_snapshot!(refused.shown(), @r#"
    503
    content-type: application/problem+json
    retry-after: 1
    {
      "detail": "As many live pages are open as this server can serve.",
      "status": 503,
      "title": "Too much is going on",
      "type": "/problems/busy"
    }
    "#);
    app.customer(1).buy(1, 1, "a").await.expect(201);
    drop(first);
    wait_for("a place is free again", PATIENCE, async || {
        app.try_live(0, &anybody, STOCK, None).await.is_ok()
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_server_that_is_about_to_stop_ends_its_live_pages() {
    let app = TestApp::builder().product(5).start().await;
    let buyer = app.customer(1);
    let order = buyer.buy_with("tok_3ds", 1, "a").await.expect(202).id();
    let mut followed = app.live(0, &buyer, &path(&order)).await;
    let mut stock = app.live(0, &buyer, STOCK).await;
    app.shop.announce_stop();
    all(&mut followed).await;
    while stock.next().await.is_some() {}
    for path in [STOCK, &path(&order)] {
        let refused = app.try_live(0, &buyer, path, None).await.err().expect("it stops");
        assert_eq!(refused.brief(), "503 unavailable: The server is about to stop.");
    }
    act(&app, &buyer, &order, true).await;
    app.finish().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_look_at_live_pages() {
    let stop_within = 4 * PATIENCE;
    let stop_within_ms = u64::try_from(stop_within.as_millis()).expect("milliseconds");
    let app =
        TestApp::builder().product(5).config(move |c| c.server.stop_within_ms = stop_within_ms).start().await;
    let mut open = Vec::new();
    for n in 0..40 {
        open.push(app.live(n % app.servers(), &app.anybody(), STOCK).await);
    }
    let since = Instant::now();
    app.finish().await;
    assert!(since.elapsed() < stop_within / 2, "{:?}", since.elapsed());
    for mut stream in open {
        while stream.next().await.is_some() {}
    }
}
