//! Key files: 32 random bytes as one line of text, which survives mail, paper and a password store.

use std::{fmt, str::FromStr};

use env::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Error, Result, digest::from_hex};

/// What every key file starts with; the number is the version of the text form.
const PREFIX: &str = "holdfast-key-1";

/// A key kept in a file: `holdfast-key-1-<64 hexadecimal digits>-<8 that check them>`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyFile([u8; 32]);

impl KeyFile {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(env::random(entropy))
    }

    /// The text to write into the file, with its line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{PREFIX}-");
        for byte in self.0 {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push_str(&format!("-{}\n", check(&self.0)));
        text
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for KeyFile {
    type Err = Error;

    /// Reads the text of a key file; white space around it does not matter.
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let rest =
            rest.ok_or_else(|| Error::invalid(format!("not a key file: it does not start with {PREFIX}")))?;
        let (digits, found) = rest.split_once('-').unwrap_or((rest, ""));
        let bytes = from_hex(digits)
            .ok_or_else(|| Error::invalid("not a key file: 64 hexadecimal digits are missing"))?;
        if check(&bytes) != found {
            return Err(Error::invalid("the key file has a typing error: its check digits do not fit"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyFile(…)")
    }
}

/// Eight digits that catch typing errors and give nothing away that helps to guess the key.
fn check(bytes: &[u8; 32]) -> String {
    let digest = blake3::derive_key("holdfast key file v1 check digits", bytes);
    digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
