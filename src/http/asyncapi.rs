//! The description of the events, made from their types, for those who read the event log.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::domain::cloud_event::{CONTENT_TYPE, SCHEMA_VERSION, SOURCE, TYPE_PREFIX};
use crate::domain::{EventBody, Topic};

/// `GET /asyncapi.json`.
pub async fn description() -> Response {
    Json(document()).into_response()
}

/// An AsyncAPI 3 document.
fn document() -> Value {
    let bodies = bodies();
    let messages: BTreeMap<&String, Value> = bodies
        .iter()
        .map(|(kind, body)| {
            let message = json!({
                "name": kind,
                "title": kind,
                "summary": body["description"],
                "contentType": CONTENT_TYPE,
                "headers": headers(),
                "payload": envelope(kind, &body["properties"]["data"]),
            });
            (kind, message)
        })
        .collect();
    let channels: BTreeMap<&str, Value> =
        Topic::ALL.into_iter().map(|topic| (topic.as_str(), channel(topic, &bodies))).collect();
    let operations: BTreeMap<String, Value> = Topic::ALL
        .into_iter()
        .map(|topic| {
            let name = topic.as_str();
            let channel = json!({ "$ref": format!("#/channels/{name}") });
            (format!("publish-{name}"), json!({ "action": "send", "channel": channel }))
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holdfast events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What happens to orders. Each message is a CloudEvents 1.0 event in JSON and has the id of \
                            its saga as key. The events of a saga are numbered from 1 over both topics; each comes \
                            at least once, and for the first time after those before it of its topic.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas() },
    })
}

/// The schema of each kind of event, as the type says.
fn bodies() -> BTreeMap<String, Value> {
    let RefOr::T(Schema::OneOf(kinds)) = EventBody::schema() else {
        unreachable!("an enum is one of its variants");
    };
    kinds
        .items
        .iter()
        .map(|kind| {
            let schema = serde_json::to_value(kind).expect("a schema is plain data");
            let name = schema["properties"]["type"]["enum"][0].as_str().map(str::to_owned);
            (name.expect("a variant has a name"), schema)
        })
        .collect()
}

/// The types that the events are made of.
fn schemas() -> BTreeMap<String, Value> {
    let mut schemas = Vec::new();
    EventBody::schemas(&mut schemas);
    let value = |(name, schema)| (name, serde_json::to_value(schema).expect("a schema is plain data"));
    schemas.into_iter().map(value).collect()
}

fn channel(topic: Topic, bodies: &BTreeMap<String, Value>) -> Value {
    let of_topic = |kind: &&String| EventBody::topic_of(kind) == Some(topic);
    let reference =
        |kind: &String| (kind.clone(), json!({ "$ref": format!("#/components/messages/{kind}") }));
    let messages: BTreeMap<String, Value> = bodies.keys().filter(of_topic).map(reference).collect();
    json!({ "address": topic.as_str(), "messages": messages })
}

fn headers() -> Value {
    let traceparent = json!({
        "type": "string",
        "description": "Where the message stands in the trace of its order, as W3C Trace Context writes it. Left out \
                        where nothing is traced.",
    });
    json!({ "type": "object", "properties": { "traceparent": traceparent } })
}

fn envelope(kind: &str, data: &Value) -> Value {
    json!({
        "type": "object",
        "required":
            ["specversion", "id", "source", "type", "subject", "time", "sequence", "schemaversion", "data"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": { "type": "string", "description": "The same however often the event is sent." },
            "source": { "const": SOURCE },
            "type": { "const": format!("{TYPE_PREFIX}{kind}") },
            "subject": { "type": "string", "format": "uuid", "description": "The saga, which is the order." },
            "time": { "type": "string", "format": "date-time" },
            "datacontenttype": { "const": "application/json" },
            "sequence": { "type": "string", "description": "The number of the event, with leading zeros." },
            "schemaversion": { "const": SCHEMA_VERSION },
            "data": data,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_described_in_the_channel_of_its_topic() {
        let document = document();
        let mut kinds = Vec::new();
        for topic in Topic::ALL {
            let messages = document["channels"][topic.as_str()]["messages"].as_object().expect("messages");
            kinds.extend(messages.keys().cloned());
        }
        kinds.sort_unstable();
        let mut known = EventBody::KINDS.to_vec();
        known.sort_unstable();
        assert_eq!(kinds, known);
        let payload = &document["components"]["messages"]["OrderConfirmed"]["payload"]["properties"];
        assert_eq!(payload["type"], json!({ "const": "holdfast.OrderConfirmed" }));
        let data = payload["data"]["properties"].as_object().expect("an object");
        assert_eq!(data.keys().collect::<Vec<_>>(), ["lines", "order_id", "total", "user_id"]);
        assert_eq!(data["lines"]["items"], json!({ "$ref": "#/components/schemas/SoldLine" }));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("a reference into the document");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|value| check(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}
