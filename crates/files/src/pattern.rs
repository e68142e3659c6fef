//! Patterns of names.

use crate::{Error, ErrorKind, Result};

/// Longest pattern, in bytes.
const LENGTH_MAX_BYTES: usize = 1024;

/// A pattern that names match as a whole: `*` stands for any bytes, `?` for one, `\` takes the next one literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    AnyBytes,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `Invalid` where it is longer than 1 KiB.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > LENGTH_MAX_BYTES {
            return Err(Error::new(ErrorKind::Invalid, "the pattern is too long"));
        }
        let mut tokens = Vec::new();
        let mut bytes = text.iter();
        while let Some(&byte) = bytes.next() {
            tokens.push(match byte {
                b'*' => Token::AnyBytes,
                b'?' => Token::AnyByte,
                b'\\' => Token::Byte(bytes.next().copied().unwrap_or(b'\\')),
                byte => Token::Byte(byte),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether a name matches. Takes at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        // Where the last star was, and how many bytes it stands for by now: an earlier one never has to give way.
        let (mut token, mut byte, mut star) = (0, 0, None);
        while let Some(&found) = name.get(byte) {
            match self.0.get(token) {
                Some(Token::AnyBytes) => {
                    star = Some((token, byte));
                    token += 1;
                }
                Some(Token::AnyByte) => (token, byte) = (token + 1, byte + 1),
                Some(Token::Byte(wanted)) if *wanted == found => (token, byte) = (token + 1, byte + 1),
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        (token, byte) = (at + 1, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0.get(token..).is_some_and(|rest| rest.iter().all(|token| *token == Token::AnyBytes))
    }
}

#[cfg(test)]
mod tests;
