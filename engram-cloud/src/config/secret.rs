//! Secrets: text that is compared and signed with, and never shown.

use super::ConfigError;
use std::fmt;

/// The shortest token.
pub(super) const TOKEN_BYTES_MIN: usize = 16;

/// The shortest key.
pub(super) const KEY_BYTES_MIN: usize = 32;

/// Secrets that stand in public example files.
const WELL_KNOWN: [&str; 1] = ["engram-dev-jwt-secret-for-local-smoke-1234"];

/// A secret; neither `Debug` nor `Display` shows it (SECRET-1).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Makes a new one of 32 random bytes, in hex.
    #[must_use]
    pub fn generate() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Shows the secret to who has to compare, sign with, or write it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Takes a secret from its setting, if it is given, and refuses a weak one. What it is made of is not judged.
pub(super) fn given(
    name: &'static str,
    value: Option<String>,
    bytes_min: usize,
) -> Result<Option<Secret>, ConfigError> {
    let Some(text) = value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if WELL_KNOWN.contains(&text.as_str()) {
        return Err(ConfigError::WellKnown { name });
    }
    if text.len() < bytes_min {
        return Err(ConfigError::TooShort { name, bytes: text.len(), bytes_min });
    }
    if bytes_min == TOKEN_BYTES_MIN && !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::Unprintable { name });
    }
    Ok(Some(Secret(text)))
}
