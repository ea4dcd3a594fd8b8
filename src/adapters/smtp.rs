//! [`Mailer`] over SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::Timestamp;
use crate::ports::mailer::{Letter, MailError, Mailer};

/// How long a mail server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Hands mails to one mail server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    /// A mail server at `smtp://HOST:PORT` (add `?tls=required` for STARTTLS) or `smtps://HOST:PORT`. Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// Says which of the settings is wrong, without the password.
    pub fn new(
        url: &str,
        user: Option<&str>,
        password: Option<&SecretString>,
        from: &str,
    ) -> Result<Self, String> {
        if url.contains('@') {
            return Err("mail.url: user and password are settings of their own".into());
        }
        let from =
            from.parse().map_err(|_| "mail.from has to be an address, as in Shop <shop@example.org>")?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let builder = builder.map_err(|error| format!("mail.url: {error}"))?.timeout(Some(ANSWER_WITHIN));
        let builder = match (user, password) {
            (Some(user), Some(password)) => {
                builder.credentials(Credentials::new(user.to_owned(), password.expose_secret().to_owned()))
            }
            _ => builder,
        };
        Ok(Self { transport: builder.build(), from })
    }

    /// What stands behind the @ of the ids of mails.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, letter: &Letter) -> Result<(), MailError> {
        let refused = |error: String| MailError::Refused(error);
        let to: Mailbox = letter.to.parse().map_err(|_| refused("the address is none".into()))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&*letter.subject)
            .date(system_time(letter.date))
            .message_id(Some(letter.message_id.clone()))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|error| refused(error.to_string()))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(refused(error.to_string())),
            Err(error) => Err(MailError::Unknown(error.to_string())),
        }
    }
}

fn system_time(time: Timestamp) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(time.0).unwrap_or_default())
}
