//! A gateway that is a service of its own, such as `holdfast gateway`, reached over HTTP.

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::{Capture, Money, OrderId};
use crate::ports::Unavailable;
use crate::ports::payments::{ChargeError, ChargeRecord, ChargeRequest, GiveBackError, Payments, Voided};

use super::client::{Answer, Body, Client, Patience, Peer};
use super::protocol::{
    AmountBody, ChargeBody, DECLINED, PAGE_MAX, Records, Refusal, Settled, State, VOIDED, Waiting,
};

/// Tells more than that it runs: it knows us and can read its store.
const HEALTH: &str = "/v1/charges?limit=1";

/// The gateway at a URL.
pub struct HttpGateway {
    client: Client,
}

impl HttpGateway {
    /// A gateway at `base`; nothing is called yet.
    ///
    /// # Errors
    /// The secret has characters that cannot be sent.
    pub fn new(base: String, secret: Option<SecretString>, patience: Patience) -> Result<Self, String> {
        let peer = Peer { base, bearer: secret, headers: Vec::new(), health: HEALTH };
        Ok(Self { client: Client::new(peer, patience)? })
    }

    async fn charge_one(&self, request: &ChargeRequest) -> Result<Capture, ChargeError> {
        let body = ChargeBody {
            amount: request.amount.minor,
            currency: request.amount.currency,
            token: request.token.as_ref().map(|token| token.0.clone()),
        };
        let path = format!("/v1/charges/{}", request.order);
        let answer = self.client.call(Method::PUT, &path, &[], Some(json(&body))).await?;
        match answer.status {
            StatusCode::OK => {
                let settled = settled(&answer, request.order)?;
                settled.capture.map(Capture::from).ok_or_else(|| answer.unexpected().into())
            }
            StatusCode::ACCEPTED => {
                let waiting: Waiting = answer.json()?;
                Err(ChargeError::NeedsCustomer(waiting.next_action))
            }
            // Only a problem of this protocol is a refusal: what something on the way says settles nothing.
            StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => Err(match answer.json::<Refusal>()? {
                Refusal { kind, code: Some(code) } if kind == DECLINED => ChargeError::Declined { code },
                Refusal { kind, .. } if kind == VOIDED => ChargeError::Voided,
                _ => answer.unexpected().into(),
            }),
            _ => Err(answer.unexpected().into()),
        }
    }
}

#[async_trait]
impl Payments for HttpGateway {
    fn batch_max(&self) -> usize {
        // Each charge has an answer of its own time, and there are workers enough to wait for each apart. Batches of
        // 64 sold no more (in turns, within the noise) and one slow charge held up the other 63.
        1
    }

    async fn charge(&self, batch: &[ChargeRequest]) -> Vec<Result<Capture, ChargeError>> {
        join_all(batch.iter().map(|request| self.charge_one(request))).await
    }

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, GiveBackError> {
        let body = AmountBody { amount: amount.minor, currency: amount.currency };
        let path = format!("/v1/charges/{order}/void");
        let answer = self.client.call(Method::POST, &path, &[], Some(json(&body))).await?;
        let settled = settled(not_refused(&answer)?, order)?;
        match (settled.state, settled.capture) {
            (State::Voided | State::Declined, None) => Ok(Voided::NothingTaken),
            (State::Captured, Some(taken)) => Ok(Voided::Captured(taken.into())),
            (State::Refunded, Some(taken)) => Ok(Voided::Refunded(taken.into())),
            _ => Err(answer.unexpected().into()),
        }
    }

    async fn refund(&self, order: OrderId, _: Money) -> Result<Capture, GiveBackError> {
        let path = format!("/v1/charges/{order}/refund");
        let answer = self.client.call(Method::POST, &path, &[], None).await?;
        match settled(not_refused(&answer)?, order)? {
            Settled { state: State::Refunded, capture: Some(taken), .. } => Ok(taken.into()),
            _ => Err(answer.unexpected().into()),
        }
    }

    async fn list(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<ChargeRecord>, Unavailable> {
        let (mut after, mut records) = (after, Vec::new());
        while records.len() < limit {
            let size = (limit - records.len()).min(PAGE_MAX);
            let since = after.map(|order| format!("&after={order}")).unwrap_or_default();
            let path = format!("/v1/charges?limit={size}{since}");
            let answer = self.client.call(Method::GET, &path, &[], None).await?;
            let page: Records = ok(&answer)?.json()?;
            let Some(last) = page.charges.last() else { break };
            after = Some(last.order_id);
            records.extend(page.charges.into_iter().map(ChargeRecord::from));
        }
        Ok(records)
    }

    fn is_down(&self) -> bool {
        self.client.is_down()
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.client.ping().await
    }
}

fn json(value: &impl Serialize) -> Body {
    let bytes = serde_json::to_vec(value).expect("requests are plain data").into();
    Body { content_type: "application/json", bytes }
}

fn ok(answer: &Answer) -> Result<&Answer, Unavailable> {
    if answer.status == StatusCode::OK { Ok(answer) } else { Err(answer.unexpected()) }
}

/// An answer that does not refuse what was asked: what cannot be answered at all was left out before.
fn not_refused(answer: &Answer) -> Result<&Answer, GiveBackError> {
    ok(answer).map_err(|Unavailable(why)| GiveBackError::Refused(why))
}

/// What came of a call about `order`; an answer about another one says nothing.
fn settled(answer: &Answer, order: OrderId) -> Result<Settled, Unavailable> {
    let settled: Settled = answer.json()?;
    if settled.order_id == order {
        Ok(settled)
    } else {
        Err(Unavailable("an answer about another order".into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Currency, NextAction};

    const ORDER: OrderId = OrderId(Uuid::from_u128(7));

    /// What the shop makes of a charge that is answered with this.
    async fn charged(status: &str, body: &str) -> Result<Capture, ChargeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            // The request is small, so it comes in one piece, or its rest does not matter.
            stream.read_buf(&mut Vec::with_capacity(4_096)).await?;
            stream.write_all(answer.as_bytes()).await?;
            stream.read_u8().await
        });
        let second = Duration::from_secs(10);
        let patience = Patience { timeout: second, calls_max: 1, failures_max: 9, down_for: second };
        let gateway = HttpGateway::new(base, None, patience).expect("a client");
        let request = ChargeRequest { order: ORDER, amount: Money::new(500, Currency::EUR), token: None };
        gateway.charge(&[request]).await.remove(0)
    }

    #[tokio::test]
    async fn a_customer_who_has_to_act_first_is_told_where() {
        let body = format!(
            r#"{{"order_id":"{ORDER}","next_action":{{"type":"redirect_to_url","url":"http://bank/1"}}}}"#
        );
        match charged("202 Accepted", &body).await {
            Err(ChargeError::NeedsCustomer(NextAction::RedirectToUrl { url })) => {
                assert_eq!(&*url, "http://bank/1")
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_an_answer_of_the_protocol_about_this_order_settles_anything() {
        let capture = r#"{"transaction_id":"t","amount":500,"currency":"EUR"}"#;
        let settled = |order, rest: &str| format!(r#"{{"order_id":"{order}","state":"captured"{rest}}}"#);
        let right = settled(ORDER, &format!(r#","capture":{capture}"#));
        assert_eq!(charged("200 OK", &right).await.expect("captured").amount.minor, 500);
        let declined = r#"{"type":"/problems/payment-declined","code":"no_money"}"#;
        let answer = charged("402 Payment Required", declined).await;
        assert!(matches!(&answer, Err(ChargeError::Declined { code }) if code == "no_money"), "{answer:?}");
        let voided = r#"{"type":"/problems/charge-voided"}"#;
        assert!(matches!(charged("409 Conflict", voided).await, Err(ChargeError::Voided)));

        let other = settled(OrderId(Uuid::from_u128(8)), &format!(r#","capture":{capture}"#));
        for (status, body) in [
            ("200 OK", &*other),
            ("200 OK", &settled(ORDER, "")),
            ("200 OK", "<html>welcome</html>"),
            ("202 Accepted", ""),
            ("402 Payment Required", r#"{"type":"/problems/payment-declined"}"#),
            ("409 Conflict", r#"{"type":"/problems/other"}"#),
            ("409 Conflict", "conflict"),
            ("404 Not Found", ""),
            ("302 Found", ""),
            ("500 Internal Server Error", declined),
        ] {
            let answer = charged(status, body).await;
            assert!(matches!(answer, Err(ChargeError::Unknown(_))), "{status} {body}: {answer:?}");
        }
    }
}
