//! The key on a recovery kit.

/// What the key on every kit starts with.
const PREFIX: &str = "holdfast-key-";

/// The text of the key in what may be a whole page, captions and all: the words from its start on that can be part of it. The
/// text as it is where nothing in it starts as a key does, for the error that tells so.
pub fn key_in(text: &str) -> String {
    let Some(start) = text.to_lowercase().find(PREFIX).filter(|start| text.is_char_boundary(*start)) else {
        return text.to_owned();
    };
    let mut key = String::new();
    for line in text[start..].lines() {
        let mut words = line.split_whitespace().peekable();
        let is_first = key.is_empty();
        let is_of_key =
            |word: &str| word.chars().all(|character| character.is_ascii_hexdigit() || character == '-');
        if is_first {
            key = words.collect::<Vec<_>>().join(" ");
        } else if words.peek().is_some_and(|word| !word.chars().all(|character| character == '-'))
            && words.clone().all(is_of_key)
        {
            key.push(' ');
            key.push_str(&words.collect::<Vec<_>>().join(" "));
        } else if line.trim_start().starts_with("TO RESTORE") {
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests;
