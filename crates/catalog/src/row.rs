//! Rows into values: the one place that knows how the portable column types are read.

use std::fmt::Display;

use model::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, any::AnyRow};

use crate::{Error, ErrorKind, Result};

pub(crate) fn text(row: &AnyRow, column: &str) -> Result<String> {
    row.try_get(column).map_err(|error| unreadable(column, error))
}

pub(crate) fn optional_text(row: &AnyRow, column: &str) -> Result<Option<String>> {
    row.try_get(column).map_err(|error| unreadable(column, error))
}

pub(crate) fn number(row: &AnyRow, column: &str) -> Result<i64> {
    row.try_get(column).map_err(|error| unreadable(column, error))
}

pub(crate) fn optional_number(row: &AnyRow, column: &str) -> Result<Option<i64>> {
    row.try_get(column).map_err(|error| unreadable(column, error))
}

pub(crate) fn parsed<T: std::str::FromStr<Err: Display>>(row: &AnyRow, column: &str) -> Result<T> {
    text(row, column)?.parse().map_err(|error| corrupt(column, error))
}

pub(crate) fn optional_parsed<T: std::str::FromStr<Err: Display>>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>> {
    optional_text(row, column)?.map(|text| text.parse().map_err(|error| corrupt(column, error))).transpose()
}

pub(crate) fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T> {
    serde_json::from_str(&text(row, column)?).map_err(|error| corrupt(column, error))
}

pub(crate) fn optional_json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<Option<T>> {
    let text = optional_text(row, column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| corrupt(column, error))).transpose()
}

pub(crate) fn time(row: &AnyRow, column: &str) -> Result<Timestamp> {
    number(row, column).map(Timestamp::from_microseconds)
}

pub(crate) fn optional_time(row: &AnyRow, column: &str) -> Result<Option<Timestamp>> {
    Ok(optional_number(row, column)?.map(Timestamp::from_microseconds))
}

/// A size is kept as a signed number: beyond 8 EiB it is not a size but damage.
pub(crate) fn size(column: &str, bytes: i64) -> Result<u64> {
    u64::try_from(bytes).map_err(|error| corrupt(column, error))
}

/// A small number.
pub(crate) fn count(row: &AnyRow, column: &str) -> Result<u32> {
    u32::try_from(number(row, column)?).map_err(|error| corrupt(column, error))
}

pub(crate) fn size_column(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(crate) fn json_column(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "writing a document").with_source(error))
}

fn unreadable(column: &str, error: sqlx::Error) -> Error {
    Error::from_database(format!("reading the catalog's column {column}"), error)
}

fn corrupt(column: &str, error: impl Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the catalog's column {column} is damaged: {error}"))
}
