//! Reads topics as a member of a group, or as nobody's group from their beginning to their end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::domain::{Topic, TraceContext, cloud_event};
use crate::ports::Unavailable;
use crate::ports::event_log::{Group, Message, Place, Subscription};

use super::{Settings, TRACE_PARENT};

/// One member of a group.
pub struct KafkaSubscription {
    consumer: Arc<StreamConsumer>,
    topics: BTreeMap<String, Topic>,
    /// The offset after the last message given, and not yet committed, of each partition.
    given: BTreeMap<(String, i32), i64>,
    /// Where the history ends, of each partition that is not read to its end. A group's never does.
    ends: Option<HashMap<(String, i32), i64>>,
}

impl KafkaSubscription {
    /// Takes part in a group.
    pub fn join(settings: &Settings, group: Group) -> Result<Self, Unavailable> {
        let mut config = settings.client();
        config
            .set("group.id", settings.group(group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "4096");
        let consumer: StreamConsumer = config.create()?;
        let topics = topics(settings, group.topics());
        consumer.subscribe(&topics.keys().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self { consumer: Arc::new(consumer), topics, given: BTreeMap::new(), ends: None })
    }

    /// Reads partitions from their beginning to the offsets given.
    pub fn history(settings: &Settings, ends: Vec<(String, i32, i64)>) -> Result<Self, Unavailable> {
        let mut config = settings.client();
        config
            .set("group.id", format!("{}history", settings.prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        let consumer: StreamConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for (topic, partition, _) in &ends {
            list.add_partition_offset(topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let ends = ends.into_iter().map(|(topic, partition, end)| ((topic, partition), end)).collect();
        let topics = topics(settings, &Topic::ALL);
        Ok(Self { consumer: Arc::new(consumer), topics, given: BTreeMap::new(), ends: Some(ends) })
    }

    fn give(
        topics: &BTreeMap<String, Topic>,
        given: &mut BTreeMap<(String, i32), i64>,
        ends: &mut Option<HashMap<(String, i32), i64>>,
        message: &BorrowedMessage<'_>,
    ) -> Option<Message> {
        let topic = *topics.get(message.topic())?;
        let (partition, offset) = (message.partition(), message.offset());
        let key = (message.topic().to_owned(), partition);
        if let Some(ends) = ends {
            let end = *ends.get(&key)?;
            if offset + 1 >= end {
                ends.remove(&key);
            }
            if offset >= end {
                return None;
            }
        } else {
            given.insert(key, offset + 1);
        }
        let payload = message.payload().unwrap_or_default();
        let content = cloud_event::decode(payload).map_err(|why| (why, payload.to_owned()));
        let publication = message.headers().and_then(publication);
        Some(Message { topic, place: Place { partition, offset }, content, publication })
    }
}

/// Where the producer says in which trace it has published a message.
fn publication(headers: &BorrowedHeaders) -> Option<TraceContext> {
    let header = headers.iter().find(|header| header.key == TRACE_PARENT)?;
    TraceContext::parse(std::str::from_utf8(header.value?).ok()?)
}

/// Whether the client gets over it by itself.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

fn topics(settings: &Settings, topics: &[Topic]) -> BTreeMap<String, Topic> {
    topics.iter().map(|topic| (settings.topic(*topic), *topic)).collect()
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self, limit: usize, patience: Duration) -> Result<Vec<Message>, Unavailable> {
        let mut messages = Vec::new();
        let until = tokio::time::Instant::now() + patience;
        while messages.len() < limit && self.ends.as_ref().is_none_or(|ends| !ends.is_empty()) {
            // What is there already is taken along; only the first one is waited for.
            let received = if messages.is_empty() {
                tokio::time::timeout_at(until, self.consumer.recv()).await.ok()
            } else {
                self.consumer.recv().now_or_never()
            };
            match received {
                None => break,
                Some(Ok(message)) => {
                    messages.extend(Self::give(&self.topics, &mut self.given, &mut self.ends, &message));
                }
                // A broker is away: the client looks for others by itself, and goes on where it was.
                Some(Err(error)) if passes(&error) => {
                    tracing::debug!(%error, "Kafka does not answer for a moment");
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(messages)
    }

    async fn commit(&mut self) -> Result<(), Unavailable> {
        if self.given.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &self.given {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        let consumer = Arc::clone(&self.consumer);
        let committed = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync)).await;
        committed.map_err(|error| Unavailable(error.to_string()))??;
        self.given.clear();
        Ok(())
    }
}
