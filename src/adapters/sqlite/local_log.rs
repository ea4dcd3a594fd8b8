//! The event log of the embedded profile: the outbox, read by each group from where it stopped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::cloud_event::Undecodable;
use crate::domain::{Event, Topic};
use crate::ports::Unavailable;
use crate::ports::event_log::{DeadLetter, EventLog, Group, Message, Partitions, Place, Subscription};
use crate::ports::outbox::Position;

use super::consumer_store::SqliteConsumerStore;
use super::outbox::SqliteOutbox;

/// Pause between two looks for something new.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Events of an entry, about: so many fewer entries than messages are read.
const EVENTS_OF_AN_ENTRY: usize = 3;

/// The log of a shop of one process.
pub struct LocalLog {
    outbox: Arc<SqliteOutbox>,
    store: Arc<SqliteConsumerStore>,
}

impl LocalLog {
    /// The log of an outbox; how far each group has read it is kept in `store`.
    pub fn new(outbox: Arc<SqliteOutbox>, store: Arc<SqliteConsumerStore>) -> Self {
        Self { outbox, store }
    }

    fn read_from(&self, group: Option<Group>, read: Position) -> LocalSubscription {
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.store));
        LocalSubscription { outbox, store, group, read, committed: read }
    }
}

struct LocalSubscription {
    outbox: Arc<SqliteOutbox>,
    store: Arc<SqliteConsumerStore>,
    /// Nobody's where the whole history is read.
    group: Option<Group>,
    read: Position,
    committed: Position,
}

fn message(topic: Topic, place: Place, content: Result<Event, (Undecodable, Vec<u8>)>) -> Message {
    // What is committed is there: nobody has to publish it.
    Message { topic, place, content, publication: None }
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self, limit: usize, patience: Duration) -> Result<Vec<Message>, Unavailable> {
        let until = tokio::time::Instant::now() + patience;
        let entries = loop {
            let entries = self.outbox.read_any(self.read, limit.div_ceil(EVENTS_OF_AN_ENTRY)).await?;
            if !entries.is_empty() || tokio::time::Instant::now() >= until {
                break entries;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let topics = self.group.map_or(&Topic::ALL[..], Group::topics);
        let mut messages = Vec::new();
        for (position, events) in entries {
            self.read = position;
            let place = Place { partition: 0, offset: position.0 };
            match events {
                Ok(events) => messages.extend(
                    events
                        .into_iter()
                        .filter(|event| topics.contains(&event.body.topic()))
                        .map(|event: Event| message(event.body.topic(), place, Ok(event))),
                ),
                Err((error, bytes)) => {
                    let content = Err((Undecodable::NotAnEvent(error.to_string()), bytes));
                    messages.push(message(Topic::Order, place, content));
                }
            }
        }
        Ok(messages)
    }

    async fn commit(&mut self) -> Result<(), Unavailable> {
        if let Some(group) = self.group
            && self.read != self.committed
        {
            self.store.set_offset(group, self.read).await?;
            self.committed = self.read;
        }
        Ok(())
    }
}

#[async_trait]
impl EventLog for LocalLog {
    async fn prepare(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    // What is committed is in the log already.
    async fn publish(&self, _: Vec<Event>) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn subscribe(&self, group: Group) -> Result<Box<dyn Subscription>, Unavailable> {
        let read = self.store.offset(group).await?;
        Ok(Box::new(self.read_from(Some(group), read)))
    }

    async fn history(&self) -> Result<Box<dyn Subscription>, Unavailable> {
        Ok(Box::new(self.read_from(None, Position::default())))
    }

    async fn lag(&self, group: Group) -> Result<u64, Unavailable> {
        self.outbox.count_after(self.store.offset(group).await?).await
    }

    async fn partitions(&self) -> Result<Partitions, Unavailable> {
        Ok(Partitions::default())
    }

    async fn rewind(&self, group: Group) -> Result<(), Unavailable> {
        self.store.set_offset(group, Position::default()).await
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), Unavailable> {
        self.store.bury(letter).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Unavailable> {
        self.store.dead_letters(limit).await
    }

    // The message stands where it always stood: its group reads it again, and everything after it without effect.
    async fn resend(&self, letter: &DeadLetter) -> Result<bool, Unavailable> {
        let before = Position(letter.place.offset - 1);
        let there = self.outbox.read_any(before, 1).await?;
        if !there.iter().any(|(position, events)| position.0 == letter.place.offset && events.is_ok()) {
            return Ok(false);
        }
        for group in Group::ALL.into_iter().filter(|group| group.as_str() == letter.group) {
            if self.store.offset(group).await? > before {
                self.store.set_offset(group, before).await?;
            }
        }
        self.store.forget_letter(letter).await?;
        Ok(true)
    }
}
