//! A payment gateway that takes no real money, keeps durable records, and misbehaves on demand.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::adapters::sqlite::{OpenError, Readers, StoreFile, Writer};
use crate::domain::{Capture, Currency, Money, NextAction, OrderId, Timestamp};
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::payments::{
    ChargeError, ChargeRecord, ChargeRequest, ChargeState, GiveBackError, Payments, Voided,
};

const FILE: StoreFile = StoreFile {
    name: "gateway file",
    application_id: 0x48_47_41_54, // "HGAT"
    migrations: &[
        "CREATE TABLE charges (
        order_id    BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
        amount      INTEGER NOT NULL,
        currency    TEXT    NOT NULL,
        state       TEXT    NOT NULL CHECK (state IN ('captured', 'declined', 'voided', 'refunded')),
        created_at  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;",
        // A charge may wait for its customer. A constraint changes only with its table.
        "CREATE TABLE charges_with_waiting (
        order_id    BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
        amount      INTEGER NOT NULL,
        currency    TEXT    NOT NULL,
        state       TEXT    NOT NULL
            CHECK (state IN ('waiting', 'captured', 'declined', 'voided', 'refunded')),
        created_at  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO charges_with_waiting SELECT order_id, amount, currency, state, created_at FROM charges;
    DROP TABLE charges;
    ALTER TABLE charges_with_waiting RENAME TO charges;",
    ],
};

/// Orders whose customers have acted, kept for those who listen; whoever falls behind asks again anyway.
const NEWS_MAX: usize = 1_024;

/// Payment tokens that decide what happens to one charge, with what each does.
pub const TEST_TOKENS: [(&str, &str); 7] = [
    ("tok_ok", "accepted"),
    ("tok_declined", "declined"),
    ("tok_timeout_before", "no answer, and no money is taken"),
    ("tok_timeout_after", "no answer, but the money is taken"),
    ("tok_late", "no answer; the money is taken a moment later, unless the charge is voided first"),
    ("tok_duplicate", "accepted; the request is delivered twice"),
    ("tok_3ds", "the customer has to accept first, at the address in next_action"),
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
    pub needs_customer_rate: f64,
    /// After this time a customer who has to act accepts by themselves, in milliseconds; 0: they never do.
    pub customer_after_ms: u64,
}

impl Faults {
    fn rates(&self) -> [(f64, Fate); 6] {
        [
            (self.decline_rate, Fate::Declined),
            (self.timeout_before_rate, Fate::LostBefore),
            (self.timeout_after_rate, Fate::LostAfter),
            (self.late_rate, Fate::Late),
            (self.duplicate_rate, Fate::Duplicate),
            (self.needs_customer_rate, Fate::NeedsCustomer),
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
    NeedsCustomer,
}

/// The gateway.
pub struct SimulatedGateway {
    // Closed first: whoever closes last tidies the files up, and only the writer can.
    readers: Readers,
    store: Arc<Writer>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    dice: Mutex<ChaCha8Rng>,
    /// Stands before `/challenge/{order}`.
    challenge_base: Arc<str>,
    /// Orders whose customers have acted.
    news: broadcast::Sender<OrderId>,
}

/// A charge as it is stored.
struct Stored {
    order: OrderId,
    created_at: Timestamp,
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
        let (readers, news) = (Readers::new(path.to_owned()), broadcast::Sender::new(NEWS_MAX));
        Ok(Self { store, readers, clock, faults, dice, challenge_base: "".into(), news })
    }

    /// The same, and customers who have to act are sent to an address that begins like this. Without it, to a
    /// path of the shop itself.
    #[must_use]
    pub fn with_challenges_at(self, base: &str) -> Self {
        Self { challenge_base: base.trim_end_matches('/').into(), ..self }
    }

    /// Hears of orders whose customers have acted here, as another gateway would send a message. It may miss
    /// some: asking for the charge again tells, too.
    pub fn news(&self) -> broadcast::Receiver<OrderId> {
        self.news.subscribe()
    }

    /// The customer of a charge that waits accepts or refuses. Answers the amount and where the money is now;
    /// `None` when nothing is known under the key. What was settled before stays as it was.
    ///
    /// # Errors
    /// The gateway's file cannot be written.
    pub async fn authenticate(
        &self,
        order: OrderId,
        accepted: bool,
    ) -> Result<Option<(Money, ChargeState)>, Unavailable> {
        Self::settle_challenge(&self.store, &self.news, order, accepted).await
    }

    async fn settle_challenge(
        store: &Writer,
        news: &broadcast::Sender<OrderId>,
        order: OrderId,
        accepted: bool,
    ) -> Result<Option<(Money, ChargeState)>, Unavailable> {
        let state = if accepted { ChargeState::Captured } else { ChargeState::Declined };
        let work = move |connection: &Connection| {
            let settled = leave_waiting(connection, order, state)?;
            Ok((settled, find(connection, order)?))
        };
        let (settled, stored) = store.write(work).await.map_err(|error| Unavailable(error.to_string()))?;
        if settled {
            // Nobody may be listening.
            let _ = news.send(order);
        }
        Ok(stored.map(|stored| (stored.capture.amount, stored.state)))
    }

    fn next_action(&self, order: OrderId) -> NextAction {
        NextAction::RedirectToUrl { url: format!("{}/challenge/{order}", self.challenge_base).into() }
    }

    /// Lets the simulated customers act: those of new charges after a while, and those whose while was over
    /// before this process began.
    fn let_customers_act(&self, stored: &[Stored], at: i64) {
        let after = self.faults.customer_after_ms;
        if after == 0 {
            return;
        }
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        for waiting in stored.iter().filter(|stored| stored.state == ChargeState::Waiting) {
            let since = waiting.created_at.0;
            let is_new = since == at;
            let left = if is_new { after } else { since.saturating_add(after).saturating_sub(at) };
            // One that is not new has a customer who is about to act, unless that was in an earlier process.
            if !is_new && left > 0 {
                continue;
            }
            let (store, news, order) = (Arc::clone(&self.store), self.news.clone(), waiting.order);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                // If the store is gone by then, the next process has them act.
                let _ = Self::settle_challenge(&store, &news, order, true).await;
            });
        }
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
            Some("tok_3ds") => Fate::NeedsCustomer,
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
        charges: Vec<(ChargeRequest, ChargeState)>,
        at: i64,
    ) -> Result<Vec<Stored>, Unavailable> {
        let work = move |connection: &Connection| {
            let insert = |(request, state): &(ChargeRequest, _)| {
                insert(connection, request.order, request.amount, *state, at)
            };
            charges.iter().map(insert).collect()
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
        let captured = |request: &ChargeRequest| (request.clone(), ChargeState::Captured);
        for (request, fate) in batch.iter().zip(&fates) {
            match fate {
                Fate::Accepted | Fate::LostAfter => now.push(captured(request)),
                Fate::Declined => now.push((request.clone(), ChargeState::Declined)),
                Fate::NeedsCustomer => now.push((request.clone(), ChargeState::Waiting)),
                Fate::Duplicate => now.extend([captured(request), captured(request)]),
                Fate::LostBefore => {}
                Fate::Late => {
                    let (store, charge) = (Arc::clone(&self.store), captured(request));
                    let delay = Duration::from_millis(self.faults.late_ms);
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        // If the store is gone by then, the message is lost: that may happen too.
                        let _ = Self::deliver(&store, vec![charge], at).await;
                    });
                }
            }
        }
        let stored = if now.is_empty() { Ok(Vec::new()) } else { Self::deliver(&self.store, now, at).await };
        if fates.iter().any(|fate| matches!(fate, Fate::LostBefore | Fate::LostAfter | Fate::Late)) {
            self.pause(self.faults.timeout_ms).await;
        }
        let mut stored = match stored {
            Ok(stored) => {
                self.let_customers_act(&stored, at);
                stored.into_iter()
            }
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
                self.as_answer(stored.next())
            }
            Fate::Accepted | Fate::Declined | Fate::NeedsCustomer => self.as_answer(stored.next()),
        };
        fates.into_iter().map(answer).collect()
    }

    async fn void(&self, order: OrderId, amount: Money) -> Result<Voided, GiveBackError> {
        self.pause(self.faults.latency_ms).await;
        let at = self.clock.now().0;
        let void = move |connection: &Connection| {
            leave_waiting(connection, order, ChargeState::Voided)?;
            insert(connection, order, amount, ChargeState::Voided, at)
        };
        let stored = self.store.write(void).await.map_err(|error| Unavailable(error.to_string()))?;
        Ok(match stored.state {
            ChargeState::Voided | ChargeState::Declined | ChargeState::Waiting => Voided::NothingTaken,
            ChargeState::Captured => Voided::Captured(stored.capture),
            ChargeState::Refunded => Voided::Refunded(stored.capture),
        })
    }

    async fn refund(&self, order: OrderId, _: Money) -> Result<Capture, GiveBackError> {
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
            Ok(_) => Err(GiveBackError::Refused("no money was taken under this key".into())),
            Err(error) => Err(Unavailable(error.to_string()).into()),
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

impl SimulatedGateway {
    fn as_answer(&self, stored: Option<Stored>) -> Result<Capture, ChargeError> {
        let stored = stored.expect("one record for each delivered request");
        match stored.state {
            ChargeState::Captured => Ok(stored.capture),
            ChargeState::Declined => Err(ChargeError::Declined { code: "card_declined".into() }),
            ChargeState::Voided | ChargeState::Refunded => Err(ChargeError::Voided),
            ChargeState::Waiting => Err(ChargeError::NeedsCustomer(self.next_action(stored.order))),
        }
    }
}

/// A charge that waits for its customer comes into another state, once; whether it waited.
fn leave_waiting(connection: &Connection, order: OrderId, state: ChargeState) -> rusqlite::Result<bool> {
    let left = connection
        .prepare_cached("UPDATE charges SET state = ? WHERE order_id = ? AND state = 'waiting'")?
        .execute(params![state_word(state), order.0.into_bytes()])?;
    Ok(left == 1)
}

/// The first word spoken under a key stands for ever, unless it was that the customer has to act.
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
        let capture = Capture { transaction_id: transaction_id(order), amount };
        return Ok(Stored { order, created_at: Timestamp(at), state, capture });
    }
    find(connection, order)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn find(connection: &Connection, order: OrderId) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached("SELECT amount, currency, state, created_at FROM charges WHERE order_id = ?")?
        .query_row([order.0.into_bytes()], |row| {
            let capture = Capture { transaction_id: transaction_id(order), amount: amount(row, 0)? };
            Ok(Stored { order, created_at: Timestamp(row.get(3)?), state: state(row, 2)?, capture })
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
        ChargeState::Waiting => "waiting",
        ChargeState::Captured => "captured",
        ChargeState::Declined => "declined",
        ChargeState::Voided => "voided",
        ChargeState::Refunded => "refunded",
    }
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<ChargeState> {
    Ok(match row.get_ref(column)?.as_str()? {
        "waiting" => ChargeState::Waiting,
        "captured" => ChargeState::Captured,
        "declined" => ChargeState::Declined,
        "voided" => ChargeState::Voided,
        "refunded" => ChargeState::Refunded,
        other => return Err(rusqlite::Error::InvalidParameterName(other.to_owned())),
    })
}
