//! What every store of consumers promises: each event is taken in once by each group.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::mysql::MysqlConsumerStore;
use holdfast::adapters::sqlite::SqliteConsumerStore;
use holdfast::consumers::{analytics, coordination, notification};
use holdfast::domain::{
    Currency, Event, EventBody, OrderId, OrderStatus, ProductId, Quantity, Reason, SoldLine, Timestamp,
    UserId,
};
use holdfast::ports::consumer_store::{
    ConsumerStore, Finding, FindingKind, MailKind, MailOutcome, MailState, Minute, Sums,
};
use holdfast::ports::event_log::Group;

use crate::support::database::Database;
use crate::support::goods::{euro, new_order_id, now};

use super::suite;

/// A store with what it lives in.
struct Kept {
    store: Arc<dyn ConsumerStore>,
    _home: Box<dyn std::any::Any + Send + Sync>,
}

impl Kept {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteConsumerStore::open(&directory.path().join("consumers")).expect("the store opens");
        Self { store: Arc::new(store), _home: Box::new(directory) }
    }

    async fn mysql() -> Self {
        let database = Database::fresh().await;
        let store = MysqlConsumerStore::new(Arc::new(database.ledger().await));
        Self { store: Arc::new(store), _home: Box::new(database) }
    }

    async fn count(&self, events: &[Event]) -> usize {
        let taken_in = self.store.take_in(Group::Analytics, events.to_vec(), analytics::meaning, now());
        taken_in.await.expect("the store answers")
    }

    async fn notify(&self, events: &[Event], at: Timestamp) -> usize {
        let taken_in = self.store.take_in(Group::Notification, events.to_vec(), notification::meaning, at);
        taken_in.await.expect("the store answers")
    }

    async fn watch(&self, events: &[Event], at: Timestamp) -> usize {
        let taken_in = self.store.take_in(Group::Coordination, events.to_vec(), coordination::meaning, at);
        taken_in.await.expect("the store answers")
    }

    async fn product(&self, product: i64) -> Sums {
        let all = self.store.sales(Minute(0)..Minute(1), usize::MAX).await.expect("the store answers");
        all.by_product.get(&(ProductId(product), Currency::EUR)).copied().unwrap_or_default()
    }
}

/// In the middle of minute 100.
const TIME: Timestamp = Timestamp(100 * 60_000 + 30_000);

fn lines(product: i64, quantity: u32) -> Arc<[SoldLine]> {
    let quantity = Quantity::new(quantity).expect("some");
    Arc::from([SoldLine { product_id: ProductId(product), quantity, unit_price: euro(250) }])
}

fn sale(order_id: OrderId, sequence: u32, product: i64, quantity: u32) -> Event {
    let total = euro(250 * i64::from(quantity));
    let body =
        EventBody::OrderConfirmed { order_id, user_id: UserId(5), lines: lines(product, quantity), total };
    Event { saga_id: order_id, sequence, time: TIME, body }
}

fn cancel(order_id: OrderId, sequence: u32, was: OrderStatus) -> Event {
    let (lines, total, reason) = (lines(1, 2), euro(500), Reason::CancelledByCustomer);
    let body = EventBody::OrderCancelled { order_id, user_id: UserId(5), reason, was, lines, total };
    Event { saga_id: order_id, sequence, time: TIME, body }
}

fn failure(order_id: OrderId, sequence: u32) -> Event {
    let body = EventBody::OrderFailed { order_id, user_id: UserId(5), reason: Reason::PaymentDeclined };
    Event { saga_id: order_id, sequence, time: TIME, body }
}

fn creation(order_id: OrderId, sequence: u32) -> Event {
    let body =
        EventBody::OrderCreated { order_id, user_id: UserId(5), lines: Arc::default(), total: euro(1) };
    Event { saga_id: order_id, sequence, time: TIME, body }
}

async fn an_event_is_taken_in_once_by_each_group(kept: Kept) {
    let (a, b) = (new_order_id(), new_order_id());
    let events = [sale(a, 5, 1, 2), sale(b, 5, 1, 3)];
    assert_eq!(kept.count(&events[..1]).await, 1);
    assert_eq!(kept.count(&events).await, 1, "one of them is new");
    assert_eq!(kept.count(&events).await, 0);
    assert_eq!(kept.count(&[events[1].clone(), events[1].clone()]).await, 0);
    assert_eq!(kept.product(1).await, Sums { sales: 2, units: 5, revenue_minor: 1_250, ..Sums::default() });
    assert_eq!(kept.notify(&events, now()).await, 2, "another group has not had them");
    assert_eq!(kept.count(&[]).await, 0);
}

async fn both_topics_of_a_saga_are_remembered_apart(kept: Kept) {
    let order = new_order_id();
    // The later one came first, over the other topic.
    assert_eq!(kept.count(&[cancel(order, 8, OrderStatus::Confirmed)]).await, 1);
    assert_eq!(kept.count(&[sale(order, 5, 1, 2)]).await, 1);
    assert_eq!(kept.count(&[sale(order, 5, 1, 2), cancel(order, 8, OrderStatus::Confirmed)]).await, 0);
    let sums = kept.product(1).await;
    assert_eq!((sums.sales, sums.cancelled_sales, sums.cancelled_minor), (1, 1, 500));
}

async fn an_event_taken_in_by_several_at_once_has_one_effect(kept: Kept) {
    let kept = Arc::new(kept);
    for round in 0..10 {
        let events: Vec<Event> = (0..20).map(|_| sale(new_order_id(), 5, round, 1)).collect();
        let takers = (0..4).map(|n| {
            let (kept, mut events) = (Arc::clone(&kept), events.clone());
            events.rotate_left(n * 3);
            tokio::spawn(async move { kept.count(&events).await })
        });
        let counts = futures_util::future::join_all(takers.collect::<Vec<_>>()).await;
        let counts: Vec<usize> = counts.into_iter().map(|count| count.expect("no panic")).collect();
        assert_eq!(counts.iter().sum::<usize>(), 20, "{counts:?}");
        assert_eq!(kept.product(round).await.sales, 20);
    }
}

async fn sales_are_counted_by_minute_and_product(kept: Kept) {
    let cancelled = new_order_id();
    let mut events = vec![sale(cancelled, 5, 1, 2), cancel(cancelled, 8, OrderStatus::Confirmed)];
    events.push(cancel(new_order_id(), 6, OrderStatus::Pending));
    events.push(failure(new_order_id(), 5));
    events.extend((0..3).map(|_| sale(new_order_id(), 5, 2, 4)));
    let mut later = sale(new_order_id(), 5, 3, 1);
    later.time = later.time.plus(Duration::from_secs(60));
    events.push(later);
    assert_eq!(kept.count(&events).await, events.len());
    let sales = kept.store.sales(Minute(100)..Minute(101), 2).await.expect("the store answers");
    let minute = Sums {
        sales: 4,
        units: 14,
        revenue_minor: 3_500,
        cancelled_sales: 1,
        cancelled_units: 2,
        cancelled_minor: 500,
    };
    assert_eq!(sales.by_minute.into_iter().collect::<Vec<_>>(), [((Minute(100), Currency::EUR), minute)]);
    assert_eq!(sales.failures.into_iter().collect::<Vec<_>>(), [((Minute(100), Reason::PaymentDeclined), 1)]);
    let best: Vec<i64> = sales.by_product.keys().map(|(product, _)| product.0).collect();
    assert_eq!(best, [2, 3], "what was taken back does not count");
}

async fn a_mail_is_written_once_and_sent_by_one(kept: Kept) {
    let order = new_order_id();
    let at = now();
    kept.notify(&[creation(order, 3), sale(order, 5, 1, 1)], at).await;
    kept.notify(&[creation(order, 3)], at).await;
    let mails = kept.store.mails_of(order).await.expect("the store answers");
    assert_eq!(mails.iter().map(|mail| mail.kind).collect::<Vec<_>>(), MailKind::ALL);
    let lease = Duration::from_secs(60);
    let due = async |at| kept.store.due_mails(at, lease, 10).await.expect("the store answers");
    assert_eq!(due(at.minus(Duration::from_secs(1))).await, [], "not before its time");
    let mut mine = due(at).await;
    mine.sort_by_key(|mail| mail.kind);
    assert_eq!(mine.iter().map(|mail| (mail.order, mail.attempts)).collect::<Vec<_>>(), [(order, 1); 2]);
    assert_eq!(due(at).await, [], "somebody has them");
    let settle = async |kind, outcome| {
        kept.store.settle_mail(order, kind, outcome, at).await.expect("the store answers");
    };
    settle(MailKind::OrderConfirmation, MailOutcome::Ended(MailState::Sent, None)).await;
    let again = at.plus(Duration::from_secs(5));
    let long_reason = "ü".repeat(600);
    settle(MailKind::ShippingNotice, MailOutcome::Again(again, long_reason)).await;
    assert_eq!(due(at).await, []);
    let second = due(again).await;
    assert_eq!((second.len(), second[0].kind, second[0].attempts), (1, MailKind::ShippingNotice, 2));
    assert_eq!(due(again.plus(lease)).await.len(), 1, "whoever had it went away");
    settle(MailKind::ShippingNotice, MailOutcome::Ended(MailState::Refused, Some("no".into()))).await;
    let states: Vec<_> = kept.store.mails_of(order).await.expect("answers").iter().map(|m| m.state).collect();
    assert_eq!(states, [MailState::Sent, MailState::Refused]);
    let mut counts = kept.store.mail_counts().await.expect("the store answers");
    counts.sort_by_key(|(kind, ..)| *kind);
    let expected = [
        (MailKind::OrderConfirmation, MailState::Sent, 1),
        (MailKind::ShippingNotice, MailState::Refused, 1),
    ];
    assert_eq!(counts, expected);
}

async fn a_saga_is_watched_until_its_end_is_settled(kept: Kept) {
    let (order, other) = (new_order_id(), new_order_id());
    let at = now();
    let later = at.plus(Duration::from_secs(1));
    kept.watch(&[creation(order, 1), creation(order, 2), creation(order, 3), creation(other, 1)], at).await;
    kept.watch(&[sale(order, 5, 1, 1), creation(order, 3)], later).await;
    let watched = async |before| kept.store.watched(before, 10).await.expect("the store answers");
    assert_eq!(watched(at).await, []);
    let first = watched(later).await;
    assert_eq!((first.len(), first[0].heard.saga, first[0].heard_at), (1, other, at));
    let both = watched(later.plus(Duration::from_millis(1))).await;
    let heard = both[1].heard;
    assert_eq!((heard.saga, heard.seen, heard.last), (order, 4, 5));
    assert_eq!((heard.ending, both[1].heard_at), (Some(OrderStatus::Confirmed), later));
    assert_eq!((both[0].sale_heard_to, both[1].sale_heard_to), (1, 5));
    let finding =
        |kind| Finding { saga_id: other, kind, detail: "nothing was heard".to_owned(), found_at: at };
    let settle = async |ended, findings| {
        kept.store.settle_watched(ended, findings).await.expect("the store answers");
    };
    settle(vec![both[1]], vec![finding(FindingKind::Stopped)]).await;
    settle(vec![], vec![finding(FindingKind::Stopped), finding(FindingKind::Contradiction)]).await;
    assert_eq!(watched(later.plus(Duration::from_secs(9))).await.len(), 1);
    assert_eq!(kept.store.findings(10).await.expect("the store answers").len(), 2, "each once");
    // It was heard of since: the watch goes on.
    kept.watch(&[creation(other, 2)], later).await;
    settle(vec![first[0]], vec![]).await;
    let now_watched = watched(later.plus(Duration::from_secs(9))).await;
    assert_eq!((now_watched.len(), now_watched[0].heard.last), (1, 2));
    settle(now_watched, vec![]).await;
    assert_eq!(kept.store.findings(10).await.expect("the store answers"), [], "it has come right");
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                an_event_is_taken_in_once_by_each_group,
                both_topics_of_a_saga_are_remembered_apart,
                an_event_taken_in_by_several_at_once_has_one_effect,
                sales_are_counted_by_minute_and_product,
                a_mail_is_written_once_and_sent_by_one,
                a_saga_is_watched_until_its_end_is_settled,
            ]
        );
    };
}

behaviours!(sqlite, super::Kept::sqlite());
behaviours!(cluster, super::Kept::mysql().await);
