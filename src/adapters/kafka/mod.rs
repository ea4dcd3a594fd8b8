//! Kafka: the event log of the cluster profile.
//!
//! Topics are keyed by saga, so that the events of one saga and topic stay in order. The client is librdkafka.

mod consumer;
mod examine;
mod producer;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::domain::{Event, Sampling, Topic, TraceContext, cloud_event};
use crate::ports::Unavailable;
use crate::ports::event_log::{DeadLetter, EventLog, Group, Partitions, Place, Subscription};

use consumer::KafkaSubscription;
use producer::{Producer, Record};

pub use examine::examine;
pub use topics::{PARTITIONS, RETENTION};

/// How long a broker may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Tries of a question, and the pause between two.
const TRIES: u32 = 5;
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// Where Kafka is, and how much of it is the shop's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port of some brokers, separated by commas.
    pub brokers: String,
    /// Stands before the names of topics and groups, for shops that share a Kafka.
    pub prefix: String,
    /// Brokers that keep a copy of each message.
    pub replication: i32,
    /// Which orders are traced; messages do not say it where none are.
    pub sampling: Option<Sampling>,
}

impl Settings {
    /// Reads `kafka://HOST:PORT,HOST:PORT`.
    ///
    /// # Errors
    /// It has another form.
    pub fn parse(url: &str, prefix: &str, replication: i32) -> Result<Self, &'static str> {
        const FORM: &str = "it has the form kafka://HOST:PORT,HOST:PORT";
        let brokers = url.strip_prefix("kafka://").ok_or(FORM)?.trim_end_matches('/');
        let is_address = |address: &str| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains(['@', '/', ' ']) && port.parse::<u16>().is_ok()
            })
        };
        if !brokers.split(',').all(is_address) {
            return Err(FORM);
        }
        let plain =
            |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c));
        if !plain(prefix) {
            return Err("the prefix has letters, digits, and . _ - only");
        }
        Ok(Self { brokers: brokers.to_owned(), prefix: prefix.to_owned(), replication, sampling: None })
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "holdfast")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("socket.connection.setup.timeout.ms", "3000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("log.connection.close", "false");
        config
    }

    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.as_str())
    }

    fn dead_letter_topic(&self, topic: &str) -> String {
        format!("{}{topic}.dlq", self.prefix)
    }

    /// Every topic of the shop.
    fn topics(&self) -> Vec<String> {
        let both = |topic: Topic| [self.topic(topic), self.dead_letter_topic(topic.as_str())];
        Topic::ALL.into_iter().flat_map(both).collect()
    }

    fn group(&self, group: Group) -> String {
        format!("{}{group}", self.prefix)
    }
}

/// The log of a shop of several servers.
pub struct KafkaLog {
    settings: Settings,
    producer: Arc<Producer>,
}

impl KafkaLog {
    /// A log. Nothing is connected yet.
    ///
    /// # Errors
    /// The client does not take the settings.
    pub fn new(settings: Settings) -> Result<Self, Unavailable> {
        let producer = Arc::new(Producer::new(settings.client())?);
        Ok(Self { settings, producer })
    }

    /// Does something that blocks, where it may, and again for a while: after a broker went away another one has
    /// to find out that it is asked now.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl Fn(&Settings) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let settings = self.settings.clone();
        let again = move || {
            for _ in 1..TRIES {
                if let Ok(done) = work(&settings) {
                    return Ok(done);
                }
                std::thread::sleep(TRY_PAUSE);
            }
            work(&settings)
        };
        tokio::task::spawn_blocking(again).await.unwrap_or_else(|error| Err(Unavailable(error.to_string())))
    }
}

impl From<rdkafka::error::KafkaError> for Unavailable {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self(format!("Kafka: {error}"))
    }
}

/// A reader that takes part in nothing; the offsets of its group can be asked and set.
fn reader(settings: &Settings, group: &str) -> Result<BaseConsumer, Unavailable> {
    let mut config = settings.client();
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    Ok(config.create()?)
}

/// The beginning and end of a partition.
fn bounds(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64), Unavailable> {
    Ok(consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN)?)
}

/// Partitions that there are of a topic.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, Unavailable> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN)?;
    let topics = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(topics.map(rdkafka::metadata::MetadataPartition::id).collect())
}

/// Says in which trace a message was published.
/// Source: W3C Trace Context, and its use by OpenTelemetry's semantic conventions for messaging.
const TRACE_PARENT: &str = "traceparent";

const REASON: &str = "reason";
const GROUP: &str = "group";
const TOPIC: &str = "topic";
const PARTITION: &str = "partition";
const OFFSET: &str = "offset";

/// Reads what was put aside from one topic.
fn letters(settings: &Settings, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Unavailable> {
    let name = settings.dead_letter_topic(topic.as_str());
    let consumer = reader(settings, &format!("{}dead-letter-reader", settings.prefix))?;
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in partitions(&consumer, &name)? {
        let (first, end) = bounds(&consumer, &name, partition)?;
        expected += end - first;
        list.add_partition_offset(&name, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut letters = Vec::new();
    while letters.len() < limit.min(usize::try_from(expected).unwrap_or_default()) {
        let Some(message) = consumer.poll(ANSWER_WITHIN) else { break };
        let message = message?;
        let text = |name: &str| {
            let value = message.headers()?.iter().find(|header| header.key == name)?.value?;
            String::from_utf8(value.to_owned()).ok()
        };
        letters.push(DeadLetter {
            topic: topic.as_str(),
            place: Place {
                partition: text(PARTITION).and_then(|text| text.parse().ok()).unwrap_or(-1),
                offset: text(OFFSET).and_then(|text| text.parse().ok()).unwrap_or(-1),
            },
            group: text(GROUP).unwrap_or_default(),
            reason: text(REASON).unwrap_or_default(),
            payload: message.payload().unwrap_or_default().to_owned(),
        });
    }
    Ok(letters)
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn prepare(&self) -> Result<(), Unavailable> {
        topics::prepare(&self.settings).await
    }

    async fn publish(&self, events: Vec<Event>) -> Result<(), Unavailable> {
        let headers = |event: &Event| {
            let content_type = Header { key: "content-type", value: Some(cloud_event::CONTENT_TYPE) };
            let headers = OwnedHeaders::new().insert(content_type);
            let Some(sampling) = self.settings.sampling else { return headers };
            let (saga, sequence) = (event.saga_id, event.sequence);
            let publication = TraceContext::of_event(saga, sequence, sampling.takes(saga)).to_string();
            headers.insert(Header { key: TRACE_PARENT, value: Some(&publication) })
        };
        let record = |event: &Event| Record {
            topic: self.settings.topic(event.body.topic()),
            key: cloud_event::key(event.saga_id),
            payload: cloud_event::encode(event),
            headers: headers(event),
        };
        self.producer.send(events.iter().map(record).collect()).await
    }

    async fn subscribe(&self, group: Group) -> Result<Box<dyn Subscription>, Unavailable> {
        Ok(Box::new(KafkaSubscription::join(&self.settings, group)?))
    }

    async fn history(&self) -> Result<Box<dyn Subscription>, Unavailable> {
        let history = self.blocking(|settings| {
            let consumer = reader(settings, &format!("{}history", settings.prefix))?;
            let mut ends = Vec::new();
            for topic in Topic::ALL {
                let name = settings.topic(topic);
                for partition in partitions(&consumer, &name)? {
                    let (first, end) = bounds(&consumer, &name, partition)?;
                    if first < end {
                        ends.push((name.clone(), partition, end));
                    }
                }
            }
            Ok(ends)
        });
        Ok(Box::new(KafkaSubscription::history(&self.settings, history.await?)?))
    }

    async fn lag(&self, group: Group) -> Result<u64, Unavailable> {
        self.blocking(move |settings| {
            let consumer = reader(settings, &settings.group(group))?;
            let mut list = TopicPartitionList::new();
            for topic in group.topics() {
                let name = settings.topic(*topic);
                for partition in partitions(&consumer, &name)? {
                    list.add_partition(&name, partition);
                }
            }
            let committed = consumer.committed_offsets(list, ANSWER_WITHIN)?;
            let mut lag = 0;
            for element in committed.elements() {
                let (first, end) = bounds(&consumer, element.topic(), element.partition())?;
                let read = match element.offset() {
                    Offset::Offset(offset) => offset.max(first),
                    _ => first,
                };
                lag += u64::try_from(end - read).unwrap_or_default();
            }
            Ok(lag)
        })
        .await
    }

    async fn partitions(&self) -> Result<Partitions, Unavailable> {
        self.blocking(topics::partitions).await
    }

    async fn rewind(&self, group: Group) -> Result<(), Unavailable> {
        self.blocking(move |settings| {
            let consumer = reader(settings, &settings.group(group))?;
            let mut list = TopicPartitionList::new();
            for topic in group.topics() {
                let name = settings.topic(*topic);
                for partition in partitions(&consumer, &name)? {
                    let (first, _) = bounds(&consumer, &name, partition)?;
                    list.add_partition_offset(&name, partition, Offset::Offset(first))?;
                }
            }
            Ok(consumer.commit(&list, rdkafka::consumer::CommitMode::Sync)?)
        })
        .await
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), Unavailable> {
        let DeadLetter { topic, place, group, reason, payload } = letter;
        let (partition, offset) = (place.partition.to_string(), place.offset.to_string());
        let about = [
            (REASON, &reason),
            (GROUP, &group),
            (TOPIC, &topic.to_owned()),
            (PARTITION, &partition),
            (OFFSET, &offset),
        ];
        let headers = about.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let key = format!("{partition}-{offset}-{group}");
        let topic = self.settings.dead_letter_topic(topic);
        self.producer.send(vec![Record { topic, key, payload, headers }]).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Unavailable> {
        self.blocking(move |settings| {
            let mut all = Vec::new();
            for topic in Topic::ALL {
                all.extend(letters(settings, topic, limit - all.len())?);
            }
            // A group that was interrupted may have put one aside twice.
            let mut seen = std::collections::HashSet::new();
            all.retain(|letter| seen.insert((letter.topic, letter.place, letter.group.clone())));
            Ok(all)
        })
        .await
    }

    async fn resend(&self, letter: &DeadLetter) -> Result<bool, Unavailable> {
        let Ok(event) = cloud_event::decode(&letter.payload) else { return Ok(false) };
        let (topic, key) = (self.settings.topic(event.body.topic()), cloud_event::key(event.saga_id));
        let (payload, headers) = (letter.payload.clone(), OwnedHeaders::new());
        self.producer.send(vec![Record { topic, key, payload, headers }]).await?;
        Ok(true)
    }
}
