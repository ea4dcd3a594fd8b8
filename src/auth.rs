//! Who somebody is: passwords and tokens.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
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

/// How long a form may stay open before it is sent.
const FORM_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Signs the forms of pages, so that no other site can send one in a visitor's name.
///
/// A signature is the second of its making and a MAC of it, of the visitor and of who is signed in, so it is worth nothing
/// to anybody else, and nothing after signing in or out.
pub struct Forms {
    mac: Hmac<Sha256>,
    clock: Arc<dyn Clock>,
}

impl Forms {
    /// Signatures made with `secret`, which may sign other things, too.
    pub fn new(secret: &SecretString, clock: Arc<dyn Clock>) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .expect("a MAC takes a key of any length");
        // No token is signed with this beginning.
        mac.update(b"a form of a page\0");
        Self { mac, clock }
    }

    /// A signature for the forms of a page.
    pub fn sign(&self, visitor: &str, user: Option<UserId>) -> String {
        let second = self.clock.now().0 / 1000;
        let mac = self.mac_of(second, visitor, user).finalize().into_bytes();
        format!("{second}.{}", hex::encode(mac))
    }

    /// Whether it is one that was made for this visitor, not long ago.
    pub fn verify(&self, signature: &str, visitor: &str, user: Option<UserId>) -> bool {
        let Some((second, mac)) = signature.split_once('.') else { return false };
        let Ok(second) = second.parse::<i64>() else { return false };
        let age = (self.clock.now().0 / 1000).saturating_sub(second);
        if !(0..=FORM_LIFE.as_secs() as i64).contains(&age) {
            return false;
        }
        // Compares in constant time.
        hex::decode(mac).is_ok_and(|mac| self.mac_of(second, visitor, user).verify_slice(&mac).is_ok())
    }

    fn mac_of(&self, second: i64, visitor: &str, user: Option<UserId>) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&second.to_le_bytes());
        mac.update(&user.map_or(0, |user| user.0).to_le_bytes());
        mac.update(visitor.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::clock::SystemClock;

    #[test]
    fn a_form_is_worth_something_to_its_visitor_only() {
        let forms = Forms::new(&"a secret".to_owned().into(), Arc::new(SystemClock));
        let (visitor, user) = ("0123", Some(UserId(7)));
        let signature = forms.sign(visitor, user);
        assert!(forms.verify(&signature, visitor, user));
        assert!(!forms.verify(&signature, "0124", user));
        assert!(!forms.verify(&signature, visitor, None));
        assert!(!forms.verify(&signature, visitor, Some(UserId(8))));
        let (_, mac) = signature.split_once('.').expect("a signature");
        for forged in
            ["", ".", "0.", &format!("1.{mac}"), &format!("99999999999.{mac}"), &signature[1..], "1.é"]
        {
            assert!(!forms.verify(forged, visitor, user), "{forged}");
        }
        let other = Forms::new(&"another secret".to_owned().into(), Arc::new(SystemClock));
        assert!(!other.verify(&signature, visitor, user));
    }
}
