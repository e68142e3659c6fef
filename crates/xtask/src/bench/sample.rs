//! Repeated measurements of one thing.

use std::time::Duration;

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Time that went by.
    pub wall: Duration,
    /// Processor time of all processes that took part, in seconds.
    pub cpu_seconds: f64,
}

/// Runs of the same work.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Adds a run.
    pub fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// The median of the time that went by, in seconds.
    pub fn wall_seconds(&self) -> f64 {
        median(self.0.iter().map(|sample| sample.wall.as_secs_f64()))
    }

    /// The median of the processor time, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        median(self.0.iter().map(|sample| sample.cpu_seconds))
    }
}

/// The median; of an even number of values the greater one in the middle, of none 0.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
