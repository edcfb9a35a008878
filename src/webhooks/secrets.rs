//! Secrets of an endpoint, and its signatures by the Standard Webhooks scheme (<https://www.standardwebhooks.com>).
//!
//! Invariant: no output shows a secret, and an error about one shows nothing of it.

use std::{fmt, fs, io, path::Path};

use data_encoding::BASE64;
use ring::hmac::{self, HMAC_SHA256};

const PREFIX: &str = "whsec_";

/// Bytes of a secret, as the scheme has them.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// Secrets that are valid at a time: a new one, and the one that it replaces.
const SECRETS_MAX: usize = 2;

/// Far more than two secrets.
const FILE_BYTES_MAX: u64 = 4096;

/// The secrets of an endpoint, the newest first.
pub struct Secrets(Vec<hmac::Key>);

/// Why a file holds no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(
        "must hold one or two secrets, one per line and the new one first, but holds {0}; make one with `doorbuster keys \
         webhook`"
    )]
    Count(usize),
    #[error(
        "line {line} must be whsec_ and the base64 of {BYTES_MIN} to {BYTES_MAX} bytes, as `doorbuster keys webhook` prints \
         it"
    )]
    Form { line: usize },
}

impl Secrets {
    pub fn load(file: &Path) -> Result<Self, SecretsError> {
        if fs::metadata(file)?.len() > FILE_BYTES_MAX {
            return Err(SecretsError::Count(usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX)));
        }
        Self::parse(&fs::read_to_string(file)?)
    }

    pub(super) fn parse(text: &str) -> Result<Self, SecretsError> {
        let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let count = lines().count();
        if !(1..=SECRETS_MAX).contains(&count) {
            return Err(SecretsError::Count(count));
        }
        let secrets = lines().map(|(line, text)| key(text.trim()).ok_or(SecretsError::Form { line }));
        Ok(Self(secrets.collect::<Result<_, _>>()?))
    }

    /// The header `webhook-signature`: a signature with each secret.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signed = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", BASE64.encode(context.sign().as_ref()))
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Option<hmac::Key> {
    let bytes = BASE64.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?;
    (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()).then(|| hmac::Key::new(HMAC_SHA256, &bytes))
}

/// A new secret of these random bytes.
pub fn secret_of(bytes: [u8; 32]) -> String {
    format!("{PREFIX}{}", BASE64.encode(&bytes))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the scheme's specification and of its reference libraries.
    #[test]
    fn a_signature_is_that_of_the_scheme() {
        let body = br#"{"test": 2432232314}"#;
        let signed = Secrets::parse(SECRET).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_sign_twice_the_new_one_first() {
        let new = secret_of([7; 32]);
        let both = Secrets::parse(&format!("\n{new}\r\n  {SECRET}\n\n")).unwrap().sign("a", 1, b"b");
        let [one, other] = [&*new, SECRET].map(|secret| Secrets::parse(secret).unwrap().sign("a", 1, b"b"));
        assert_eq!(both, format!("{one} {other}"));
        assert_ne!(one, other);
    }

    #[test]
    fn an_error_says_what_to_change_and_shows_no_secret() {
        let short = format!("{PREFIX}{}", BASE64.encode(&[1; 23]));
        let long = format!("{PREFIX}{}", BASE64.encode(&[1; 65]));
        let bare = &SECRET[PREFIX.len()..];
        for (text, told) in [
            ("", "but holds 0"),
            ("\n \n", "but holds 0"),
            (&*format!("{SECRET}\n{SECRET}\n{SECRET}"), "but holds 3"),
            (&*format!("{SECRET}\n{bare}"), "line 2 must be whsec_"),
            (&*short, "line 1 must be whsec_"),
            (&*long, "line 1 must be whsec_"),
            (&SECRET[..SECRET.len() - 1], "line 1 must be whsec_"),
        ] {
            let error = Secrets::parse(text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("doorbuster keys webhook"), "{error}");
            assert!(!error.contains(&bare[..8]), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(Secrets::load(directory.path()).is_err());
        let file = directory.path().join("secret");
        fs::write(&file, "x".repeat(5000)).unwrap();
        assert!(Secrets::load(&file).unwrap_err().to_string().contains("one or two secrets"));
    }
}
