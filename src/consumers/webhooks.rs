//! Webhooks: the shop's owners are told what becomes of orders, each event as Standard Webhooks says.
//!
//! Source: the Standard Webhooks specification, version 1.0.0 (payload, headers, signature).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::domain::{Event, EventBody, OrderId, Timestamp};
use crate::ports::consumer_store::Effects;
use crate::ports::webhooks::{Endpoint, Notice, NoticeKind, WebhookRequest, WebhookSecret};

/// What events mean for webhooks.
pub fn meaning(events: &[Event]) -> Effects {
    let notice = |event: &Event| {
        let (saga, sequence, at) = (event.saga_id, event.sequence, event.time);
        kind(&event.body).map(|kind| Notice { saga, sequence, kind, at })
    };
    Effects { notices: events.iter().filter_map(notice).collect(), ..Effects::default() }
}

/// What an event is called outside, if it is of interest there.
pub fn kind(body: &EventBody) -> Option<NoticeKind> {
    match body {
        EventBody::OrderCreated { .. } => Some(NoticeKind::OrderCreated),
        EventBody::PaymentProcessed { .. } => Some(NoticeKind::OrderPaid),
        EventBody::OrderConfirmed { .. } => Some(NoticeKind::OrderConfirmed),
        EventBody::OrderCancelled { .. } => Some(NoticeKind::OrderCancelled),
        EventBody::OrderFailed { .. } => Some(NoticeKind::OrderFailed),
        EventBody::PaymentRefunded { .. } => Some(NoticeKind::OrderRefunded),
        // How the shop gets there is nobody's business.
        EventBody::SagaStarted { .. }
        | EventBody::InventoryReserved { .. }
        | EventBody::InventoryReleaseRequested { .. } => None,
    }
}

/// The header `webhook-id` of an event, the same at each try and at a replay.
pub fn message_id(saga: OrderId, sequence: u32) -> String {
    format!("msg_{saga}_{sequence}")
}

/// The body of a request: the same at each try.
pub fn payload(kind: NoticeKind, event: &Event) -> Vec<u8> {
    let mut data = match serde_json::to_value(&event.body) {
        Ok(Value::Object(mut parts)) => parts.remove("data").unwrap_or_default(),
        _ => Value::Null,
    };
    data["order_id"] = json!(event.saga_id);
    let payload = json!({ "type": kind, "timestamp": event.time, "data": data });
    payload.to_string().into_bytes()
}

/// The request that tells an endpoint of an event now.
pub fn request(endpoint: &Endpoint, kind: NoticeKind, event: &Event, now: Timestamp) -> WebhookRequest {
    let id = message_id(event.saga_id, event.sequence);
    let (timestamp_s, body) = (now.0.div_euclid(1_000), payload(kind, event));
    let old = endpoint.old_secret.filter(|(_, until)| now < *until).map(|(secret, _)| secret);
    let secrets = std::iter::once(endpoint.secret).chain(old);
    let signatures: Vec<_> = secrets.map(|secret| sign(&secret, &id, timestamp_s, &body)).collect();
    WebhookRequest { url: endpoint.url.clone(), id, timestamp_s, signature: signatures.join(" "), body }
}

/// `v1,` and the signature in base64.
fn sign(secret: &WebhookSecret, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length");
    let mac = mac.chain_update(format!("{id}.{timestamp_s}.")).chain_update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A secret as its owner is shown it.
pub fn shown(secret: &WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.0))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Reason, UserId};
    use crate::ports::webhooks::{EndpointId, EndpointState, Wanted};

    fn event() -> Event {
        let order_id = OrderId(Uuid::from_u128(5));
        let body = EventBody::OrderFailed { order_id, user_id: UserId(3), reason: Reason::PaymentDeclined };
        Event { saga_id: order_id, sequence: 4, time: Timestamp(1_795_000_000_042), body }
    }

    #[test]
    fn a_request_says_what_happened_and_who_says_so() {
        let now = Timestamp(1_795_000_001_999);
        let endpoint = Endpoint {
            id: EndpointId(Uuid::nil()),
            url: "https://owner.example/hook".into(),
            description: String::new(),
            wanted: Wanted::ALL,
            state: EndpointState::Enabled,
            secret: WebhookSecret([7; 32]),
            old_secret: Some((WebhookSecret([8; 32]), now)),
            created_at: now,
            failing_since: None,
        };
        let sent = request(&endpoint, NoticeKind::OrderFailed, &event(), now);
        assert_eq!(sent.id, "msg_00000000-0000-0000-0000-000000000005_4");
        assert_eq!(sent.timestamp_s, 1_795_000_001);
        assert_eq!(
            std::str::from_utf8(&sent.body).expect("text"),
            r#"{"data":{"order_id":"00000000-0000-0000-0000-000000000005","reason":"PAYMENT_DECLINED","user_id":3},"timestamp":"2026-11-18T11:06:40.042Z","type":"order.failed"}"#
        );
        assert_eq!(sent.signature, SIGNATURE, "the old secret has had its time");
        let before = request(&endpoint, NoticeKind::OrderFailed, &event(), Timestamp(now.0 - 1));
        assert_eq!(before.signature.split(' ').collect::<Vec<_>>(), [SIGNATURE, OLD_SIGNATURE]);
    }

    /// Of `id.timestamp.body` under 32 bytes of 7, and of 8; computed with openssl.
    const SIGNATURE: &str = "v1,fJR2foYGoWyFx85S7Y0aN6KiKvVLXOb8h1Zk/GSuDls=";
    const OLD_SIGNATURE: &str = "v1,EG6pCOW+Xe0G3dAz5wh7Ru+wlQnLLeGao6gPBI0TPqQ=";

    #[test]
    fn a_secret_is_shown_as_the_specification_wants_it() {
        assert_eq!(shown(&WebhookSecret([0; 32])), format!("whsec_{}=", "A".repeat(43)));
    }
}
