//! Measurements, beside their peers and targets, as a table and as JSON.

use std::fmt;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::{Value, json};

/// The table's columns that hold numbers.
const NUMBERS: [usize; 3] = [1, 2, 5];

/// What was measured, in order.
#[derive(Debug, Default)]
pub struct Report {
    measurements: Vec<Measurement>,
}

/// One number, beside that of a peer where there is one.
#[derive(Debug)]
pub struct Measurement {
    metric: String,
    unit: &'static str,
    ours: f64,
    peer: Option<(String, f64)>,
    target: Option<Target>,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// The number is at most this.
    AtMost(f64),
    /// The number is at most this many times the peer's.
    RatioAtMost(f64),
}

impl Measurement {
    /// A number in its unit.
    pub fn new(metric: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Self { metric: metric.into(), unit, ours, peer: None, target: None }
    }

    /// What the same costs by other means, measured in the same run.
    pub fn beside(mut self, name: impl Into<String>, peer: f64) -> Self {
        self.peer = Some((name.into(), peer));
        self
    }

    /// The number may be at most this.
    pub fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    /// The number may be at most this many times the peer's; without a limit it may be anything.
    pub fn ratio_at_most(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.target = limit.into().map(Target::RatioAtMost);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().filter(|(_, peer)| *peer > 0.0).map(|(_, peer)| self.ours / peer)
    }

    /// Whether the target is met; none without a target, or when there is nothing to compare with.
    fn holds(&self) -> Option<bool> {
        match self.target? {
            Target::AtMost(limit) => Some(self.ours <= limit),
            Target::RatioAtMost(limit) => self.ratio().map(|ratio| ratio <= limit),
        }
    }

    fn target_text(&self) -> Option<String> {
        Some(match self.target? {
            Target::AtMost(limit) => format!("<= {} {}", number(limit), self.unit),
            Target::RatioAtMost(limit) => format!("ratio <= {limit}"),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "metric": self.metric,
            "ours": self.ours,
            "peer": self.peer.as_ref().map(|(_, peer)| peer),
            "peer_name": self.peer.as_ref().map(|(name, _)| name),
            "unit": self.unit,
            "ratio": self.ratio(),
            "target": self.target_text(),
            "holds": self.holds(),
        })
    }
}

impl Report {
    /// Adds measurements behind those that are there.
    pub fn extend(&mut self, measurements: impl IntoIterator<Item = Measurement>) {
        self.measurements.extend(measurements);
    }

    /// The measurements as a JSON array.
    pub fn to_json(&self) -> Result<String> {
        let measurements: Vec<_> = self.measurements.iter().map(Measurement::to_json).collect();
        Ok(serde_json::to_string_pretty(&measurements)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["WHAT", "OURS", "PEER", "", "UNIT", "RATIO", "TARGET", ""]);
        for measurement in &self.measurements {
            let (peer_name, peer) = measurement.peer.clone().unzip();
            table.add_row([
                measurement.metric.clone(),
                number(measurement.ours),
                peer.map(number).unwrap_or_default(),
                peer_name.unwrap_or_default(),
                measurement.unit.to_owned(),
                measurement.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                measurement.target_text().unwrap_or_default(),
                measurement.holds().map_or("", |holds| if holds { "holds" } else { "MISSED" }).to_owned(),
            ]);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if NUMBERS.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(formatter, "{}", table.trim_fmt())
    }
}

/// Three significant digits, as far as they are behind the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests;
