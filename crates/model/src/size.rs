//! Quantities of bytes, for people and for machines.

use std::{fmt, iter::Sum, ops::Add, str::FromStr};

/// A number of bytes. Shown in IEC units (`3.1 GiB`), serialised as a plain number.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseByteCountError(String);

impl fmt::Display for ParseByteCountError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is not a size: write a number and a unit, as in 512MiB, 20G or 1.5TiB",
            self.0
        )
    }
}

impl std::error::Error for ParseByteCountError {}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for ByteCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = (self.0.max(1).ilog2() / 10) as usize;
        if power == 0 {
            return formatter.pad(&format!("{} B", self.0));
        }
        let value = self.0 as f64 / (1u64 << (10 * power)) as f64;
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        formatter.pad(&format!("{value:.decimals$} {}", UNITS[power]))
    }
}

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    /// Reads IEC units (`KiB`) and their short forms (`K`, `KB` too: powers of 1,024, as qemu-img reads them).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseByteCountError(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim();
        let power = UNITS
            .iter()
            .position(|name| {
                let short = &name[..1];
                unit.eq_ignore_ascii_case(name)
                    || unit.eq_ignore_ascii_case(short)
                    || (name.len() > 1 && unit.eq_ignore_ascii_case(&format!("{short}B")))
            })
            .or(unit.is_empty().then_some(0))
            .ok_or_else(error)?;
        let scale = 1u64 << (10 * power);
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(scale).map(Self).ok_or_else(error);
        }
        let bytes = number.parse::<f64>().map_err(|_| error())? * scale as f64;
        if bytes.is_finite() && (0.0..u64::MAX as f64).contains(&bytes) {
            Ok(Self(bytes as u64))
        } else {
            Err(error())
        }
    }
}

impl Add for ByteCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self(0), Add::add)
    }
}
