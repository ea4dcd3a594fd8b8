//! Hands mails to the mail server, each until it has taken or refused it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::consumers::{BackOff, letters};
use crate::domain::Timestamp;
use crate::ports::Unavailable;
use crate::ports::clock::Clock;
use crate::ports::consumer_store::{ConsumerStore, Mail, MailOutcome, MailState};
use crate::ports::ledger::Ledger;
use crate::ports::mailer::{MailError, Mailer};

/// Pause when there is nothing to send.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Mails on their way at once.
const BATCH: usize = 16;

/// How long nobody else tries a mail that somebody tries; longer than a try can take.
const LEASE: Duration = Duration::from_secs(60);

/// Pause before another try; it doubles with each, up to the second one.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// What mails are sent with.
pub struct Post {
    pub store: Arc<dyn ConsumerStore>,
    pub ledger: Arc<dyn Ledger>,
    pub mailer: Arc<dyn Mailer>,
    pub clock: Arc<dyn Clock>,
    /// What stands behind the @ of a mail's id.
    pub domain: String,
}

/// Runs for ever.
pub async fn run(post: Post) {
    let mut back_off = BackOff::new(Arc::clone(&post.clock));
    loop {
        match post.send_due().await {
            Ok(0) => {
                back_off.reset();
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(_) => back_off.reset(),
            Err(error) => {
                tracing::warn!(%error, "mails could not be sent");
                back_off.pause().await;
            }
        }
    }
}

impl Post {
    /// Sends what is due; returns how many were tried.
    async fn send_due(&self) -> Result<usize, Unavailable> {
        let due = self.store.due_mails(self.clock.now(), LEASE, BATCH).await?;
        let sent = join_all(due.iter().map(|mail| self.send(mail))).await;
        sent.into_iter().collect::<Result<(), _>>()?;
        Ok(due.len())
    }

    async fn send(&self, mail: &Mail) -> Result<(), Unavailable> {
        let outcome = match self.ledger.account(mail.user).await? {
            None => MailOutcome::Ended(MailState::Unaddressed, None),
            Some(account) => self.hand_over(mail, &account.email).await?,
        };
        let result = match &outcome {
            MailOutcome::Ended(state, _) => state.as_str(),
            MailOutcome::Again(..) => "again",
        };
        metrics::counter!("holdfast_mails_total", "result" => result).increment(1);
        self.store.settle_mail(mail.order, mail.kind, outcome, self.clock.now()).await
    }

    async fn hand_over(&self, mail: &Mail, to: &str) -> Result<MailOutcome, Unavailable> {
        let Some(order) = self.ledger.order(mail.order).await? else {
            return Err(Unavailable(format!("there is a mail for order {}, which is not there", mail.order)));
        };
        let letter = letters::write(mail, &order, to, &self.domain);
        Ok(match self.mailer.send(&letter).await {
            Ok(()) => MailOutcome::Ended(MailState::Sent, None),
            Err(MailError::Refused(why)) => {
                tracing::warn!(order_id = %mail.order, kind = %mail.kind, why, "a mail was refused");
                MailOutcome::Ended(MailState::Refused, Some(why))
            }
            Err(MailError::Unknown(why)) => {
                tracing::debug!(order_id = %mail.order, kind = %mail.kind, why, "a mail was not taken");
                MailOutcome::Again(self.next_try(mail.attempts), why)
            }
        })
    }

    fn next_try(&self, attempts: u32) -> Timestamp {
        let pause = PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MAX);
        self.clock.now().plus(self.clock.jittered(pause))
    }
}
