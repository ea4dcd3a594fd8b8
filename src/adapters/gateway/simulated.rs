//! A payment gateway that takes no real money, keeps durable records, and misbehaves on demand.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::adapters::sqlite::{OpenError, Readers, StoreFile, Writer};
use crate::domain::{Capture, Currency, Money, OrderId};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::payments::{ChargeError, ChargeRecord, ChargeRequest, ChargeState, Payments, Voided};

const FILE: StoreFile = StoreFile {
    name: "gateway file",
    application_id: 0x48_47_41_54, // "HGAT"
    migrations: &["CREATE TABLE charges (
        order_id    BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
        amount      INTEGER NOT NULL,
        currency    TEXT    NOT NULL,
        state       TEXT    NOT NULL CHECK (state IN ('captured', 'declined', 'voided', 'refunded')),
        created_at  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;"],
};

/// Payment tokens that decide what happens to one charge, with what each does.
pub const TEST_TOKENS: [(&str, &str); 6] = [
    ("tok_ok", "accepted"),
    ("tok_declined", "declined"),
    ("tok_timeout_before", "no answer, and no money is taken"),
    ("tok_timeout_after", "no answer, but the money is taken"),
    ("tok_late", "no answer; the money is taken a moment later, unless the charge is voided first"),
    ("tok_duplicate", "accepted; the request is delivered twice"),
];

/// How the gateway misbehaves. Rates are parts of one; all zero is a gateway that works.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Seed of the choices below.
    pub seed: u64,
    /// Time that every answer takes, in milliseconds.
    pub latency_ms: u64,
    /// Time until the shop gives up on an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Delay of a charge that arrives late, in milliseconds.
    pub late_ms: u64,
    pub decline_rate: f64,
    pub timeout_before_rate: f64,
    pub timeout_after_rate: f64,
    pub late_rate: f64,
    pub duplicate_rate: f64,
}

impl Faults {
    fn rates(&self) -> [(f64, Fate); 5] {
        [
            (self.decline_rate, Fate::Declined),
            (self.timeout_before_rate, Fate::LostBefore),
            (self.timeout_after_rate, Fate::LostAfter),
            (self.late_rate, Fate::Late),
            (self.duplicate_rate, Fate::Duplicate),
        ]
    }

    /// What is wrong with these settings, if anything.
    pub fn check(&self) -> Result<(), String> {
        let rates = self.rates().map(|(rate, _)| rate);
        if rates.iter().any(|rate| !(0.0..=1.0).contains(rate)) || rates.iter().sum::<f64>() > 1.0 {
            return Err("rates lie between 0 and 1, and so does their sum".into());
        }
        Ok(())
    }
}

/// What becomes of one charge request on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Declined,
    LostBefore,
    LostAfter,
    Late,
    Duplicate,
}

/// The gateway.
pub struct SimulatedGateway {
    store: Arc<Writer>,
    readers: Readers,
    clock: Arc<dyn Clock>,
    faults: Faults,
    dice: Mutex<ChaCha8Rng>,
}

/// A charge as it is stored.
struct Stored {
    state: ChargeState,
    capture: Capture,
}

impl SimulatedGateway {
    /// Opens or creates the gateway's own file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, clock: Arc<dyn Clock>, faults: Faults) -> Result<Self, OpenError> {
        let store = Arc::new(Writer::start("gateway", FILE.open(path)?));
        let dice = Mutex::new(ChaCha8Rng::seed_from_u64(faults.seed));
        Ok(Self { store, readers: Readers::new(path.to_owned()), clock, faults, dice })
    }

    /// Whether the file, where there is one, can be opened as it is. Changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn inspect(path: &Path) -> Result<(), OpenError> {
        FILE.inspect(path)
    }

    /// What becomes of a request: its token says so, or the dice do.
    fn fate(&self, request: &ChargeRequest) -> Fate {
        match request.token.as_ref().map(|token| &*token.0) {
            None | Some("tok_ok") => self.roll(),
            Some("tok_timeout_before") => Fate::LostBefore,
            Some("tok_timeout_after") => Fate::LostAfter,
            Some("tok_late") => Fate::Late,
            Some("tok_duplicate") => Fate::Duplicate,
            // A token that no card stands behind is declined like a bad card.
            Some(_) => Fate::Declined,
        }
    }

    fn roll(&self) -> Fate {
        let rates = self.faults.rates();
        if rates.iter().all(|(rate, _)| *rate == 0.0) {
            return Fate::Accepted;
        }
        let mut roll: f64 = self.dice.lock().unwrap_or_else(PoisonError::into_inner).random();
        for (rate, fate) in rates {
            if roll < rate {
                return fate;
            }
            roll -= rate;
        }
        Fate::Accepted
    }

    /// Puts charges into the store, each once a key; answers what stands there afterwards.
    async fn deliver(
        store: &Writer,
        charges: Vec<(ChargeRequest, bool)>,
        at: i64,
    ) -> Result<Vec<Stored>, Unavailable> {
        let work = move |connection: &Connection| {
            charges.iter().map(|(request, declined)| settle(connection, request, *declined, at)).collect()
        };
        store.write(work).await.map_err(|error| Unavailable(error.to_string()))
    }

    /// What is on record under one key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn look_up(&self, order: OrderId) -> Result<Option<ChargeRecord>, Unavailable> {
        let query = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT order_id, amount, currency, state, created_at FROM charges WHERE order_id = ?",
                )?
                .query_row([order.0.into_bytes()], record)
                .optional()
        };
        self.readers.read(query).await
    }

    async fn pause(&self, milliseconds: u64) {
        if milliseconds > 0 {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
    }
}

#[async_trait]
impl Payments for SimulatedGateway {
    fn batch_max(&self) -> usize {
        // Test tokens time out whatever the rates are; with rates a slow answer is to be expected.
        if self.faults.rates().iter().all(|(rate, _)| *rate == 0.0) { 256 } else { 1 }
    }

    async fn charge(&self, batch: &[ChargeRequest]) -> Vec<Result<Capture, ChargeError>> {
        self.pause(self.faults.latency_ms).await;
        let at = self.clock.now().0;
        let fates: Vec<Fate> = batch.iter().map(|request| self.fate(request)).collect();
        let mut now = Vec::with_capacity(batch.len());
        for (request, fate) in batch.iter().zip(&fates) {
            match fate {
                Fate::Accepted | Fate::LostAfter => now.push((request.clone(), false)),
                Fate::Declined => now.push((request.clone(), true)),
                Fate::Duplicate => now.extend([(request.clone(), false), (request.clone(), false)]),
                Fate::LostBefore => {}
                Fate::Late => {
                    let (store, request) = (Arc::clone(&self.store), request.clone());
                    let delay = Duration::from_millis(self.faults.late_ms);
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        // If the store is gone by then, the message is lost: that may happen too.
                        let _ = Self::deliver(&store, vec![(request, false)], at).await;
                    });
                }
            }
        }
        let stored = if now.is_empty() { Ok(Vec::new()) } else { Self::deliver(&self.store, now, at).await };
        if fates.iter().any(|fate| matches!(fate, Fate::LostBefore | Fate::LostAfter | Fate::Late)) {
            self.pause(self.faults.timeout_ms).await;
        }
        let mut stored = match stored {
            Ok(stored) => stored.into_iter(),
            Err(error) => return batch.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let silence = || Err(ChargeError::Unknown(Unavailable("no answer in time".into())));
        let answer = |fate| match fate {
            Fate::LostBefore | Fate::Late => silence(),
            Fate::LostAfter => {
                stored.next();
                silence()
            }
            Fate::Duplicate => {
                stored.next();
                as_answer(stored.next())
            }
            Fate::Accepted | Fate::Declined => as_answer(stored.next()),
        };
        fates.into_iter().map(answer).collect()
    }

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, Unavailable> {
        self.pause(self.faults.latency_ms).await;
        let at = self.clock.now().0;
        let stored = self
            .store
            .write(move |connection| insert(connection, order, amount, ChargeState::Voided, at))
            .await
            .map_err(|error| Unavailable(error.to_string()))?;
        Ok(match stored.state {
            ChargeState::Voided | ChargeState::Declined => Voided::NothingTaken,
            ChargeState::Captured => Voided::Captured(stored.capture),
            ChargeState::Refunded => Voided::Refunded(stored.capture),
        })
    }

    async fn refund(&self, order: OrderId, _: Money) -> Result<Capture, Unavailable> {
        self.pause(self.faults.latency_ms).await;
        let refund = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "UPDATE charges SET state = 'refunded' WHERE order_id = ? AND state IN ('captured', 'refunded')",
                )?
                .execute([order.0.into_bytes()])?;
            find(connection, order)
        };
        match self.store.write(refund).await {
            Ok(Some(stored)) if stored.state == ChargeState::Refunded => Ok(stored.capture),
            Ok(_) => Err(Unavailable("no money was taken under this key".into())),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }

    async fn list(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<ChargeRecord>, Unavailable> {
        let after = after.map_or([0; 16], |id| id.0.into_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT order_id, amount, currency, state, created_at FROM charges WHERE order_id > ? \
                 ORDER BY order_id LIMIT ?",
            )?;
            statement.query_map(params![after, limit], record)?.collect()
        };
        self.readers.read(query).await
    }
}

fn as_answer(stored: Option<Stored>) -> Result<Capture, ChargeError> {
    let stored = stored.expect("one record for each delivered request");
    match stored.state {
        ChargeState::Captured => Ok(stored.capture),
        ChargeState::Declined => Err(ChargeError::Declined { code: "card_declined".into() }),
        ChargeState::Voided | ChargeState::Refunded => Err(ChargeError::Voided),
    }
}

fn settle(
    connection: &Connection,
    request: &ChargeRequest,
    declined: bool,
    at: i64,
) -> rusqlite::Result<Stored> {
    let state = if declined { ChargeState::Declined } else { ChargeState::Captured };
    insert(connection, request.order, request.amount, state, at)
}

/// The first word spoken under a key stands for ever.
fn insert(
    connection: &Connection,
    order: OrderId,
    amount: Money,
    state: ChargeState,
    at: i64,
) -> rusqlite::Result<Stored> {
    // One charge a key, so the key serves as the transaction's id too.
    let inserted = connection
        .prepare_cached(
            "INSERT INTO charges (order_id, amount, currency, state, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            order.0.into_bytes(),
            amount.minor,
            amount.currency.as_str(),
            state_word(state),
            at
        ])?;
    if inserted == 1 {
        return Ok(Stored { state, capture: Capture { transaction_id: transaction_id(order), amount } });
    }
    find(connection, order)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn find(connection: &Connection, order: OrderId) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached("SELECT amount, currency, state FROM charges WHERE order_id = ?")?
        .query_row([order.0.into_bytes()], |row| {
            let capture = Capture { transaction_id: transaction_id(order), amount: amount(row, 0)? };
            Ok(Stored { state: state(row, 2)?, capture })
        })
        .optional()
}

fn record(row: &Row<'_>) -> rusqlite::Result<ChargeRecord> {
    Ok(ChargeRecord {
        order: OrderId(Uuid::from_bytes(row.get(0)?)),
        amount: amount(row, 1)?,
        state: state(row, 3)?,
        at: crate::domain::Timestamp(row.get(4)?),
    })
}

fn transaction_id(order: OrderId) -> Arc<str> {
    format!("sim_{}", order.0.simple()).into()
}

fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<Money> {
    let currency: Currency = row.get_ref(column + 1)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column + 1, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Money::new(row.get(column)?, currency))
}

fn state_word(state: ChargeState) -> &'static str {
    match state {
        ChargeState::Captured => "captured",
        ChargeState::Declined => "declined",
        ChargeState::Voided => "voided",
        ChargeState::Refunded => "refunded",
    }
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<ChargeState> {
    Ok(match row.get_ref(column)?.as_str()? {
        "captured" => ChargeState::Captured,
        "declined" => ChargeState::Declined,
        "voided" => ChargeState::Voided,
        "refunded" => ChargeState::Refunded,
        other => return Err(rusqlite::Error::InvalidParameterName(other.to_owned())),
    })
}
