//! An event on its way between systems: CloudEvents 1.0 in JSON.
//!
//! Source of the attributes: the CloudEvents specification, version 1.0.2, and its documented extension
//! "sequence". `schemaversion` is an extension of our own.

use std::str::FromStr as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::event::{Event, EventBody};
use super::ids::OrderId;
use super::time::Timestamp;

/// What every type begins with.
pub const TYPE_PREFIX: &str = "holdfast.";

/// Where events come from, whichever server sends them.
pub const SOURCE: &str = "/holdfast/orders";

/// The content type of a message.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Changes when readers of older events could not read newer ones.
pub const SCHEMA_VERSION: u32 = 1;

/// Bytes of an event. An order of a thousand lines with the longest names there may be needs two thirds of it.
pub const SIZE_MAX: usize = 6 * 1024 * 1024;

/// Why bytes are no event that this version knows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Undecodable {
    #[error("{0} bytes are more than an event has")]
    TooLarge(usize),
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it is not an event: {0}")]
    NotAnEvent(String),
    #[error("it was written by a newer version (schema {0}, this one knows {SCHEMA_VERSION})")]
    Newer(u32),
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: String,
    subject: OrderId,
    time: Timestamp,
    datacontenttype: &'static str,
    sequence: String,
    schemaversion: u32,
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Received<'a> {
    specversion: String,
    r#type: String,
    subject: OrderId,
    time: Timestamp,
    sequence: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What is needed to see how new a message is, whatever else it says.
#[derive(Deserialize)]
struct Version {
    schemaversion: u32,
}

/// The type and data of an event, as serde writes them.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The id of an event: the same however often it is sent.
pub fn id(event: &Event) -> String {
    format!("{}-{}", event.saga_id, event.sequence)
}

/// Writes an event.
pub fn encode(event: &Event) -> Vec<u8> {
    let body = serde_json::to_string(&event.body).expect("events are plain data");
    let parts: Parts<'_> = serde_json::from_str(&body).expect("an event has data");
    let envelope = Envelope {
        specversion: "1.0",
        id: id(event),
        source: SOURCE,
        r#type: format!("{TYPE_PREFIX}{}", event.body.kind()),
        subject: event.saga_id,
        time: event.time,
        datacontenttype: "application/json",
        // Text of a fixed length, so that it can be compared as text, too.
        sequence: format!("{:010}", event.sequence),
        schemaversion: SCHEMA_VERSION,
        data: parts.data,
    };
    serde_json::to_vec(&envelope).expect("an envelope is plain data")
}

/// Reads an event.
///
/// # Errors
/// See [`Undecodable`].
pub fn decode(bytes: &[u8]) -> Result<Event, Undecodable> {
    if bytes.len() > SIZE_MAX {
        return Err(Undecodable::TooLarge(bytes.len()));
    }
    let not_json = |error: serde_json::Error| Undecodable::NotJson(error.to_string());
    let not_event = |error: String| Undecodable::NotAnEvent(error);
    let anything: &RawValue = serde_json::from_slice(bytes).map_err(not_json)?;
    match serde_json::from_str(anything.get()) {
        Ok(Version { schemaversion: SCHEMA_VERSION }) => {}
        Ok(Version { schemaversion }) if schemaversion > SCHEMA_VERSION => {
            return Err(Undecodable::Newer(schemaversion));
        }
        Ok(Version { schemaversion }) => {
            return Err(not_event(format!("there never was a schema {schemaversion}")));
        }
        Err(error) => return Err(not_event(error.to_string())),
    }
    let received: Received<'_> =
        serde_json::from_str(anything.get()).map_err(|error| not_event(error.to_string()))?;
    if received.specversion != "1.0" {
        return Err(not_event(format!("CloudEvents {:?} is not 1.0", received.specversion)));
    }
    let kind = received.r#type.strip_prefix(TYPE_PREFIX);
    let kind = kind.and_then(|kind| EventBody::KINDS.into_iter().find(|known| *known == kind));
    let kind = kind.ok_or_else(|| not_event(format!("the type {:?} is not known", received.r#type)))?;
    let sequence = u32::from_str(&received.sequence).ok().filter(|sequence| *sequence > 0);
    let sequence = sequence.ok_or_else(|| not_event("the sequence is not a positive number".into()))?;
    let body = format!(r#"{{"type":"{kind}","data":{}}}"#, received.data.get());
    let body = serde_json::from_str(&body).map_err(|error| not_event(error.to_string()))?;
    Ok(Event { saga_id: received.subject, sequence, time: received.time, body })
}

/// The key under which an event is published: all events of a saga stand in one partition.
pub fn key(saga: OrderId) -> String {
    saga.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{Currency, Money, ProductId, Quantity, SoldLine, UserId};

    fn event() -> Event {
        let line = SoldLine {
            product_id: ProductId(7),
            quantity: Quantity::new(2).expect("two"),
            unit_price: Money::new(350, Currency::EUR),
        };
        let order_id = OrderId(Uuid::from_u128(5));
        let (lines, total) = (Arc::from([line]), Money::new(700, Currency::EUR));
        let body = EventBody::OrderConfirmed { order_id, user_id: UserId(3), lines, total };
        Event { saga_id: order_id, sequence: 5, time: Timestamp(1_795_000_000_042), body }
    }

    #[test]
    fn an_event_is_a_cloud_event_and_comes_back_as_it_was() {
        let bytes = encode(&event());
        let json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let price = |amount: i64| serde_json::json!({ "amount": amount, "currency": "EUR" });
        let expected = serde_json::json!({
            "specversion": "1.0",
            "id": "00000000-0000-0000-0000-000000000005-5",
            "source": "/holdfast/orders",
            "type": "holdfast.OrderConfirmed",
            "subject": "00000000-0000-0000-0000-000000000005",
            "time": "2026-11-18T11:06:40.042Z",
            "datacontenttype": "application/json",
            "sequence": "0000000005",
            "schemaversion": 1,
            "data": {
                "order_id": "00000000-0000-0000-0000-000000000005",
                "user_id": 3,
                "lines": [{ "product_id": 7, "quantity": 2, "unit_price": price(350) }],
                "total": price(700),
            },
        });
        assert_eq!(json, expected);
        assert_eq!(decode(&bytes).expect("an event"), event());
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let good: serde_json::Value = serde_json::from_slice(&encode(&event())).expect("JSON");
        let with = |name: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed[name] = value;
            decode(&serde_json::to_vec(&changed).expect("JSON")).expect_err("no event")
        };
        let mut without = good.clone();
        without["data"].as_object_mut().expect("an object").remove("total");
        let without = decode(&serde_json::to_vec(&without).expect("JSON")).expect_err("no event");
        assert!(matches!(without, Undecodable::NotAnEvent(why) if why.contains("total")));
        assert!(matches!(decode(b"\xff\xfe").expect_err("no event"), Undecodable::NotJson(_)));
        assert!(matches!(decode(b"").expect_err("no event"), Undecodable::NotJson(_)));
        assert!(matches!(decode(b"{}").expect_err("no event"), Undecodable::NotAnEvent(_)));
        assert!(matches!(decode(b"[1]").expect_err("no event"), Undecodable::NotAnEvent(_)));
        assert_eq!(with("schemaversion", 2.into()), Undecodable::Newer(2));
        for (name, value) in [
            ("specversion", "0.3"),
            ("type", "holdfast.OrderEaten"),
            ("type", "OrderConfirmed"),
            ("subject", "nobody"),
            ("time", "yesterday"),
            ("sequence", "0"),
            ("sequence", "-1"),
            ("data", "text"),
        ] {
            assert!(matches!(with(name, value.into()), Undecodable::NotAnEvent(_)), "{name} {value}");
        }
        let huge = vec![b' '; SIZE_MAX + 1];
        assert_eq!(decode(&huge), Err(Undecodable::TooLarge(SIZE_MAX + 1)));
    }
}
