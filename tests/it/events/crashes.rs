//! Consumers that die between their effect and the commit of their offset: nothing has a second effect.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast::consumers::{self, Consumer, Courtesy, Stored, analytics, notification};
use holdfast::domain::Event;
use holdfast::ports::Unavailable;
use holdfast::ports::clock::SystemClock;
use holdfast::ports::event_log::{DeadLetter, EventLog, Group, Message, Partitions, Subscription};
use holdfast::telemetry::Traces;
use tokio::sync::Notify;

use crate::contract::suite;
use crate::support::profile::Stores;
use crate::support::test_app::{PATIENCE, TestApp};

use super::{caught_up, finish};

/// A log whose readers die before they commit.
struct Deadly {
    log: Arc<dyn EventLog>,
    died: Arc<Notify>,
}

struct Mortal {
    reading: Box<dyn Subscription>,
    died: Arc<Notify>,
    has_read: bool,
}

#[async_trait]
impl Subscription for Mortal {
    async fn next(&mut self, limit: usize, patience: Duration) -> Result<Vec<Message>, Unavailable> {
        let messages = self.reading.next(limit, patience).await?;
        self.has_read |= !messages.is_empty();
        Ok(messages)
    }

    async fn commit(&mut self) -> Result<(), Unavailable> {
        if !self.has_read {
            return Ok(());
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl EventLog for Deadly {
    async fn prepare(&self) -> Result<(), Unavailable> {
        self.log.prepare().await
    }
    async fn publish(&self, events: Vec<Event>) -> Result<(), Unavailable> {
        self.log.publish(events).await
    }
    async fn subscribe(&self, group: Group) -> Result<Box<dyn Subscription>, Unavailable> {
        let reading = self.log.subscribe(group).await?;
        Ok(Box::new(Mortal { reading, died: Arc::clone(&self.died), has_read: false }))
    }
    async fn history(&self) -> Result<Box<dyn Subscription>, Unavailable> {
        self.log.history().await
    }
    async fn lag(&self, group: Group) -> Result<u64, Unavailable> {
        self.log.lag(group).await
    }
    async fn partitions(&self) -> Result<Partitions, Unavailable> {
        self.log.partitions().await
    }
    async fn rewind(&self, group: Group) -> Result<(), Unavailable> {
        self.log.rewind(group).await
    }
    async fn bury(&self, letter: DeadLetter) -> Result<(), Unavailable> {
        self.log.bury(letter).await
    }
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Unavailable> {
        self.log.dead_letters(limit).await
    }
    async fn resend(&self, letter: &DeadLetter) -> Result<bool, Unavailable> {
        self.log.resend(letter).await
    }
}

async fn a_consumer_that_dies_20_times_before_its_commit_has_each_effect_once(stores: Stores) {
    use holdfast::config::Role::{Http, Relay, Saga};
    let builder =
        TestApp::builder().product(1_000).config(|config| config.roles = [Http, Saga, Relay].into());
    let app = builder.start_over(stores).await;
    let customer = app.customer(5);
    let stores = &app.shop.stores;
    let log = stores.log.clone().expect("a log");
    let clock = Arc::new(SystemClock);
    let groups =
        [(Group::Analytics, analytics::meaning as _), (Group::Notification, notification::meaning as _)];
    let consumer = |(group, meaning)| -> (Group, Arc<dyn Consumer>) {
        let (store, clock) = (Arc::clone(&stores.consumers), clock.clone());
        (group, Arc::new(Stored { group, meaning, store, clock }))
    };
    for death in 0..20 {
        customer.buy(1, 1, &format!("key-{death}")).await.expect(201);
        for (group, consumer) in groups.map(consumer) {
            let died = Arc::new(Notify::new());
            let deadly = Arc::new(Deadly { log: Arc::clone(&log), died: Arc::clone(&died) });
            let running = tokio::spawn(consumers::run(
                group,
                consumer,
                deadly,
                clock.clone(),
                Courtesy::none(),
                Traces::default(),
            ));
            tokio::time::timeout(PATIENCE, died.notified()).await.expect("it comes to its commit");
            running.abort();
            // Whatever it held is let go of.
            let _ = running.await;
        }
    }
    assert!(log.lag(Group::Analytics).await.expect("the log answers") > 0, "nobody has ever committed");
    let mut others = Vec::new();
    for (group, consumer) in groups.map(consumer) {
        others.push(tokio::spawn(consumers::run(
            group,
            consumer,
            Arc::clone(&log),
            clock.clone(),
            Courtesy::none(),
            Traces::default(),
        )));
    }
    for group in [Group::Inventory, Group::Coordination, Group::Webhooks] {
        let nothing: Arc<dyn Consumer> = Arc::new(Idle);
        others.push(tokio::spawn(consumers::run(
            group,
            nothing,
            Arc::clone(&log),
            clock.clone(),
            Courtesy::none(),
            Traces::default(),
        )));
    }
    caught_up(&app).await;
    // The audit compares mails and sums with all events.
    others.iter().for_each(tokio::task::JoinHandle::abort);
    futures_util::future::join_all(others).await;
    let counts = app.shop.stores.consumers.mail_counts().await.expect("the store answers");
    assert_eq!(counts.iter().map(|(_, _, count)| count).sum::<u64>(), 40);
    drop((customer, log));
    finish(app).await;
}

/// Makes nothing of anything.
struct Idle;

#[async_trait]
impl Consumer for Idle {
    async fn take_in(&self, _: Vec<Event>) -> Result<(), Unavailable> {
        Ok(())
    }
}

suite!(
    embedded,
    super::Stores::embedded(),
    [a_consumer_that_dies_20_times_before_its_commit_has_each_effect_once]
);
suite!(
    cluster,
    super::Stores::cluster_with_kafka().await,
    [a_consumer_that_dies_20_times_before_its_commit_has_each_effect_once]
);
