//! From text to a plan.

use serde::de::DeserializeOwned;

use crate::{Finding, Plan, Runbook};

/// The longest document, in bytes.
pub(crate) const TEXT_MAX_BYTES: usize = 1 << 20;

/// How deep a document may go, in YAML.
const DEPTH_MAX: usize = 32;

/// How many anchors, and uses of them, it may have.
const ALIASES_MAX: usize = 100;

/// How a document is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// TOML.
    #[default]
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    /// How a document is written, as its first line shows that says anything: in TOML `=` comes before any `:`, or a table begins.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with('#') && *line != "---";
        let first =
            text.trim_start_matches('\u{feff}').lines().map(str::trim).find(is_said).unwrap_or_default();
        let sign = first.chars().find(|character| matches!(character, '=' | ':'));
        match first.starts_with('[') || sign != Some(':') && !first.starts_with(['{', '%']) {
            true => Self::Toml,
            false => Self::Yaml,
        }
    }

    /// The format in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Yaml => "yaml",
        }
    }
}

/// Reads a document. What it says may still make no sense: see [`crate::validate`].
///
/// # Errors
/// What cannot be read, and where.
pub fn read(text: &str, format: Format) -> Result<Plan, Finding> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(Finding::error("", format!("a plan has at most {TEXT_MAX_BYTES} bytes")));
    }
    from(text, format)
}

/// Reads the document of a runbook, in TOML or YAML. What it says may still make no sense: see [`Runbook::validate`].
///
/// # Errors
/// What cannot be read, and where.
pub fn read_runbook(text: &str) -> Result<Runbook, Finding> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(Finding::error("", format!("a runbook has at most {TEXT_MAX_BYTES} bytes")));
    }
    from(text, Format::of(text))
}

fn from<T: DeserializeOwned>(text: &str, format: Format) -> Result<T, Finding> {
    match format {
        Format::Toml => from_toml(text),
        Format::Yaml => from_yaml(text),
    }
}

/// Aliases and depth are bounded: a short text never becomes a large document.
fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Finding> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
        },
    };
    let mut path = String::new();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| {
        serde_path_to_error::deserialize(document).map_err(|error| {
            path = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let path = if path == "." { String::new() } else { std::mem::take(&mut path) };
        let place = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
        let message = error.to_string();
        let Some(place) = place else { return explained(path, &message, "") };
        let message = message.strip_suffix(&format!(" at {place}")).unwrap_or(&message);
        explained(path, message, &format!("{place}: "))
    })
}

fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Finding> {
    let broken = |error: &toml::de::Error| {
        let place = error.span().map(|span| place(text, span.start));
        Finding::error("", format!("{}{}", place.unwrap_or_default(), error.message()))
    };
    let document = toml::Deserializer::parse(text).map_err(|error| broken(&error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        let place = inner.span().map(|span| place(text, span.start)).unwrap_or_default();
        let path = if path == "." { String::new() } else { path };
        explained(path, inner.message(), &place)
    })
}

/// The line and the column of a byte.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: ")
}

/// Says what a word that is not known was perhaps meant to be.
fn explained(path: String, message: &str, place: &str) -> Finding {
    let finding = Finding::error(path, format!("{place}{message}"));
    let is_unknown = message.contains("unknown field") || message.contains("unknown variant");
    let Some((wrong, known)) = message.split_once(", expected ").filter(|_| is_unknown) else {
        return finding;
    };
    let Some(wrong) = wrong.split('`').nth(1) else { return finding };
    let known = known.trim_start_matches("one of ").split(", ").flat_map(|words| words.split(" or "));
    let nearest = known.map(|word| word.trim_matches('`')).min_by_key(|word| distance(wrong, word));
    match nearest.filter(|word| distance(wrong, word) <= wrong.len().div_ceil(2)) {
        Some(word) => finding.with_hint(format!("did you mean {word}?")),
        None => finding,
    }
}

/// How many characters have to be changed, put in or taken out to make one word the other. Long words are cut.
fn distance(from: &str, to: &str) -> usize {
    const LONGEST_CHARS: usize = 64;
    let to: Vec<char> = to.chars().take(LONGEST_CHARS).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, character) in from.chars().take(LONGEST_CHARS).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = corner + usize::from(character != *other);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
