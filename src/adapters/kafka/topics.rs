//! The topics: made where they are missing, looked at where they are not, and counted by how they are kept.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use crate::domain::Topic;
use crate::ports::Unavailable;
use crate::ports::event_log::Partitions;

use super::{ANSWER_WITHIN, Settings, reader};

/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// Bytes of a message: more than an event has, so that what is too large is put aside and not stuck at the door.
const EVENT_BYTES_MAX: &str = "8388608";

/// Bytes of a message that was put aside, with the reason.
pub const LETTER_BYTES_MAX: &str = "10485760";

/// How long messages are kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Makes what is missing.
pub async fn prepare(settings: &Settings) -> Result<(), Unavailable> {
    let client: AdminClient<DefaultClientContext> = settings.client().create()?;
    let retention = RETENTION.as_millis().to_string();
    let names: Vec<(String, &str)> = Topic::ALL
        .into_iter()
        .flat_map(|topic| {
            let letters = settings.dead_letter_topic(topic.as_str());
            [(settings.topic(topic), EVENT_BYTES_MAX), (letters, LETTER_BYTES_MAX)]
        })
        .collect();
    let topics: Vec<_> = names
        .iter()
        .map(|(name, size_max)| {
            NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(settings.replication))
                .set("retention.ms", &retention)
                .set("max.message.bytes", size_max)
                .set("cleanup.policy", "delete")
        })
        .collect();
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN));
    for made in client.create_topics(&topics, &options).await? {
        match made {
            Ok(name) => tracing::info!(name, "a topic was made"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(Unavailable(format!("Kafka: topic {name}: {code}"))),
        }
    }
    let names = settings.topics();
    let replication = usize::try_from(settings.replication).unwrap_or_default();
    let look = move || {
        for name in &names {
            let metadata = client.inner().fetch_metadata(Some(name), ANSWER_WITHIN)?;
            for topic in metadata.topics() {
                let partitions = topic.partitions();
                let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
                if partitions.len() != PARTITIONS as usize
                    || copies.is_some_and(|copies| copies < replication)
                {
                    tracing::warn!(
                        name,
                        partitions = partitions.len(),
                        copies,
                        "a topic was made by somebody else, with other partitions or copies"
                    );
                }
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(Unavailable(error.to_string())))
}

/// Counts the partitions of all topics by how they are kept.
pub fn partitions(settings: &Settings) -> Result<Partitions, Unavailable> {
    // Unlike a producer, a reader that asks for a topic does not bring it about.
    let client = reader(settings, &settings.prefix)?;
    let mut counted = Partitions::default();
    for name in settings.topics() {
        let metadata = client.fetch_metadata(Some(&name), ANSWER_WITHIN)?;
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let count = match partition {
                partition if partition.leader() < 0 => &mut counted.offline,
                partition if partition.isr().len() < partition.replicas().len() => {
                    &mut counted.under_replicated
                }
                _ => &mut counted.whole,
            };
            *count += 1;
        }
    }
    Ok(counted)
}
