//! Commands inside hints.

/// The text as one word of a POSIX shell, so that a command in a hint can be pasted.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |character: char| character.is_alphanumeric() || "%+,-./:=@_".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
