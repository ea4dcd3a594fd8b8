//! What every store of webhooks promises: each event waits for each endpoint that wants it, until it is settled.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::mysql::MysqlConsumerStore;
use holdfast::adapters::sqlite::SqliteConsumerStore;
use holdfast::consumers::webhooks::meaning;
use holdfast::domain::{Event, EventBody, OrderId, Reason, Timestamp, UserId};
use holdfast::ports::consumer_store::ConsumerStore;
use holdfast::ports::event_log::Group;
use holdfast::ports::webhooks::{
    CreateEndpointError, Delivery, DeliveryCursor, DeliveryState, Disabled, ENDPOINTS_MAX, Endpoint,
    EndpointChange, EndpointId, EndpointState, FAILING_MAX, FAILURES_APART, Health, NewEndpoint, NoticeKind,
    OLD_SECRET_FOR, Outcome, Replay, Settled, Wanted, WebhookSecret, WebhookStore,
};

use crate::support::database::Database;
use crate::support::goods::{euro, new_order_id};

use super::suite;

/// A store with what it lives in.
struct Kept {
    store: Arc<dyn WebhookStore>,
    consumers: Arc<dyn ConsumerStore>,
    _home: Box<dyn std::any::Any + Send + Sync>,
}

/// Any time.
const TIME: Timestamp = Timestamp(1_795_000_000_000);
const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Kept {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteConsumerStore::open(&directory.path().join("consumers")).expect("the store opens");
        let store = Arc::new(store);
        Self { store: store.clone(), consumers: store, _home: Box::new(directory) }
    }

    async fn mysql() -> Self {
        let database = Database::fresh().await;
        let store = Arc::new(MysqlConsumerStore::new(Arc::new(database.ledger().await)));
        Self { store: store.clone(), consumers: store, _home: Box::new(database) }
    }

    async fn endpoint(&self, wanted: Wanted) -> EndpointId {
        self.store.create_endpoint(new_endpoint(wanted)).await.expect("there is room").id
    }

    async fn hear(&self, events: &[Event]) -> usize {
        let heard = self.consumers.take_in(Group::Webhooks, events.to_vec(), meaning, TIME).await;
        heard.expect("the store answers")
    }

    async fn due(&self, id: EndpointId, at: Timestamp) -> Vec<Delivery> {
        self.store.due_deliveries(id, at, LEASE, 10).await.expect("the store answers")
    }

    async fn all(&self, id: EndpointId) -> Vec<Delivery> {
        self.store.deliveries(id, None, None, 1_000).await.expect("the store answers")
    }

    async fn settle(
        &self,
        id: EndpointId,
        outcomes: Vec<(OrderId, Outcome)>,
        health: Health,
        at: Timestamp,
    ) -> Option<Disabled> {
        let settled = outcomes.into_iter().map(|(saga, outcome)| Settled { saga, sequence: 3, outcome });
        self.store.settle_deliveries(id, settled.collect(), health, at).await.expect("the store answers")
    }

    async fn change(&self, id: EndpointId, change: EndpointChange) -> Endpoint {
        self.store.change_endpoint(id, change).await.expect("the store answers").expect("it is there")
    }

    async fn enable(&self, id: EndpointId, enabled: bool) -> Endpoint {
        self.change(id, EndpointChange { enabled: Some(enabled), ..EndpointChange::default() }).await
    }

    async fn state(&self, id: EndpointId) -> EndpointState {
        self.store.endpoint(id).await.expect("the store answers").expect("it is there").state
    }
}

fn new_endpoint(wanted: Wanted) -> NewEndpoint {
    NewEndpoint {
        id: EndpointId(new_order_id().0),
        url: "https://owner.example/hook".into(),
        description: "The owner's ürsprüngliche \"hook\"".into(),
        wanted,
        secret: WebhookSecret([7; 32]),
        at: TIME,
    }
}

/// The creation of an order, its third event.
fn creation(order_id: OrderId) -> Event {
    let body =
        EventBody::OrderCreated { order_id, user_id: UserId(5), lines: Arc::default(), total: euro(1) };
    Event { saga_id: order_id, sequence: 3, time: TIME, body }
}

fn failure(order_id: OrderId, sequence: u32) -> Event {
    let body = EventBody::OrderFailed { order_id, user_id: UserId(5), reason: Reason::PaymentDeclined };
    Event { saga_id: order_id, sequence, time: TIME, body }
}

fn again(at: Timestamp) -> Outcome {
    Outcome::Again { at, status: Some(500), error: "it answered 500".into() }
}

async fn an_event_waits_for_each_endpoint_that_wants_it(kept: Kept) {
    let all = kept.endpoint(Wanted::ALL).await;
    let failures = kept.endpoint(Wanted::only(vec![NoticeKind::OrderFailed])).await;
    let disabled = kept.endpoint(Wanted::ALL).await;
    let deleted = kept.endpoint(Wanted::ALL).await;
    kept.enable(disabled, false).await;
    assert!(kept.store.delete_endpoint(deleted).await.expect("the store answers"));
    let order = new_order_id();
    let started = Event {
        sequence: 1,
        body: EventBody::SagaStarted { user_id: UserId(5), lines: Arc::default() },
        ..creation(order)
    };
    let events = [started, creation(order), failure(order, 5)];
    assert_eq!(kept.hear(&events).await, 3);
    assert_eq!(kept.hear(&events).await, 0);
    let kinds = async |id| -> Vec<(NoticeKind, DeliveryState)> {
        kept.all(id).await.iter().map(|delivery| (delivery.notice.kind, delivery.state)).collect()
    };
    let (created, failed) = (NoticeKind::OrderCreated, NoticeKind::OrderFailed);
    let (waiting, skipped) = (DeliveryState::Waiting, DeliveryState::Skipped);
    assert_eq!(kinds(all).await, [(failed, waiting), (created, waiting)]);
    assert_eq!(kinds(failures).await, [(failed, waiting)]);
    assert_eq!(kinds(disabled).await, [(failed, skipped), (created, skipped)]);
    assert_eq!(kinds(deleted).await, []);
    let before = Event { time: TIME.minus(SECOND), ..creation(new_order_id()) };
    assert_eq!(kept.hear(&[before]).await, 1);
    assert_eq!(
        kept.all(all).await.len(),
        2,
        "what was before an endpoint is not told to it, though heard late"
    );
    let delivery = kept.all(all).await.remove(0);
    assert_eq!((delivery.notice.saga, delivery.notice.sequence, delivery.notice.at), (order, 5, TIME));
    assert_eq!((delivery.attempts, delivery.due_at, delivery.status), (0, TIME, None));
}

async fn endpoints_are_made_changed_and_deleted(kept: Kept) {
    let new = new_endpoint(Wanted::only(vec![NoticeKind::OrderPaid]));
    let made = kept.store.create_endpoint(new.clone()).await.expect("there is room");
    assert_eq!((made.id, &made.url, &made.description), (new.id, &new.url, &new.description));
    assert_eq!((&made.wanted, made.state, made.created_at), (&new.wanted, EndpointState::Enabled, TIME));
    assert_eq!((made.secret, made.old_secret, made.failing_since), (new.secret, None, None));
    let id = made.id;
    let second = kept.endpoint(Wanted::ALL).await;
    let listed = kept.store.endpoints().await.expect("the store answers");
    assert_eq!(listed.iter().map(|endpoint| endpoint.id).collect::<Vec<_>>(), [id, second]);
    assert_eq!(listed[0], made);

    assert_eq!(kept.change(id, EndpointChange::default()).await, made);
    let change = EndpointChange {
        url: Some("http://other.example/".into()),
        description: Some(String::new()),
        wanted: Some(Wanted::ALL),
        enabled: Some(false),
    };
    let changed = kept.change(id, change).await;
    assert_eq!((&*changed.url, &*changed.description), ("http://other.example/", ""));
    assert_eq!(changed.wanted, Wanted::ALL);
    assert_eq!(changed.state, EndpointState::Disabled(Disabled::Administrator));
    assert_eq!(kept.enable(id, true).await.state, EndpointState::Enabled);

    let rotated =
        kept.store.rotate_secret(id, WebhookSecret([8; 32]), TIME).await.expect("the store answers");
    let rotated = rotated.expect("it is there");
    assert_eq!(rotated.secret, WebhookSecret([8; 32]));
    assert_eq!(rotated.old_secret, Some((WebhookSecret([7; 32]), TIME.plus(OLD_SECRET_FOR))));

    let store = &kept.store;
    assert!(store.delete_endpoint(id).await.expect("the store answers"));
    assert!(!store.delete_endpoint(id).await.expect("the store answers"), "only once");
    assert_eq!(store.endpoint(id).await.expect("the store answers"), None);
    let change = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    assert_eq!(store.change_endpoint(id, change).await.expect("the store answers"), None);
    let rotated = store.rotate_secret(id, WebhookSecret([9; 32]), TIME).await.expect("the store answers");
    assert_eq!(rotated, None);
    assert_eq!(store.endpoints().await.expect("the store answers").len(), 1);
}

async fn there_is_room_for_so_many_endpoints(kept: Kept) {
    for _ in 0..ENDPOINTS_MAX {
        kept.endpoint(Wanted::ALL).await;
    }
    let refused = kept.store.create_endpoint(new_endpoint(Wanted::ALL)).await;
    assert!(matches!(refused, Err(CreateEndpointError::TooMany)), "{refused:?}");
    let first = kept.store.endpoints().await.expect("the store answers")[0].id;
    kept.store.delete_endpoint(first).await.expect("the store answers");
    kept.endpoint(Wanted::ALL).await;
}

async fn a_delivery_is_tried_by_one_until_it_is_settled(kept: Kept) {
    let id = kept.endpoint(Wanted::ALL).await;
    let (a, b) = (new_order_id(), new_order_id());
    kept.hear(&[creation(a), creation(b)]).await;
    assert_eq!(kept.due(id, TIME.minus(SECOND)).await, [], "not before its time");
    let mine = kept.due(id, TIME).await;
    assert_eq!(mine.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(kept.due(id, TIME).await, [], "somebody has them");
    let later = TIME.plus(SECOND * 5);
    let outcomes = vec![(a, Outcome::Delivered { status: 204 }), (b, again(later))];
    assert_eq!(kept.settle(id, outcomes, Health::Works, TIME).await, None);
    assert_eq!(kept.due(id, TIME).await, []);
    let second = kept.due(id, later).await;
    assert_eq!((second.len(), second[0].notice.saga, second[0].attempts), (1, b, 2));
    assert_eq!((second[0].status, second[0].error.as_deref()), (Some(500), Some("it answered 500")));
    assert_eq!(kept.due(id, later.plus(LEASE)).await.len(), 1, "whoever had it went away");
    let failed = Outcome::Failed { status: None, error: "ü".repeat(600) };
    kept.settle(id, vec![(b, failed.clone())], Health::Fails, later).await;
    assert_eq!(kept.due(id, later.plus(LEASE * 9)).await, []);
    // Somebody who is late changes nothing.
    kept.settle(id, vec![(a, failed), (b, again(later))], Health::Unasked, later).await;
    let mut all = kept.all(id).await;
    all.sort_by_key(|delivery| delivery.notice.saga);
    let states: Vec<_> = all.iter().map(|delivery| (delivery.state, delivery.status)).collect();
    assert_eq!(states, [(DeliveryState::Delivered, Some(204)), (DeliveryState::Failed, None)]);
    assert_eq!((all[0].delivered_at, all[0].attempts), (Some(TIME), 1));
}

async fn what_several_try_at_once_each_tries_alone(kept: Kept) {
    let kept = Arc::new(kept);
    let id = kept.endpoint(Wanted::ALL).await;
    let events: Vec<_> = (0..40).map(|_| creation(new_order_id())).collect();
    kept.hear(&events).await;
    let servers = (0..4).map(|_| {
        let kept = Arc::clone(&kept);
        tokio::spawn(async move {
            let mut tried = Vec::new();
            loop {
                let due = kept.due(id, TIME).await;
                if due.is_empty() {
                    return tried;
                }
                tried.extend(due.into_iter().map(|delivery| delivery.notice.saga));
            }
        })
    });
    let tried = futures_util::future::join_all(servers.collect::<Vec<_>>()).await;
    let mut tried: Vec<_> = tried.into_iter().flat_map(|tried| tried.expect("no panic")).collect();
    // Whoever skipped rows of others may have gone home too early.
    loop {
        let rest = kept.due(id, TIME).await;
        if rest.is_empty() {
            break;
        }
        tried.extend(rest.into_iter().map(|delivery| delivery.notice.saga));
    }
    tried.sort_unstable();
    let mut expected: Vec<_> = events.iter().map(|event| event.saga_id).collect();
    expected.sort_unstable();
    assert_eq!(tried, expected, "each once");
}

async fn an_endpoint_that_fails_for_days_is_disabled(kept: Kept) {
    let id = kept.endpoint(Wanted::ALL).await;
    let order = new_order_id();
    kept.hear(&[creation(order)]).await;
    let fails = async |at: Timestamp| kept.settle(id, vec![(order, again(at))], Health::Fails, at).await;
    let since = async || kept.store.endpoint(id).await.expect("answers").expect("there").failing_since;
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(fails(TIME).await, None);
    assert_eq!(since().await, Some(TIME));
    // After a success it begins anew.
    kept.settle(id, vec![], Health::Works, TIME.plus(day)).await;
    assert_eq!(since().await, None);
    // So it does when nothing was tried for long.
    assert_eq!(fails(TIME.plus(day * 2)).await, None);
    let start = TIME.plus(day * 2).plus(FAILURES_APART).plus(SECOND);
    assert_eq!(fails(start).await, None);
    assert_eq!(since().await, Some(start));
    for days in 1..5 {
        assert_eq!(fails(start.plus(day * days)).await, None, "{days}");
    }
    assert_eq!(fails(start.plus(FAILING_MAX).minus(SECOND)).await, None);
    assert_eq!(kept.state(id).await, EndpointState::Enabled);
    assert_eq!(fails(start.plus(FAILING_MAX)).await, Some(Disabled::Failing));
    assert_eq!(kept.state(id).await, EndpointState::Disabled(Disabled::Failing));
    assert_eq!(fails(start.plus(FAILING_MAX)).await, None, "it is disabled already");
    // What waits is kept, and sent when somebody enables it.
    let much_later = start.plus(day * 9);
    assert_eq!(kept.due(id, much_later).await, []);
    let enabled = kept.enable(id, true).await;
    assert_eq!((enabled.state, enabled.failing_since), (EndpointState::Enabled, None));
    assert_eq!(kept.due(id, much_later).await.len(), 1);
    assert_eq!(kept.settle(id, vec![], Health::Gone, much_later).await, Some(Disabled::Gone));
    assert_eq!(kept.state(id).await, EndpointState::Disabled(Disabled::Gone));
}

async fn deliveries_are_listed_newest_first_in_pages(kept: Kept) {
    let id = kept.endpoint(Wanted::ALL).await;
    let other = kept.endpoint(Wanted::ALL).await;
    let event = |n: u64| Event {
        time: TIME.plus(SECOND * u32::try_from(n / 2).expect("few")),
        ..creation(new_order_id())
    };
    let events: Vec<_> = (0..9).map(event).collect();
    kept.hear(&events).await;
    let mut expected: Vec<_> = events.iter().map(|event| (event.time, event.saga_id)).collect();
    expected.sort_unstable();
    expected.reverse();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = kept.store.deliveries(id, None, before, 2).await.expect("the store answers");
        let Some(last) = page.last() else { break };
        let notice = last.notice;
        before = Some(DeliveryCursor { at: notice.at, saga: notice.saga, sequence: notice.sequence });
        found.extend(page.iter().map(|delivery| (delivery.notice.at, delivery.notice.saga)));
    }
    assert_eq!(found, expected);
    kept.settle(id, vec![(expected[3].1, Outcome::Delivered { status: 200 })], Health::Works, TIME).await;
    let of_state = async |id, state| {
        let listed = kept.store.deliveries(id, Some(state), None, 100).await.expect("the store answers");
        listed.iter().map(|delivery| delivery.notice.saga).collect::<Vec<_>>()
    };
    assert_eq!(of_state(id, DeliveryState::Delivered).await, [expected[3].1]);
    assert_eq!(of_state(id, DeliveryState::Waiting).await.len(), 8);
    assert_eq!(of_state(other, DeliveryState::Delivered).await, []);
}

async fn a_replay_lets_everything_of_its_time_wait_again(kept: Kept) {
    let id = kept.endpoint(Wanted::ALL).await;
    let other = kept.endpoint(Wanted::ALL).await;
    let event = |n: u32| Event { time: TIME.plus(SECOND * n), ..creation(new_order_id()) };
    let events: Vec<_> = (0..5).map(event).collect();
    kept.hear(&events[..3]).await;
    kept.enable(id, false).await;
    kept.hear(&events[3..]).await;
    kept.enable(id, true).await;
    assert_eq!(kept.due(id, TIME).await.len(), 3);
    let sagas: Vec<_> = events.iter().map(|event| event.saga_id).collect();
    let outcomes = vec![
        (sagas[0], Outcome::Delivered { status: 200 }),
        (sagas[1], Outcome::Delivered { status: 200 }),
        (sagas[2], Outcome::Failed { status: Some(500), error: "no".into() }),
    ];
    kept.settle(id, outcomes, Health::Works, TIME).await;
    let at = TIME.plus(SECOND * 100);
    let replay = async |from: u32, to: u32| {
        let times = TIME.plus(SECOND * from)..TIME.plus(SECOND * to);
        kept.store.replay(id, times, at).await.expect("the store answers")
    };
    assert_eq!(replay(9, 10).await, Replay::Waiting(0));
    assert_eq!(replay(1, 4).await, Replay::Waiting(3));
    assert_eq!(replay(1, 4).await, Replay::Waiting(3), "again");
    let mut all = kept.all(id).await;
    all.reverse();
    let states: Vec<_> = all.iter().map(|delivery| delivery.state).collect();
    let (delivered, waiting, skipped) =
        (DeliveryState::Delivered, DeliveryState::Waiting, DeliveryState::Skipped);
    assert_eq!(states, [delivered, waiting, waiting, waiting, skipped]);
    let second = &all[1];
    assert_eq!((second.attempts, second.delivered_at, second.status), (0, None, None));
    assert_eq!(kept.due(id, at.minus(SECOND)).await, []);
    assert_eq!(kept.due(id, at).await.len(), 3);
    assert_eq!(kept.due(other, TIME).await.len(), 5, "another endpoint's are as they were");
}

async fn what_is_old_or_of_nobody_is_swept(kept: Kept) {
    let id = kept.endpoint(Wanted::ALL).await;
    let deleted = kept.endpoint(Wanted::ALL).await;
    let event = |n: u32| Event { time: TIME.plus(SECOND * n), ..creation(new_order_id()) };
    let events: Vec<_> = (0..6).map(event).collect();
    kept.hear(&events).await;
    kept.store.delete_endpoint(deleted).await.expect("the store answers");
    let sweep =
        async || kept.store.sweep_deliveries(TIME.plus(SECOND * 2), 5).await.expect("the store answers");
    assert_eq!(sweep().await + sweep().await, 8);
    assert_eq!(sweep().await, 0);
    assert_eq!(kept.all(id).await.len(), 4);
    assert_eq!(kept.all(deleted).await, []);
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                an_event_waits_for_each_endpoint_that_wants_it,
                endpoints_are_made_changed_and_deleted,
                there_is_room_for_so_many_endpoints,
                a_delivery_is_tried_by_one_until_it_is_settled,
                what_several_try_at_once_each_tries_alone,
                an_endpoint_that_fails_for_days_is_disabled,
                deliveries_are_listed_newest_first_in_pages,
                a_replay_lets_everything_of_its_time_wait_again,
                what_is_old_or_of_nobody_is_swept,
            ]
        );
    };
}

behaviours!(sqlite, super::Kept::sqlite());
behaviours!(cluster, super::Kept::mysql().await);
