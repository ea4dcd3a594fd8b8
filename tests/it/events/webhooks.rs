//! Webhooks, as endpoints of all moods get them: by a shop that runs, and by one whose clock is in the test's hands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::webhook_sender::HttpWebhookSender;
use holdfast::config::Role;
use holdfast::consumers::webhooks::meaning;
use holdfast::ports::clock::Clock as _;
use holdfast::ports::event_log::Group;
use holdfast::ports::webhooks::EndpointId;
use holdfast::worker::send_webhooks::{AT_ONCE, LEASE, TRIES_MAX, Webhooks};
use serde_json::{Value, json};

use crate::contract::suite;
use crate::support::http_client::Client;
use crate::support::profile::Stores;
use crate::support::receiver::{Mood, Receiver, Told};
use crate::support::set_clock::SetClock;
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

use super::{caught_up, finish};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// An endpoint as the shop knows it.
struct Hook {
    id: String,
    secret: String,
}

async fn hook(admin: &Client, url: &str, events: Option<&[&str]>) -> Hook {
    let body = json!({ "url": url, "events": events });
    let made = admin.post("/api/v1/admin/webhooks", &body).await.expect(201).json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    Hook { id: made["id"].as_str().expect("an id").to_owned(), secret }
}

async fn deliveries(admin: &Client, hook: &Hook) -> Vec<Value> {
    let path = format!("/api/v1/admin/webhooks/{}/deliveries?limit=100", hook.id);
    admin.get(&path).await.expect(200).json()["items"].as_array().expect("items").clone()
}

/// How often each kind was taken.
fn kinds(told: &[Told]) -> BTreeMap<String, usize> {
    told.iter().filter(|told| told.taken).fold(BTreeMap::new(), |mut kinds, told| {
        *kinds.entry(told.kind()).or_default() += 1;
        kinds
    })
}

fn counts<const N: usize>(kinds: [(&str, usize); N]) -> BTreeMap<String, usize> {
    kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

async fn an_owner_is_told_what_becomes_of_orders(stores: Stores) {
    let app = TestApp::builder().product(10).start_over(stores).await;
    let (admin, customer) = (app.admin(), app.customer(5));
    let (all, some) = (Receiver::open().await, Receiver::open().await);
    let everything = hook(&admin, &all.url, None).await;
    let endings = ["order.confirmed", "order.failed"];
    let ends = hook(&admin, &some.url, Some(&endings)).await;
    let order = customer.buy(1, 2, "one").await.expect(201).json();
    let id = order["id"].as_str().expect("an id").to_owned();
    customer.buy_with("tok_declined", 1, "two").await.expect(402);
    customer.cancel(&id).await.expect(200);
    let expected = counts([
        ("order.created", 2),
        ("order.paid", 1),
        ("order.confirmed", 1),
        ("order.failed", 1),
        ("order.cancelled", 1),
        ("order.refunded", 1),
    ]);
    wait_for("everything is told", PATIENCE, async || kinds(&all.told()) == expected).await;
    let two = counts([("order.confirmed", 1), ("order.failed", 1)]);
    wait_for("the endings are told", PATIENCE, async || kinds(&some.told()) == two).await;
    caught_up(&app).await;
    for (told, right, wrong) in
        [(all.told(), &everything.secret, &ends.secret), (some.told(), &ends.secret, &everything.secret)]
    {
        for told in told {
            assert!(told.is_signed_with(right) && !told.is_signed_with(wrong), "{told:?}");
            assert_eq!(told.header("content-type"), "application/json");
            assert_eq!(told.path, "/hook?shop=1");
            let sent_s: i64 = told.header("webhook-timestamp").parse().expect("seconds");
            assert!((sent_s - app.shop.stores.clock.now().0 / 1_000).abs() < 60, "{sent_s}");
        }
    }
    let told = all.told();
    let confirmed = told.iter().find(|told| told.kind() == "order.confirmed").expect("it was told");
    let body = confirmed.json();
    assert_eq!(body["data"]["order_id"], order["id"]);
    assert_eq!(body["data"]["total"], order["total"]);
    assert_eq!(body["data"]["lines"][0]["quantity"], 2);
    let history = customer.get(&format!("/api/v1/orders/{id}/events")).await.expect(200).json();
    let events = history["items"].as_array().expect("events");
    let event = events.iter().find(|event| event["type"] == "OrderConfirmed").expect("it happened");
    assert_eq!(body["timestamp"], event["time"]);
    assert_eq!(confirmed.id(), format!("msg_{id}_{}", event["sequence"]));
    let ids: BTreeSet<_> = told.iter().map(Told::id).collect();
    assert_eq!(ids.len(), told.len(), "each once");
    wait_for("the shop knows", PATIENCE, async || {
        deliveries(&admin, &everything).await.iter().all(|delivery| delivery["state"] == "delivered")
    })
    .await;
    let listed = deliveries(&admin, &everything).await;
    assert_eq!(listed.len(), 7);
    assert!(
        listed.iter().all(|delivery| delivery["status"] == 200 && delivery["attempts"] == 1),
        "{listed:?}"
    );
    finish(app).await;
}

async fn a_slow_endpoint_holds_up_nobody_else(stores: Stores) {
    let app = TestApp::builder().product(100).start_over(stores).await;
    let (admin, customer) = (app.admin(), app.customer(5));
    let (slow, quick) = (Receiver::open().await, Receiver::open().await);
    slow.becomes(Mood::Slow(SECOND * 12));
    let slow_hook = hook(&admin, &slow.url, None).await;
    hook(&admin, &quick.url, None).await;
    for n in 0..10 {
        customer.buy(1, 1, &format!("{n}")).await.expect(201);
    }
    wait_for("the quick one has all", PATIENCE, async || quick.taken().len() == 30).await;
    let open = deliveries(&admin, &slow_hook).await;
    assert!(open.iter().any(|delivery| delivery["state"] == "waiting"), "the slow one is not even through");
    assert!(slow.under_way_max() <= AT_ONCE * app.servers(), "{}", slow.under_way_max());
    assert!(quick.told().iter().all(|told| told.taken), "nothing is told twice");
    slow.becomes(Mood::Takes);
    wait_for("the slow one gets all in the end", PATIENCE * 2, async || {
        deliveries(&admin, &slow_hook).await.iter().all(|delivery| delivery["state"] == "delivered")
    })
    .await;
    assert_eq!(slow.taken().len(), 30);
    finish(app).await;
}

/// A shop that tells nobody by itself, and what tells.
struct Stage {
    app: TestApp,
    clock: Arc<SetClock>,
    webhooks: Webhooks,
    admin: Client,
}

impl Stage {
    async fn over(stores: Stores) -> Self {
        let quiet = |config: &mut holdfast::config::Config| {
            config.roles.remove(&Role::Webhooks);
        };
        let app = TestApp::builder().product(100).config(quiet).start_over(stores).await;
        let clock = Arc::new(SetClock::new());
        let stores = &app.shop.stores;
        let webhooks = Webhooks {
            store: Arc::clone(&stores.webhooks),
            ledger: Arc::clone(&stores.ledger),
            sender: Arc::new(HttpWebhookSender::with_time_limit(Duration::from_millis(300))),
            clock: clock.clone(),
        };
        let admin = app.admin();
        Self { app, clock, webhooks, admin }
    }

    /// What has happened to an order so far.
    async fn hear(&self, order: &str) {
        let stores = &self.app.shop.stores;
        self.app.quiet().await;
        let events =
            stores.ledger.events_of(order.parse().expect("an id")).await.expect("the ledger answers");
        let heard = stores.consumers.take_in(Group::Webhooks, events, meaning, self.clock.now()).await;
        heard.expect("the store answers");
    }

    /// A sale: three events.
    async fn sell(&self, key: &str) -> String {
        let order = self.app.customer(5).buy(1, 1, key).await.expect(201).id();
        self.hear(&order).await;
        order
    }

    /// Sends what is due; returns how many requests that took, or `None` where the endpoint is disabled.
    async fn send(&self, hook: &Hook) -> Option<usize> {
        let id = EndpointId(hook.id.parse().expect("an id"));
        let mut all = 0;
        loop {
            match self.webhooks.send_due(id).await.expect("the stores answer") {
                None => return None,
                Some(0) => return Some(all),
                Some(sent) => all += sent,
            }
        }
    }

    /// Lets time pass, and sends in each step of it what is due.
    async fn pass(&self, hook: &Hook, time: Duration, step: Duration) -> Option<usize> {
        let (mut passed, mut all) = (Duration::ZERO, 0);
        while passed < time {
            self.clock.forward(step);
            passed += step;
            all += self.send(hook).await?;
        }
        Some(all)
    }

    async fn states(&self, hook: &Hook) -> Vec<(String, u64)> {
        let deliveries = deliveries(&self.admin, hook).await;
        let state = |delivery: &Value| {
            let state = delivery["state"].as_str().expect("a state").to_owned();
            (state, delivery["attempts"].as_u64().expect("a number"))
        };
        deliveries.iter().map(state).collect()
    }

    async fn hook_shown(&self, hook: &Hook) -> Value {
        let listed = self.admin.get("/api/v1/admin/webhooks").await.expect(200).json();
        let items = listed["items"].as_array().expect("items").clone();
        items.into_iter().find(|item| item["id"] == *hook.id).expect("it is listed")
    }

    async fn enable(&self, hook: &Hook, enabled: bool) {
        let path = format!("/api/v1/admin/webhooks/{}", hook.id);
        self.admin.patch(&path, &json!({ "enabled": enabled })).await.expect(200);
    }

    async fn replay(&self, hook: &Hook, body: &Value) -> Value {
        let path = format!("/api/v1/admin/webhooks/{}/replay", hook.id);
        self.admin.post(&path, body).await.expect(202).json()["deliveries"].clone()
    }
}

async fn a_receiver_that_is_away_for_an_hour_gets_each_event_in_the_end(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, None).await;
    let customer = stage.app.customer(5);
    let sold = stage.sell("one").await;
    stage.sell("two").await;
    customer.cancel(&sold).await.expect(200);
    stage.hear(&sold).await;
    receiver.becomes(Mood::HangsUp);
    assert_eq!(stage.send(&hook).await, Some(8));
    let tries = stage.pass(&hook, HOUR, SECOND * 20).await.expect("it is enabled");
    // After 5 s, 30 s, 2 min, 10 min and 30 min, as far as steps of 20 s meet that.
    assert_eq!(tries, 8 * 5, "neither given up nor hammered");
    assert_eq!(receiver.taken().len(), 0);
    assert!(stage.states(&hook).await.iter().all(|state| *state == ("waiting".to_owned(), 6)));
    // It is back, and what happens then comes before what has waited.
    receiver.becomes(Mood::Takes);
    stage.sell("three").await;
    assert_eq!(stage.send(&hook).await, Some(3));
    assert_eq!(stage.pass(&hook, HOUR, MINUTE).await, Some(8));
    assert_eq!(stage.pass(&hook, HOUR * 48, HOUR).await, Some(0), "and nothing more");
    let told = receiver.told();
    let expected = counts([
        ("order.created", 3),
        ("order.paid", 3),
        ("order.confirmed", 3),
        ("order.cancelled", 1),
        ("order.refunded", 1),
    ]);
    assert_eq!(kinds(&told), expected);
    assert!(receiver.taken().values().all(|times| *times == 1), "each once");
    assert!(told.iter().all(|told| told.is_signed_with(&hook.secret)), "each try is signed");
    // The body of a message is the same at each try, its time is that of the try.
    let tries: Vec<_> = told.iter().filter(|other| other.id() == told[0].id()).collect();
    assert_eq!(tries.len(), 7);
    assert!(tries.iter().all(|other| other.body == tries[0].body));
    let times: BTreeSet<_> = tries.iter().map(|told| told.header("webhook-timestamp")).collect();
    assert_eq!(times.len(), 7);
    stage.app.finish().await;
}

async fn whatever_is_no_success_is_tried_again(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    stage.sell("one").await;
    let error = async || {
        let delivery = deliveries(&stage.admin, &hook).await.remove(0);
        assert_eq!(delivery["state"], "waiting", "{delivery}");
        (delivery["status"].as_u64(), delivery["error"].as_str().expect("an error").to_owned())
    };
    for (mood, status, words) in [
        (Mood::Answers(500), Some(500), "the endpoint answered 500"),
        (Mood::Answers(404), Some(404), "the endpoint answered 404"),
        (Mood::Redirects, Some(307), "the endpoint answered 307"),
        (Mood::HangsUp, None, "connection"),
        (Mood::Slow(SECOND * 5), None, "no answer in time"),
    ] {
        receiver.becomes(mood);
        let sent = stage.send(&hook).await;
        assert_eq!(sent, Some(1), "{mood:?}");
        let (told, why) = error().await;
        assert!(told == status && why.contains(words), "{mood:?}: {told:?} {why}");
        stage.clock.forward(HOUR);
    }
    assert!(receiver.told().iter().all(|told| told.path == "/hook?shop=1"), "no redirect is followed");
    assert!(stage.hook_shown(&hook).await["failing_since"].is_string());
    // An answer says all with its head.
    receiver.becomes(Mood::Babbles);
    assert_eq!(stage.send(&hook).await, Some(1));
    assert_eq!(stage.states(&hook).await, [("delivered".to_owned(), 6)]);
    assert!(stage.hook_shown(&hook).await["failing_since"].is_null());
    stage.app.finish().await;
}

async fn nobody_at_the_address_is_a_failure_like_others(stores: Stores) {
    let stage = Stage::over(stores).await;
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}/", listener.local_addr().expect("an address"))
    };
    let hook = hook(&stage.admin, &url, Some(&["order.created"])).await;
    stage.sell("one").await;
    assert_eq!(stage.send(&hook).await, Some(1));
    let delivery = deliveries(&stage.admin, &hook).await.remove(0);
    assert_eq!((&delivery["state"], &delivery["status"]), (&json!("waiting"), &Value::Null));
    let error = delivery["error"].as_str().expect("an error");
    assert!(error.contains("refused") && !error.contains("127.0.0.1"), "{error}");
    stage.app.finish().await;
}

async fn who_asks_for_a_pause_gets_it(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    stage.sell("one").await;
    receiver.becomes(Mood::Overrun(3_600));
    assert_eq!(stage.send(&hook).await, Some(1));
    assert_eq!(stage.pass(&hook, MINUTE * 59, MINUTE).await, Some(0));
    receiver.becomes(Mood::Overrun(1));
    assert_eq!(stage.pass(&hook, MINUTE, MINUTE).await, Some(1));
    assert_eq!(stage.pass(&hook, SECOND * 29, SECOND * 29).await, Some(0), "a shorter one does not count");
    receiver.becomes(Mood::Takes);
    assert_eq!(stage.pass(&hook, SECOND, SECOND).await, Some(1));
    stage.app.finish().await;
}

async fn who_is_gone_is_asked_no_more_until_somebody_enables_it(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    stage.sell("one").await;
    receiver.becomes(Mood::Answers(410));
    assert_eq!(stage.send(&hook).await, None, "it is disabled at once");
    let shown = stage.hook_shown(&hook).await;
    assert_eq!((&shown["enabled"], &shown["disabled_because"]), (&json!(false), &json!("gone")));
    let skipped = stage.sell("two").await;
    stage.clock.forward(HOUR * 24);
    assert_eq!(stage.send(&hook).await, None);
    assert_eq!(receiver.told().len(), 1);
    receiver.becomes(Mood::Takes);
    stage.enable(&hook, true).await;
    assert_eq!(stage.send(&hook).await, Some(1), "what has waited");
    // What came meanwhile was not for it, unless somebody asks.
    assert!(!receiver.told().iter().any(|told| told.id().contains(&skipped)));
    let since = json!({ "from": "2020-01-01T00:00:00Z" });
    assert_eq!(stage.replay(&hook, &since).await, 2);
    assert_eq!(stage.send(&hook).await, Some(2));
    assert!(receiver.told().iter().any(|told| told.taken && told.id().contains(&skipped)));
    stage.app.finish().await;
}

async fn a_delivery_fails_after_days_and_so_does_its_endpoint(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    stage.sell("one").await;
    receiver.becomes(Mood::Answers(503));
    assert_eq!(stage.send(&hook).await, Some(1));
    let tries = stage.pass(&hook, HOUR * 80, MINUTE * 20).await.expect("it is enabled");
    assert_eq!(tries + 1, TRIES_MAX);
    let failed = ("failed".to_owned(), TRIES_MAX as u64);
    assert_eq!(stage.states(&hook).await, vec![failed.clone()]);
    stage.sell("two").await;
    assert_eq!(stage.pass(&hook, HOUR * 70, HOUR).await, None, "five days are over");
    let shown = stage.hook_shown(&hook).await;
    assert_eq!(shown["disabled_because"], "failing");
    // Back again, it is sent what waits; what has failed is sent when somebody asks.
    receiver.becomes(Mood::Takes);
    stage.enable(&hook, true).await;
    stage.clock.forward(HOUR * 24);
    assert_eq!(stage.send(&hook).await, Some(1));
    assert_eq!(stage.states(&hook).await[1], failed);
    assert_eq!(stage.replay(&hook, &json!({ "from": "2020-01-01T00:00:00Z" })).await, 2);
    assert_eq!(stage.send(&hook).await, Some(2));
    assert_eq!(stage.states(&hook).await, vec![("delivered".to_owned(), 1); 2]);
    stage.app.finish().await;
}

async fn what_a_server_that_died_had_in_hand_is_told_by_another(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    stage.sell("one").await;
    let id = EndpointId(hook.id.parse().expect("an id"));
    let now = stage.clock.now();
    let taken = stage.webhooks.store.due_deliveries(id, now, LEASE, 8).await.expect("the store answers");
    assert_eq!(taken.len(), 1);
    assert_eq!(stage.send(&hook).await, Some(0), "somebody has it");
    assert_eq!(stage.pass(&hook, LEASE, LEASE).await, Some(1));
    assert_eq!(receiver.taken().len(), 1);
    stage.app.finish().await;
}

async fn for_a_day_both_secrets_sign(stores: Stores) {
    let stage = Stage::over(stores).await;
    let receiver = Receiver::open().await;
    let hook = hook(&stage.admin, &receiver.url, Some(&["order.confirmed"])).await;
    let rotate = format!("/api/v1/admin/webhooks/{}/secret", hook.id);
    let rotated = stage.admin.request("POST", &rotate).await.expect(200).json();
    let new = rotated["secret"].as_str().expect("a secret");
    assert_ne!(new, hook.secret);
    let last = async || {
        assert_eq!(stage.send(&hook).await, Some(1));
        receiver.told().pop().expect("it was told")
    };
    stage.sell("one").await;
    let told = last().await;
    assert!(told.is_signed_with(new) && told.is_signed_with(&hook.secret));
    stage.clock.forward(HOUR * 24 + MINUTE);
    stage.sell("two").await;
    let told = last().await;
    assert!(told.is_signed_with(new) && !told.is_signed_with(&hook.secret));
    stage.app.finish().await;
}

macro_rules! stories {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                an_owner_is_told_what_becomes_of_orders,
                a_slow_endpoint_holds_up_nobody_else,
                a_receiver_that_is_away_for_an_hour_gets_each_event_in_the_end,
                whatever_is_no_success_is_tried_again,
                nobody_at_the_address_is_a_failure_like_others,
                who_asks_for_a_pause_gets_it,
                who_is_gone_is_asked_no_more_until_somebody_enables_it,
                a_delivery_fails_after_days_and_so_does_its_endpoint,
                what_a_server_that_died_had_in_hand_is_told_by_another,
                for_a_day_both_secrets_sign,
            ]
        );
    };
}

stories!(embedded, super::Stores::embedded());
stories!(cluster, super::Stores::cluster_with_kafka().await);
