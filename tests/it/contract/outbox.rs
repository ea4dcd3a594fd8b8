//! What every outbox promises, told by a ledger that writes into it.

use std::sync::Arc;

use holdfast::domain::{Event, OrderId, ProductId, Timestamp};
use holdfast::ports::ledger::{Confirmation, Ledger, NewOrder, SagaRef};
use holdfast::ports::outbox::{Outbox, Position};

use crate::support::goods::{driver, new_order_id, now, purchase, stock};
use crate::support::profile::Stores;
use crate::support::shop::Home;

use super::suite;

/// A ledger, and its outbox.
struct Told {
    ledger: Arc<dyn Ledger>,
    log: Arc<dyn Outbox>,
    home: Home,
}

impl Told {
    async fn over(home: Home) -> Self {
        let (ledger, log, ..) = home.open().await;
        Self { ledger, log, home }
    }

    async fn opened_again(self) -> Self {
        let Self { ledger, log, home } = self;
        drop((ledger, log));
        Self::over(home).await
    }

    async fn order(&self, user: i64, product: ProductId) -> NewOrder {
        let purchase = Arc::new(purchase(user, "key", &[(product, 1)]));
        let new = NewOrder { id: new_order_id(), driver: driver(1), purchase, at: now() };
        self.ledger.create_orders(vec![new.clone()]).await.remove(0).expect("created");
        new
    }

    async fn confirm(&self, new: &NewOrder) {
        let order = self.ledger.order(new.id).await.expect("answers").expect("an order");
        let saga = SagaRef { id: new.id, driver: new.driver, at: now() };
        let confirmation = Confirmation { saga, order, capture: None };
        self.ledger.confirm_orders(vec![confirmation]).await.remove(0).expect("confirmed");
    }

    async fn read(&self, after: Position, limit: usize) -> Vec<(Position, Vec<Event>)> {
        let entries = self.log.read(after, limit).await.expect("the outbox answers");
        entries.into_iter().map(|entry| (entry.position, entry.events)).collect()
    }
}

async fn an_empty_outbox_has_nothing_to_tell(told: Told) {
    stock(&*told.ledger, &[5]).await;
    assert_eq!(told.read(Position::default(), 10).await, []);
    assert_eq!(told.read(Position(99), 10).await, []);
}

async fn commits_are_told_in_order_and_whole(told: Told) {
    let product = stock(&*told.ledger, &[5]).await[0];
    let first = told.order(1, product).await;
    let second = told.order(2, product).await;
    told.confirm(&first).await;
    let entries = told.read(Position::default(), 10).await;
    let sagas: Vec<_> = entries.iter().map(|(_, events)| events[0].saga_id).collect();
    assert_eq!(sagas, [first.id, second.id, first.id]);
    let kinds: Vec<Vec<_>> =
        entries.iter().map(|(_, events)| events.iter().map(|event| event.body.kind()).collect()).collect();
    let created = vec!["SagaStarted", "InventoryReserved", "OrderCreated"];
    assert_eq!(kinds, [created.clone(), created, vec!["OrderConfirmed"]]);
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "positions grow");
    for (_, events) in &entries {
        assert!(events.iter().all(|event| event.saga_id == events[0].saga_id), "one saga an entry");
    }
    let of_first: Vec<_> =
        entries.iter().flat_map(|(_, events)| events).filter(|e| e.saga_id == first.id).collect();
    assert_eq!(of_first.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

async fn reading_goes_on_after_a_position(told: Told) {
    let product = stock(&*told.ledger, &[9]).await[0];
    for user in 0..5 {
        told.order(user, product).await;
    }
    let all = told.read(Position::default(), 100).await;
    assert_eq!(all.len(), 5);
    let (mut read, mut after) = (Vec::new(), Position::default());
    loop {
        let part = told.read(after, 2).await;
        assert!(part.len() <= 2);
        let Some((position, _)) = part.last() else { break };
        after = *position;
        read.extend(part);
    }
    assert_eq!(read, all);
    let new = told.order(9, product).await;
    let newer = told.read(after, 2).await;
    assert_eq!(newer.len(), 1);
    assert_eq!(newer[0].1[0].saga_id, new.id);
}

async fn what_was_refused_is_not_told(told: Told) {
    let product = stock(&*told.ledger, &[1]).await[0];
    told.order(1, product).await;
    let before = told.read(Position::default(), 100).await;
    let purchase = Arc::new(purchase(2, "key", &[(product, 1)]));
    let new = NewOrder { id: new_order_id(), driver: driver(1), purchase, at: now() };
    assert!(told.ledger.create_orders(vec![new]).await.remove(0).is_err());
    assert_eq!(told.read(Position::default(), 100).await, before);
}

async fn it_is_the_same_after_opening_again(told: Told) {
    let product = stock(&*told.ledger, &[9]).await[0];
    let new = told.order(1, product).await;
    told.confirm(&new).await;
    let before = told.read(Position::default(), 100).await;
    let told = told.opened_again().await;
    assert_eq!(told.read(Position::default(), 100).await, before);
    told.order(2, product).await;
    let after = told.read(before.last().expect("two entries").0, 100).await;
    assert_eq!(after.len(), 1, "positions go on where they were");
}

async fn the_entries_of_a_time_can_be_read_again(told: Told) {
    let product = stock(&*told.ledger, &[9]).await[0];
    let first = told.order(1, product).await;
    let between = now().plus(std::time::Duration::from_millis(5));
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let second = told.order(2, product).await;
    let read = async |from, to, after, limit| {
        let entries = told.log.read_between(from..to, after, limit).await.expect("the outbox answers");
        entries.into_iter().map(|entry| (entry.position, entry.events[0].saga_id)).collect::<Vec<_>>()
    };
    let (begin, end) = (Timestamp(0), now().plus(std::time::Duration::from_secs(1)));
    let sagas = |read: Vec<(Position, OrderId)>| read.into_iter().map(|(_, saga)| saga).collect::<Vec<_>>();
    assert_eq!(sagas(read(begin, between, Position::default(), 9).await), [first.id]);
    assert_eq!(sagas(read(between, end, Position::default(), 9).await), [second.id]);
    let page = read(begin, end, Position::default(), 1).await;
    assert_eq!(sagas(read(begin, end, page[0].0, 9).await), [second.id], "it goes on after a position");
    assert_eq!(sagas(page), [first.id]);
}

macro_rules! behaviours {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                an_empty_outbox_has_nothing_to_tell,
                commits_are_told_in_order_and_whole,
                reading_goes_on_after_a_position,
                what_was_refused_is_not_told,
                it_is_the_same_after_opening_again,
                the_entries_of_a_time_can_be_read_again,
            ]
        );
    };
}

behaviours!(outbox, super::Told::over(super::Home::over(super::Stores::embedded())).await);
behaviours!(cluster, super::Told::over(super::Home::over(super::Stores::cluster().await)).await);
