//! Traces: what is done for an order is found under its id, on whichever server it was done.

use std::collections::BTreeSet;

use holdfast::domain::Sampling;
use holdfast::ports::event_log::Group;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::contract::suite;
use crate::support::collector::{Collector, Seen};
use crate::support::profile::Stores;
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

use super::{caught_up, finish, registered};

/// What a sale tells.
const EVENTS: [&str; 5] =
    ["SagaStarted", "InventoryReserved", "OrderCreated", "PaymentProcessed", "OrderConfirmed"];

const STEPS: [&str; 4] = ["reserve_stock", "create_order", "take_payment", "confirm_order"];

/// Where a client stands in a trace of its own.
const CLIENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn shop(stores: Stores, url: &str, ratio: f64) -> TestApp {
    let url = url.to_owned();
    let builder = TestApp::builder().product(100).config(move |config| {
        config.traces.url = Some(url);
        config.traces.ratio = ratio;
    });
    builder.start_over(stores).await
}

/// The trace of a sale, once every group has taken it in.
async fn whole(collector: &Collector, order: &str) -> Vec<Seen> {
    let names = || collector.trace(order).into_iter().map(|span| span.name).collect::<BTreeSet<_>>();
    let mut wanted: BTreeSet<String> = STEPS.map(str::to_owned).into();
    wanted.insert("POST /api/v1/orders".to_owned());
    wanted.extend(EVENTS.iter().flat_map(|event| Group::ALL.map(|group| format!("process {event} {group}"))));
    wait_for("the trace is whole", PATIENCE, async || names().is_superset(&wanted)).await;
    collector.trace(order)
}

fn named<'a>(trace: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    trace.iter().filter(|span| span.name == name).collect()
}

/// The only span without a parent; every other one stands under one of the trace.
fn root(trace: &[Seen]) -> &Seen {
    let ids: BTreeSet<_> = trace.iter().map(|span| &span.id).collect();
    let (roots, others): (Vec<_>, Vec<_>) = trace.iter().partition(|span| span.parent.is_empty());
    assert_eq!(roots.len(), 1, "{roots:?}");
    let lost: Vec<_> = others.iter().filter(|span| !ids.contains(&span.parent)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    roots[0]
}

async fn what_is_done_for_an_order_is_one_trace_that_has_its_id(stores: Stores) {
    let collector = Collector::open().await;
    let is_cluster = stores.in_cluster().is_some();
    let app = shop(stores, &collector.url, 1.0).await;
    let customer = registered(&app, "ann.lee@example.org").await;
    let traceparent = format!("00-{CLIENT_TRACE}-00f067aa0ba902b7-01");
    let mut orders = Vec::new();
    for number in 0..8 {
        let key = format!("a-key-that-nobody-else-has-{number}");
        let id =
            customer.buy_with("tok_ok", 1, &key).header("traceparent", &*traceparent).await.expect(201).id();
        // Where there are two servers, the other one is asked.
        assert_eq!(customer.buy_with("tok_ok", 1, &key).await.expect(201).id(), id);
        orders.push(id);
    }
    caught_up(&app).await;
    let mut spread = 0;
    for order in &orders {
        let trace = whole(&collector, order).await;
        let root = root(&trace);
        assert_eq!((root.name.as_str(), root.kind), ("POST /api/v1/orders", SpanKind::Server));
        assert_eq!(root.links, [CLIENT_TRACE]);
        assert_eq!(root.attributes["http.response.status_code"], "201");
        let requests = named(&trace, "POST /api/v1/orders");
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(requests.iter().all(|request| request.id == root.id || request.parent == root.id));
        assert_eq!(is_cluster, requests[0].server != requests[1].server, "{requests:?}");
        let mut before = root.began_ns;
        for step in STEPS {
            let [span] = named(&trace, step)[..] else { panic!("{step} was taken once: {trace:?}") };
            assert_eq!((&span.parent, span.kind), (&root.id, SpanKind::Internal));
            assert_eq!(
                (&*span.attributes["holdfast.action"], &*span.attributes["holdfast.outcome"]),
                ("act", "done")
            );
            assert!(
                span.began_ns >= before && span.ended_ns >= span.began_ns,
                "{step} came too early: {trace:?}"
            );
            before = span.began_ns;
        }
        for event in EVENTS {
            let sent = named(&trace, &format!("send {event}"));
            let parent = if is_cluster {
                let [sent, ..] = sent[..] else { panic!("{event} was sent: {trace:?}") };
                assert_eq!((&sent.parent, sent.kind), (&root.id, SpanKind::Producer));
                sent
            } else {
                assert!(sent.is_empty(), "what is committed is there: {sent:?}");
                root
            };
            for group in Group::ALL {
                let taken = named(&trace, &format!("process {event} {group}"));
                assert!(taken.iter().all(|span| span.parent == parent.id && span.kind == SpanKind::Consumer));
                assert_eq!(taken[0].attributes["messaging.consumer.group.name"], group.as_str());
            }
        }
        spread += usize::from(trace.iter().any(|span| span.server != root.server));
    }
    assert_eq!(spread, if is_cluster { orders.len() } else { 0 });
    let token = customer.token.clone().expect("a token");
    for secret in ["ann.lee", "example.org", "a password", "tok_ok", "a-key-that-nobody-else-has", &token] {
        assert!(!collector.was_told(secret), "{secret:?} is nobody's business");
    }
    finish(app).await;
}

async fn a_trace_shows_what_was_undone_and_why(stores: Stores) {
    let collector = Collector::open().await;
    let app = shop(stores, &collector.url, 1.0).await;
    let customer = app.customer(5);
    let declined = customer.buy_with("tok_declined", 1, "one").await.expect(402).json();
    let order = declined["order"]["id"].as_str().expect("an id").to_owned();
    let sold = customer.buy_with("tok_ok", 1, "two").await.expect(201).id();
    customer.cancel(&sold).await.expect(200);
    let steps = |order: &str| {
        let trace = collector.trace(order);
        let steps = trace.into_iter().filter(|span| span.attributes.contains_key("holdfast.step"));
        steps.collect::<Vec<_>>()
    };
    wait_for("the undone steps", PATIENCE, async || steps(&order).len() >= 5 && steps(&sold).len() >= 6)
        .await;
    let told: Vec<_> = steps(&order)
        .iter()
        .map(|span| {
            let reason = span.attributes.get("holdfast.reason").map_or("", String::as_str);
            format!("{} {} {reason}", span.name, span.attributes["holdfast.outcome"]).trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        told,
        [
            "reserve_stock done",
            "create_order done",
            "take_payment rejected PAYMENT_DECLINED",
            "undo create_order done",
            "undo reserve_stock done",
        ]
    );
    let undone: Vec<_> = steps(&sold).split_off(4).into_iter().map(|span| span.name).collect();
    assert_eq!(undone, ["undo take_payment", "undo confirm_order"]);
    let trace = collector.trace(&sold);
    let [cancel] = named(&trace, "POST /api/v1/orders/{id}/cancel")[..] else { panic!("{trace:?}") };
    assert_eq!(cancel.parent, root(&trace).id);
    finish(app).await;
}

async fn a_trace_is_whole_or_not_there(stores: Stores) {
    let collector = Collector::open().await;
    let app = shop(stores, &collector.url, 0.5).await;
    let customer = app.customer(5);
    let mut orders = Vec::new();
    for number in 0..24 {
        orders.push(customer.buy(1, 1, &format!("key-{number}")).await.expect(201).id());
    }
    caught_up(&app).await;
    let is_taken = |order: &&String| Sampling::new(0.5).takes(order.parse().expect("an id"));
    let (taken, left): (Vec<_>, Vec<_>) = orders.iter().partition(is_taken);
    for order in &taken {
        whole(&collector, order).await;
    }
    assert!(left.iter().all(|order| collector.trace(order).is_empty()));
    let traced = taken.len();
    assert!((1..24).contains(&traced), "{traced} of 24 orders");
    finish(app).await;
}

async fn a_collector_that_is_away_keeps_nobody_waiting(stores: Stores) {
    let app = shop(stores, "http://127.0.0.1:9", 1.0).await;
    let customer = app.customer(5);
    for number in 0..20 {
        customer.buy(1, 1, &format!("key-{number}")).await.expect(201);
    }
    finish(app).await;
}

macro_rules! stories {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                what_is_done_for_an_order_is_one_trace_that_has_its_id,
                a_trace_shows_what_was_undone_and_why,
                a_trace_is_whole_or_not_there,
                a_collector_that_is_away_keeps_nobody_waiting,
            ]
        );
    };
}

stories!(embedded, super::Stores::embedded());
stories!(cluster, super::Stores::cluster_with_kafka().await);
