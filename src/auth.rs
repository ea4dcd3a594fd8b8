//! Who somebody is: passwords and tokens.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::domain::UserId;
use crate::ports::clock::Clock;
use crate::ports::ledger::Role;

/// Hashing a password costs a processor and 19 MiB for some ten milliseconds, so only few run at
/// once and only some may wait.
const HASHES_AT_ONCE: usize = 2;
const HASHES_WAITING_MAX: usize = 64;

/// Hashes and checks passwords with Argon2id and its default cost.
pub struct Passwords {
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many sign-ins at once")]
    Busy,
    #[error("hashing failed: {0}")]
    Failed(String),
}

impl Default for Passwords {
    fn default() -> Self {
        let waiting = Arc::new(Semaphore::new(HASHES_WAITING_MAX));
        Self { at_once: Arc::new(Semaphore::new(HASHES_AT_ONCE)), waiting }
    }
}

impl Passwords {
    /// The hash of a password in PHC string format, with a salt of its own.
    ///
    /// # Errors
    /// Too many at once.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.run(move || {
            let hash: PasswordHash = Argon2::default()
                .hash_password(password.expose_secret().as_bytes())
                .map_err(|error| PasswordError::Failed(error.to_string()))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether the password is the hash's. Without a hash it takes as long and answers `false`, so
    /// that time does not tell which addresses have an account.
    ///
    /// # Errors
    /// Too many at once.
    pub async fn matches(&self, password: SecretString, hash: Option<String>) -> Result<bool, PasswordError> {
        let Some(hash) = hash else {
            return self.hash(password).await.map(|_| false);
        };
        self.run(move || {
            let hash = PasswordHash::new(&hash).map_err(|error| PasswordError::Failed(error.to_string()))?;
            Ok(Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn run<T, F>(&self, work: F) -> Result<T, PasswordError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, PasswordError> + Send + 'static,
    {
        let _waiting = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        let permit = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| PasswordError::Failed(error.to_string()))?
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub struct Principal {
    pub user: UserId,
    pub role: Role,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    /// The user's id, in decimal.
    sub: String,
    role: Role,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
}

/// Signs and checks tokens: JSON Web Tokens with HMAC-SHA-256.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Tokens signed with `secret` that live for `ttl`.
    pub fn new(secret: &SecretString, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        let secret = secret.expose_secret().as_bytes();
        // Only this algorithm is accepted, whatever a token's header says.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            ttl,
            clock,
        }
    }

    /// A token for a user.
    pub fn issue(&self, principal: Principal) -> String {
        let now = self.clock.now().0 / 1000;
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let exp = now.saturating_add(ttl);
        let claims = Claims { sub: principal.user.to_string(), role: principal.role, iat: now, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("claims are plain data and the key fits the algorithm")
    }

    /// Who a token stands for; `None` when it is forged, expired or no token at all.
    pub fn verify(&self, token: &str) -> Option<Principal> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        let user = data.claims.sub.parse().ok().filter(|id| *id > 0)?;
        Some(Principal { user: UserId(user), role: data.claims.role })
    }

    /// How long a new token lives.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}
