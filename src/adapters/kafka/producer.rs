//! Sends messages so that none is lost, none comes twice, and none comes before those sent before it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _, PurgeConfig};

use crate::ports::Unavailable;

use super::topics::LETTER_BYTES_MAX;

/// How long messages may take, before all of those on their way are given up together. A message by itself is
/// never given up: one sent after it could arrive, and the order be lost.
const SENT_WITHIN: Duration = Duration::from_secs(10);

/// Messages and bytes on their way at once.
const QUEUE_MESSAGES_MAX: &str = "20000";
const QUEUE_KIBIBYTES_MAX: &str = "32768";

/// A message to be sent.
pub struct Record {
    pub topic: String,
    pub key: String,
    pub payload: Vec<u8>,
    pub headers: OwnedHeaders,
}

/// A producer that is replaced when it has given up.
pub struct Producer {
    config: ClientConfig,
    present: Mutex<Arc<FutureProducer>>,
}

impl Producer {
    pub fn new(mut config: ClientConfig) -> Result<Self, Unavailable> {
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("message.max.bytes", LETTER_BYTES_MAX)
            .set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIBIBYTES_MAX);
        let present = Mutex::new(Arc::new(config.create()?));
        Ok(Self { config, present })
    }

    fn present(&self) -> Arc<FutureProducer> {
        Arc::clone(&self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends messages in their order; when it answers, all of them are kept.
    pub async fn send(&self, records: Vec<Record>) -> Result<(), Unavailable> {
        let producer = self.present();
        let sent = tokio::time::timeout(SENT_WITHIN, Self::send_by(&producer, records)).await;
        let why = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(_) => {
                Unavailable(format!("Kafka: messages were not taken within {} s", SENT_WITHIN.as_secs()))
            }
        };
        self.give_up(&producer);
        Err(why)
    }

    async fn send_by(producer: &FutureProducer, records: Vec<Record>) -> Result<(), KafkaError> {
        let mut on_their_way = Vec::with_capacity(records.len());
        for Record { topic, key, payload, headers } in &records {
            let mut record = FutureRecord::to(topic).key(&**key).payload(&**payload).headers(headers.clone());
            on_their_way.push(loop {
                match producer.send_result(record) {
                    Ok(sent) => break sent,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        record = refused;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err((error, _)) => return Err(error),
                }
            });
        }
        try_join_all(on_their_way.into_iter().map(kept)).await.map(drop)
    }

    /// Drops everything that this producer has on its way, and uses another one from now on.
    fn give_up(&self, failed: &Arc<FutureProducer>) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&present, failed) {
            return;
        }
        failed.purge(PurgeConfig::default().queue().inflight());
        match self.config.create() {
            Ok(next) => *present = Arc::new(next),
            Err(error) => tracing::error!(%error, "a Kafka producer could not be made"),
        }
    }
}

async fn kept(sent: DeliveryFuture) -> Result<(), KafkaError> {
    match sent.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
