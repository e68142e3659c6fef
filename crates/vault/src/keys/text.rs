//! Keys as text, which survives mail, paper and a password store.
//!
//! One line: `holdfast-key-1-<64 hexadecimal digits>-<8 that check them>`; a writer key has 128. On paper: eight groups of eight digits, each with
//! two more that check it, so that a typing error can be named.

use crate::{Error, Result};
use zeroize::{Zeroize, Zeroizing};

/// The last digits of the one-line form, which check the others.
const CHECK_DIGITS: usize = 8;

/// Digits of a printed group, and the fewest that are taken for the printed form.
const GROUP_DIGITS: usize = 10;
const GROUPS_DIGITS: usize = 8 * GROUP_DIGITS;

/// How one kind of key is written.
pub(super) struct TextForm {
    /// What the text starts with; the number is the version of the form.
    prefix: &'static str,
    /// For messages: "a key file".
    what: &'static str,
    check_context: &'static str,
}

pub(super) const KEY_FILE: TextForm = TextForm {
    prefix: "holdfast-key-1",
    what: "a key file",
    check_context: "holdfast key file v1 check digits",
};
pub(super) const IDENTITY: TextForm = TextForm {
    prefix: "holdfast-identity-1",
    what: "an identity file",
    check_context: "holdfast identity v1 check digits",
};
pub(super) const RECIPIENT: TextForm = TextForm {
    prefix: "holdfast-recipient-1",
    what: "a recipient",
    check_context: "holdfast recipient v1 check digits",
};
pub(super) const WRITER_KEY: TextForm = TextForm {
    prefix: "holdfast-writer-1",
    what: "a writer key",
    check_context: "holdfast writer key v1 check digits",
};
pub(super) const MASTER_KEY: TextForm = TextForm {
    prefix: "holdfast-master-1",
    what: "a master key",
    check_context: "holdfast master key v1 check digits",
};

impl TextForm {
    pub(super) fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Whether a text begins as this kind of key does, however it was typed.
    pub(super) fn begins(&self, text: &str) -> bool {
        let plain = |text: &str| -> Vec<char> {
            let letters = text.chars().filter(char::is_ascii_alphanumeric);
            letters.take(self.prefix.len()).map(|letter| letter.to_ascii_lowercase()).collect()
        };
        plain(text).starts_with(&plain(self.prefix))
    }

    /// The one-line form, with its line end.
    pub(super) fn write(&self, key: &[u8]) -> String {
        format!("{}-{}-{}\n", self.prefix, hex(key), hex(&self.check(key)))
    }

    /// The printed form without the prefix: eight groups, and the digits that check them all.
    pub(super) fn write_groups(&self, key: &[u8; 32]) -> ([String; 8], String) {
        let group = |number: usize| {
            let bytes = std::array::from_fn(|place| key[4 * number + place]);
            let [high, low] = [hex(&bytes[..2]), hex(&bytes[2..])];
            format!("{high}-{low}-{}", hex(&[check_of_group(number, bytes)]))
        };
        (std::array::from_fn(group), hex(&self.check(key)))
    }

    /// Reads either form.
    pub(super) fn read(&self, text: &str) -> Result<[u8; 32]> {
        let digits = self.digits(text)?;
        if digits.chars().count() < GROUPS_DIGITS {
            return self.line(&digits, ", or 88 as printed in groups");
        }
        let key = self.read_groups(&digits)?;
        self.checked(key, digits.get(GROUPS_DIGITS..))
    }

    /// Reads the one-line form.
    pub(super) fn read_line<const LENGTH: usize>(&self, text: &str) -> Result<[u8; LENGTH]> {
        self.line(&self.digits(text)?, "")
    }

    /// The text's digits as they may be typed, without what is between them.
    fn digits(&self, text: &str) -> Result<Zeroizing<String>> {
        let mut compact = Zeroizing::new(String::with_capacity(text.len()));
        compact.extend(text.chars().filter(|&c| !is_filler(c)).map(|c| c.to_ascii_lowercase()));
        let prefix = self.prefix.replace('-', "");
        let digits = compact.strip_prefix(&prefix).ok_or_else(|| {
            Error::invalid(format!("not {}: it does not start with {}", self.what, self.prefix))
        })?;
        Ok(Zeroizing::new(digits.to_owned()))
    }

    fn line<const LENGTH: usize>(&self, digits: &str, or: &str) -> Result<[u8; LENGTH]> {
        let (wanted, found) = (2 * LENGTH + CHECK_DIGITS, digits.chars().count());
        if found != wanted {
            return Err(Error::invalid(format!(
                "{} has {wanted} digits after {}{or}; here are {found}",
                self.what, self.prefix
            )));
        }
        let key = digits.get(..2 * LENGTH).and_then(bytes_of).ok_or_else(|| {
            Error::invalid(format!("{} has a character that is no hexadecimal digit", self.what))
        })?;
        self.checked(key, digits.get(2 * LENGTH..))
    }

    /// The key, if the last digits fit it.
    fn checked<const LENGTH: usize>(&self, key: [u8; LENGTH], last: Option<&str>) -> Result<[u8; LENGTH]> {
        if last.and_then(bytes_of) == Some(self.check(&key)) {
            return Ok(key);
        }
        Err(Error::invalid(format!(
            "{} has a typing error: its last digits do not fit the others",
            self.what
        )))
    }

    fn read_groups(&self, digits: &str) -> Result<[u8; 32]> {
        let mut key = [0; 32];
        for (number, part) in key.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let start = number * GROUP_DIGITS;
            match digits.get(start..start + GROUP_DIGITS).and_then(bytes_of) {
                Some([a, b, c, d, check]) if check_of_group(number, [a, b, c, d]) == check => {
                    *part = [a, b, c, d];
                }
                _ => {
                    key.zeroize();
                    let group = number + 1;
                    return Err(Error::invalid(format!("{} has a typing error in group {group}", self.what)));
                }
            }
        }
        Ok(key)
    }

    /// Four bytes that catch typing errors and give nothing away that helps to guess the key.
    fn check(&self, key: &[u8]) -> [u8; 4] {
        let digest = blake3::derive_key(self.check_context, key);
        std::array::from_fn(|place| digest[place])
    }
}

/// The group's number takes part, so that groups cannot be swapped.
fn check_of_group(number: usize, [a, b, c, d]: [u8; 4]) -> u8 {
    blake3::derive_key("holdfast v1 check digits of a group", &[number as u8, a, b, c, d])[0]
}

/// White space, and whatever a word processor makes of a dash.
fn is_filler(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly so many bytes in hexadecimal digits. Letters that look like digits and are none in hexadecimal count as those.
fn bytes_of<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'o' => Some(0),
        b'i' | b'l' => Some(1),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; LENGTH];
    if pairs.len() != LENGTH {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
