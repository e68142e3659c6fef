//! As much of XML and of URLs as a few requests need.

use std::fmt::Write;

/// The text of the first element of this name that has no attributes and no elements in it.
pub(in crate::location) fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.contains('<'))
}

/// What is between the tags of all elements of this name that have no attributes, and are in none of their kind.
pub(in crate::location) fn elements<'a>(document: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let (_, from_element) = rest.split_once(&start)?;
        let (content, after) = from_element.split_once(&end)?;
        rest = after;
        Some(content)
    })
}

/// Text as it was before it was put into a document.
pub(in crate::location) fn unescaped(text: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&#39;", "'")];
    let plain = entities.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter));
    plain.replace("&amp;", "&")
}

/// A path as S3 signs it: all but unreserved characters and slashes escaped.
pub(super) fn escaped_path(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(escaped).collect();
    parts.join("/")
}

/// A part of a URL as S3 signs it: all but unreserved characters escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}
