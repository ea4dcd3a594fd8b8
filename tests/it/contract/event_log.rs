//! What every event log promises to the groups that read it.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::sqlite::{LocalLog, SqliteConsumerStore, SqliteLedger, SqliteOutbox};
use holdfast::domain::{Event, OrderId, Reason, Topic};
use holdfast::ports::event_log::{DeadLetter, EventLog, Group, Place, Subscription};
use holdfast::ports::ledger::{Confirmation, Ledger, NewOrder, SagaRef, Undoing};
use holdfast::ports::outbox::{Outbox, Position};
use tempfile::TempDir;

use crate::support::goods::{driver, new_order_id, now, purchase, stock};
use crate::support::{kafka, wait_for};

use super::suite;

/// Longer than a message takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log, and a ledger whose events are told in it.
struct Told {
    log: Arc<dyn EventLog>,
    ledger: Arc<dyn Ledger>,
    outbox: Arc<SqliteOutbox>,
    _directory: TempDir,
}

impl Told {
    fn local() -> Self {
        Self::with(|outbox, store| Arc::new(LocalLog::new(outbox, store)))
    }

    async fn cluster() -> Self {
        let log = Arc::new(kafka::log().await);
        Self::with(|_, _| log)
    }

    fn with(log: impl FnOnce(Arc<SqliteOutbox>, Arc<SqliteConsumerStore>) -> Arc<dyn EventLog>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = SqliteLedger::open(&directory.path().join("ledger"), now()).expect("the ledger opens");
        let outbox = SqliteOutbox::new(ledger.readers().clone());
        let store = SqliteConsumerStore::open(&directory.path().join("consumers")).expect("the store opens");
        let log = log(Arc::clone(&outbox), Arc::new(store));
        Self { log, ledger: Arc::new(ledger), outbox, _directory: directory }
    }

    /// Sells to a few customers, takes one order back, and tells of all of that. Returns the events.
    async fn sales(&self, customers: i64) -> Vec<Event> {
        let before = self.events().await;
        let product = match self.ledger.stock_levels().await.expect("answers").first() {
            Some(level) => level.product,
            None => stock(&*self.ledger, &[1_000]).await[0],
        };
        for customer in 1..=customers {
            let key = format!("key-{}", before.len());
            let purchase = Arc::new(purchase(customer, &key, &[(product, 1)]));
            let new = NewOrder { id: new_order_id(), driver: driver(1), purchase, at: now() };
            let order = self.ledger.create_orders(vec![new.clone()]).await.remove(0).expect("created");
            let saga = SagaRef { id: new.id, driver: new.driver, at: now() };
            if customer == 1 {
                let reason = Reason::PaymentDeclined;
                let undoing = Undoing { saga, reason, capture: None, refund: None };
                self.ledger.fail_orders(vec![undoing]).await.remove(0).expect("failed");
            } else {
                let confirmation = Confirmation { saga, order, capture: None };
                self.ledger.confirm_orders(vec![confirmation]).await.remove(0).expect("confirmed");
            }
        }
        let told = self.events().await.split_off(before.len());
        self.log.publish(told.clone()).await.expect("the log answers");
        told
    }

    async fn events(&self) -> Vec<Event> {
        let entries = self.outbox.read(Position::default(), 10_000).await.expect("the outbox answers");
        entries.into_iter().flat_map(|entry| entry.events).collect()
    }

    async fn subscribe(&self, group: Group) -> Box<dyn Subscription> {
        self.log.subscribe(group).await.expect("the log answers")
    }
}

/// Reads until there are so many.
async fn read(subscription: &mut dyn Subscription, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    wait_for("all events are told", PATIENCE, async || {
        let messages = subscription.next(100, Duration::from_millis(200)).await.expect("the log answers");
        events.extend(messages.into_iter().map(|message| message.content.expect("an event")));
        events.len() >= count
    })
    .await;
    assert_eq!(events.len(), count, "no more than there are");
    events
}

/// Events of each saga and topic, in the order in which they were told.
fn by_saga(events: &[Event]) -> Vec<(OrderId, Topic, Vec<Event>)> {
    let mut sagas = std::collections::BTreeMap::new();
    for event in events {
        let key = (event.saga_id, event.body.topic());
        sagas.entry(key).or_insert_with(Vec::new).push(event.clone());
    }
    sagas.into_iter().map(|((saga, topic), events)| (saga, topic, events)).collect()
}

async fn a_group_is_told_everything_in_the_order_of_each_saga(told: Told) {
    let before = told.sales(5).await;
    let mut subscription = told.subscribe(Group::Analytics).await;
    let mut events = read(&mut *subscription, before.len()).await;
    let after = told.sales(5).await;
    events.extend(read(&mut *subscription, after.len()).await);
    assert_eq!(by_saga(&events), by_saga(&[before, after].concat()));
}

async fn a_group_goes_on_after_what_it_has_committed(told: Told) {
    let first = told.sales(3).await;
    let mut subscription = told.subscribe(Group::Coordination).await;
    read(&mut *subscription, first.len()).await;
    subscription.commit().await.expect("the log answers");
    drop(subscription);
    assert_eq!(told.log.lag(Group::Coordination).await.expect("the log answers"), 0);
    let second = told.sales(3).await;
    assert!(told.log.lag(Group::Coordination).await.expect("the log answers") > 0);
    let mut subscription = told.subscribe(Group::Coordination).await;
    assert_eq!(by_saga(&read(&mut *subscription, second.len()).await), by_saga(&second));
}

async fn what_was_not_committed_is_told_again(told: Told) {
    let events = told.sales(3).await;
    for _ in 0..2 {
        let mut subscription = told.subscribe(Group::Analytics).await;
        assert_eq!(by_saga(&read(&mut *subscription, events.len()).await), by_saga(&events));
    }
    assert!(told.log.lag(Group::Analytics).await.expect("the log answers") > 0);
}

async fn a_group_reads_its_topics_and_nobody_elses_offsets(told: Told) {
    let events = told.sales(3).await;
    let mut subscription = told.subscribe(Group::Inventory).await;
    read(&mut *subscription, events.len()).await;
    subscription.commit().await.expect("the log answers");
    let of_orders: Vec<Event> =
        events.into_iter().filter(|event| event.body.topic() == Topic::Order).collect();
    let mut subscription = told.subscribe(Group::Notification).await;
    assert_eq!(by_saga(&read(&mut *subscription, of_orders.len()).await), by_saga(&of_orders));
}

async fn a_group_can_be_told_everything_again(told: Told) {
    let events = told.sales(3).await;
    let mut subscription = told.subscribe(Group::Inventory).await;
    read(&mut *subscription, events.len()).await;
    subscription.commit().await.expect("the log answers");
    drop(subscription);
    wait_for("nobody of the group is reading", PATIENCE, async || {
        told.log.rewind(Group::Inventory).await.is_ok()
    })
    .await;
    let mut subscription = told.subscribe(Group::Inventory).await;
    assert_eq!(by_saga(&read(&mut *subscription, events.len()).await), by_saga(&events));
}

async fn the_history_is_everything_and_ends(told: Told) {
    let events = told.sales(4).await;
    let mut history = told.log.history().await.expect("the log answers");
    assert_eq!(by_saga(&read(&mut *history, events.len()).await), by_saga(&events));
    let more = history.next(10, Duration::from_millis(300)).await.expect("the log answers");
    assert!(more.is_empty());
    let mut history = told.log.history().await.expect("the log answers");
    assert_eq!(read(&mut *history, events.len()).await.len(), events.len(), "it moves nobody's offset");
}

async fn an_empty_log_has_nothing_to_tell(told: Told) {
    let mut history = told.log.history().await.expect("the log answers");
    assert!(history.next(10, Duration::from_millis(300)).await.expect("the log answers").is_empty());
    assert_eq!(told.log.lag(Group::Analytics).await.expect("the log answers"), 0);
    assert_eq!(told.log.dead_letters(10).await.expect("the log answers"), []);
}

async fn what_was_put_aside_can_be_listed(told: Told) {
    let letter = |offset, group: Group| DeadLetter {
        topic: Topic::Compensation.as_str(),
        place: Place { partition: 0, offset },
        group: group.to_string(),
        reason: "it is not JSON".to_owned(),
        payload: b"\xff\x00 what it was".to_vec(),
    };
    let letters = [letter(7, Group::Analytics), letter(7, Group::Inventory), letter(9, Group::Analytics)];
    for letter in &letters {
        told.log.bury(letter.clone()).await.expect("the log answers");
        told.log.bury(letter.clone()).await.expect("again");
    }
    let mut listed = told.log.dead_letters(10).await.expect("the log answers");
    listed.sort_by_key(|letter| (letter.place, letter.group.clone()));
    assert_eq!(listed, letters);
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                a_group_is_told_everything_in_the_order_of_each_saga,
                a_group_goes_on_after_what_it_has_committed,
                what_was_not_committed_is_told_again,
                a_group_reads_its_topics_and_nobody_elses_offsets,
                a_group_can_be_told_everything_again,
                the_history_is_everything_and_ends,
                an_empty_log_has_nothing_to_tell,
                what_was_put_aside_can_be_listed,
            ]
        );
    };
}

behaviours!(local, super::Told::local());
behaviours!(cluster, super::Told::cluster().await);
