//! The Kafka that tests run over: a real one, which they share. Each test has topics of its own.

use std::time::Duration;

use holdfast::adapters::kafka::{KafkaLog, Settings};
use holdfast::ports::event_log::EventLog as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::goods::new_order_id;
use super::wait_for;

/// Names the brokers, when they are not those of `cargo xtask services up`.
const VARIABLE: &str = "HOLDFAST_TEST_KAFKA";

/// Copies of each message in the tests.
pub const REPLICATION: u16 = 2;

/// `kafka://HOST:PORT,HOST:PORT` of the brokers.
pub fn url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| "kafka://127.0.0.1:19092,127.0.0.1:19093".to_owned())
}

/// What no other test's topics begin with.
pub fn fresh_prefix() -> String {
    format!("test-{}-", new_order_id().0.simple())
}

/// A log with topics of its own.
pub async fn log() -> KafkaLog {
    log_with(&fresh_prefix()).await
}

/// A log with these topics, which are there.
pub async fn log_with(prefix: &str) -> KafkaLog {
    let settings = Settings::parse(&url(), prefix, REPLICATION.into()).expect("a URL of the tests");
    let log = KafkaLog::new(settings).expect("a log");
    if let Err(error) = log.prepare().await {
        panic!(
            "Kafka does not answer at {}: start it with `cargo xtask services up`, or name yours in {VARIABLE} ({error})",
            url()
        );
    }
    log
}

/// Puts bytes into a topic as somebody else would.
pub async fn send(topic: &str, payload: &[u8]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url().trim_start_matches("kafka://")).set("message.max.bytes", "8000000");
    let producer: FutureProducer = config.create().expect("a producer");
    let record = FutureRecord::to(topic).key("somebody").payload(payload);
    producer.send(record, Duration::from_secs(10)).await.expect("the message is kept");
}

/// Waits until a group has taken everything in.
pub async fn caught_up(log: &dyn holdfast::ports::event_log::EventLog) {
    wait_for("every consumer group has caught up", Duration::from_secs(60), async || {
        for group in holdfast::ports::event_log::Group::ALL {
            if log.lag(group).await.expect("the log answers") > 0 {
                return false;
            }
        }
        true
    })
    .await;
}
