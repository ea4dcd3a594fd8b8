//! The signature of Stripe's own messages: who does not know the secret of the endpoint is not Stripe.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::domain::Timestamp;

/// Age of a message from which on it may be somebody's copy of an old one.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Why a message is not taken for Stripe's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("The header Stripe-Signature is missing or malformed.")]
    Malformed,
    #[error("The signature is not Stripe's.")]
    Forged,
    #[error("The message is older than five minutes, or a clock is wrong.")]
    Old,
}

/// Checks the header `Stripe-Signature` (`t=SECONDS,v1=HEX`): an HMAC-SHA256 over `t.payload`. There may be several
/// while a secret is replaced.
///
/// # Errors
/// See [`SignatureError`].
pub fn verify(
    header: &str,
    payload: &[u8],
    secret: &SecretString,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let time =
        parts().find(|(name, _)| *name == "t").map(|(_, time)| time).ok_or(SignatureError::Malformed)?;
    let seconds: i64 = time.parse().map_err(|_| SignatureError::Malformed)?;
    let mut signatures = parts().filter(|(name, _)| *name == "v1").map(|(_, hex)| hex).peekable();
    if signatures.peek().is_none() {
        return Err(SignatureError::Malformed);
    }
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    let mac = mac.chain_update(time).chain_update(b".").chain_update(payload);
    // Compared in constant time.
    let is_right = |hex: &str| hex::decode(hex).is_ok_and(|bytes| mac.clone().verify_slice(&bytes).is_ok());
    if !signatures.any(is_right) {
        return Err(SignatureError::Forged);
    }
    // Last, so that only who knows the secret learns anything of our clock.
    let signed_at = Timestamp(seconds.saturating_mul(1_000));
    if signed_at < now.minus(TOLERANCE) || signed_at > now.plus(TOLERANCE) {
        return Err(SignatureError::Old);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = br#"{"id":"evt_1"}"#;

    /// Of `1795000000.{"id":"evt_1"}` under `whsec_test`; computed with openssl.
    const V1: &str = "9768205fbb644a6a645cdd13f225c6791ed91580e4d16c14b9a8e73cd4ba4393";

    fn check(header: &str, payload: &[u8], secret: &str, at_s: i64) -> Result<(), SignatureError> {
        verify(header, payload, &secret.to_owned().into(), Timestamp(at_s * 1_000))
    }

    #[test]
    fn a_message_of_stripe_is_believed_for_five_minutes() {
        let header = format!("t=1795000000,v1={V1}");
        for at in [1_795_000_000, 1_795_000_300, 1_794_999_700] {
            assert_eq!(check(&header, PAYLOAD, "whsec_test", at), Ok(()), "{at}");
        }
        for at in [1_795_000_301, 1_794_999_699] {
            assert_eq!(check(&header, PAYLOAD, "whsec_test", at), Err(SignatureError::Old), "{at}");
        }
        let replaced = format!("t=1795000000, v1={}, v1={V1}, v0=abc", "0".repeat(64));
        assert_eq!(
            check(&replaced, PAYLOAD, "whsec_test", 1_795_000_000),
            Ok(()),
            "one of several is enough"
        );
    }

    #[test]
    fn a_forged_signature_is_refused() {
        let forged = |header: &str, payload: &[u8], secret: &str| {
            assert_eq!(
                check(header, payload, secret, 1_795_000_000),
                Err(SignatureError::Forged),
                "{header}"
            );
        };
        let header = format!("t=1795000000,v1={V1}");
        forged(&header, b"{\"id\":\"evt_2\"}", "whsec_test");
        forged(&header, PAYLOAD, "whsec_other");
        forged(&header, b"", "whsec_test");
        forged(&format!("t=1795000001,v1={V1}"), PAYLOAD, "whsec_test");
        forged(&format!("t=01795000000,v1={V1}"), PAYLOAD, "whsec_test");
        forged(&format!("t=1795000000,v1={}", &V1[..62]), PAYLOAD, "whsec_test");
        forged(&format!("t=1795000000,v1={}0", &V1[..63]), PAYLOAD, "whsec_test");
        forged("t=1795000000,v1=", PAYLOAD, "whsec_test");
        forged("t=1795000000,v1=zz", PAYLOAD, "whsec_test");
    }

    #[test]
    fn a_header_without_time_or_signature_is_malformed() {
        for header in
            ["", "t=1795000000", &*format!("v1={V1}"), &*format!("t=now,v1={V1}"), "t=1,v0=00", "garbage"]
        {
            let answer = check(header, PAYLOAD, "whsec_test", 1_795_000_000);
            assert_eq!(answer, Err(SignatureError::Malformed), "{header}");
        }
    }
}
