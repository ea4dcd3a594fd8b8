//! A gateway that is a service of its own, such as `holdfast gateway`, reached over HTTP.

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::{Capture, Money, OrderId};
use crate::ports::Unavailable;
use crate::ports::payments::{ChargeError, ChargeRecord, ChargeRequest, Payments, Voided};

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

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, Unavailable> {
        let body = AmountBody { amount: amount.minor, currency: amount.currency };
        let path = format!("/v1/charges/{order}/void");
        let answer = self.client.call(Method::POST, &path, &[], Some(json(&body))).await?;
        let settled = ok(&answer).and_then(|answer| settled(answer, order))?;
        match (settled.state, settled.capture) {
            (State::Voided | State::Declined, None) => Ok(Voided::NothingTaken),
            (State::Captured, Some(taken)) => Ok(Voided::Captured(taken.into())),
            (State::Refunded, Some(taken)) => Ok(Voided::Refunded(taken.into())),
            _ => Err(answer.unexpected()),
        }
    }

    async fn refund(&self, order: OrderId, _: Money) -> Result<Capture, Unavailable> {
        let path = format!("/v1/charges/{order}/refund");
        let answer = self.client.call(Method::POST, &path, &[], None).await?;
        match ok(&answer).and_then(|answer| settled(answer, order))? {
            Settled { state: State::Refunded, capture: Some(taken), .. } => Ok(taken.into()),
            _ => Err(answer.unexpected()),
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

/// What came of a call about `order`; an answer about another one says nothing.
fn settled(answer: &Answer, order: OrderId) -> Result<Settled, Unavailable> {
    let settled: Settled = answer.json()?;
    if settled.order_id == order {
        Ok(settled)
    } else {
        Err(Unavailable("an answer about another order".into()))
    }
}
