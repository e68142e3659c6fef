//! What an action tells those after it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// Variables that one action may set.
pub const VARIABLES_MAX: usize = 64;

/// The longest value of a variable.
pub const VARIABLE_BYTES_MAX: usize = 4 << 10;

#[derive(Deserialize)]
struct Said {
    variables: BTreeMap<String, Value>,
}

/// The variables that an action sets for later ones: its last line is a JSON object whose `variables` is an object of names and texts,
/// numbers or truth values. Any other last line sets none.
///
/// # Errors
/// [`ErrorKind::BadResult`] when it means to set some and cannot: a name that is no name, a value of another kind, too many or too long.
pub fn variables(last_line: &str) -> Result<BTreeMap<String, String>> {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(last_line.trim()) else {
        return Ok(BTreeMap::new());
    };
    if !object.contains_key("variables") {
        return Ok(BTreeMap::new());
    }
    let bad = |why: String| {
        Error::new(ErrorKind::BadResult, why).with_guidance(
            "print as the last line, for example, {\"variables\": {\"address\": \"10.1.2.3\"}}",
        )
    };
    let said: Said = serde_json::from_value(Value::Object(object))
        .map_err(|error| bad("the variables are no object".to_owned()).with_source(error))?;
    if said.variables.len() > VARIABLES_MAX {
        return Err(bad(format!("an action sets at most {VARIABLES_MAX} variables")));
    }
    let set = said.variables.into_iter().map(|(name, value)| {
        if !is_name(&name) {
            return Err(bad(format!(
                "{name:?} is no name: letters, digits and _, 64 at most, no digit first"
            )));
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => {
                return Err(bad(format!(
                    "the value of {name} is neither text, nor a number, nor a truth value"
                )));
            }
        };
        if value.len() > VARIABLE_BYTES_MAX || value.contains('\0') {
            return Err(bad(format!(
                "the value of {name} has more than {VARIABLE_BYTES_MAX} bytes, or a zero byte"
            )));
        }
        Ok((name, value))
    });
    set.collect()
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::variables;

    #[test]
    fn variables_are_in_the_last_line() {
        let set =
            variables(r#" {"variables": {"address": "10.1.2.3", "port": 80, "is_new": true}} "#).unwrap();
        assert_eq!(set["address"], "10.1.2.3");
        assert_eq!((set["port"].as_str(), set["is_new"].as_str()), ("80", "true"));
    }

    #[test]
    fn another_line_sets_none() {
        for line in ["", "done", "[1, 2]", r#"{"status": "ok"}"#, "{\"variables\": {"] {
            assert!(variables(line).unwrap().is_empty(), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let long = format!(r#"{{"variables": {{"a": "{}"}}}}"#, "x".repeat(5000));
        let many: Vec<_> = (0..65).map(|n| format!("\"a{n}\": 1")).collect();
        let many = format!("{{\"variables\": {{{}}}}}", many.join(","));
        for line in [
            r#"{"variables": 1}"#,
            r#"{"variables": {"1a": "x"}}"#,
            r#"{"variables": {"a b": "x"}}"#,
            r#"{"variables": {"a": ["x"]}}"#,
            r#"{"variables": {"a": null}}"#,
            &long,
            &many,
        ] {
            assert!(variables(line).is_err(), "{line}");
        }
    }
}
