//! What the shop and `holdfast gateway` say to each other. Every call is keyed by the order's id and can be
//! repeated.
//!
//! | call | answer |
//! |---|---|
//! | `PUT /v1/charges/{order_id}` [`ChargeBody`] | 200 [`Settled`] captured; 202 [`Waiting`]; 402 `payment-declined` with `code`; 409 `charge-voided` |
//! | `POST /v1/charges/{order_id}/void` [`AmountBody`] | 200 [`Settled`]: voided, declined, captured or refunded |
//! | `POST /v1/charges/{order_id}/refund` | 200 [`Settled`] refunded; 409 `nothing-captured` |
//! | `GET /v1/charges/{order_id}` | 200 [`Record`]; 404 |
//! | `GET /v1/charges?after=&limit=` | 200 [`Records`] in order of their keys |
//! | `GET /healthz` | 200 |

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Capture, Currency, Money, NextAction, OrderId, Timestamp};
use crate::ports::payments::{ChargeRecord, ChargeState};

/// The slug of a decline's problem.
pub const DECLINED: &str = "/problems/payment-declined";
/// The slug of the problem of a charge whose key was voided.
pub const VOIDED: &str = "/problems/charge-voided";

/// Records of one page at most.
pub const PAGE_MAX: usize = 1_000;

/// Money to be taken.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeBody {
    pub amount: i64,
    pub currency: Currency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Box<str>>,
}

/// Money not to be taken.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountBody {
    pub amount: i64,
    pub currency: Currency,
}

/// Where the money of a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The customer has to act first.
    Waiting,
    Captured,
    Declined,
    Voided,
    Refunded,
}

impl From<ChargeState> for State {
    fn from(state: ChargeState) -> Self {
        match state {
            ChargeState::Waiting => Self::Waiting,
            ChargeState::Captured => Self::Captured,
            ChargeState::Declined => Self::Declined,
            ChargeState::Voided => Self::Voided,
            ChargeState::Refunded => Self::Refunded,
        }
    }
}

impl From<State> for ChargeState {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Captured => Self::Captured,
            State::Declined => Self::Declined,
            State::Voided => Self::Voided,
            State::Refunded => Self::Refunded,
        }
    }
}

/// What came of a call.
#[derive(Serialize, Deserialize)]
pub struct Settled {
    pub order_id: OrderId,
    pub state: State,
    /// The money that was taken, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Taken>,
}

/// Money that was taken.
#[derive(Serialize, Deserialize)]
pub struct Taken {
    pub transaction_id: Arc<str>,
    pub amount: i64,
    pub currency: Currency,
}

impl From<Capture> for Taken {
    fn from(capture: Capture) -> Self {
        let Capture { transaction_id, amount: Money { minor, currency } } = capture;
        Self { transaction_id, amount: minor, currency }
    }
}

impl From<Taken> for Capture {
    fn from(taken: Taken) -> Self {
        Self { transaction_id: taken.transaction_id, amount: Money::new(taken.amount, taken.currency) }
    }
}

/// The customer has to do something first.
#[derive(Serialize, Deserialize)]
pub struct Waiting {
    pub order_id: OrderId,
    pub next_action: NextAction,
}

/// What is on record under a key.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub order_id: OrderId,
    pub state: State,
    pub amount: i64,
    pub currency: Currency,
    pub at: Timestamp,
}

impl From<ChargeRecord> for Record {
    fn from(record: ChargeRecord) -> Self {
        let ChargeRecord { order, amount: Money { minor, currency }, state, at } = record;
        Self { order_id: order, state: state.into(), amount: minor, currency, at }
    }
}

impl From<Record> for ChargeRecord {
    fn from(record: Record) -> Self {
        let amount = Money::new(record.amount, record.currency);
        Self { order: record.order_id, amount, state: record.state.into(), at: record.at }
    }
}

/// A page of records.
#[derive(Serialize, Deserialize)]
pub struct Records {
    pub charges: Vec<Record>,
}

/// The part of a problem that decides.
#[derive(Deserialize)]
pub struct Refusal {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub code: Option<String>,
}
