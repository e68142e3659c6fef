//! Repeated measurements of one thing.

use std::time::Duration;

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Time that went by.
    pub wall: Duration,
    /// Processor time of all processes that took part, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process which did the work had in use, in MiB.
    pub peak_memory_mib: f64,
}

impl Sample {
    /// One run that continues another.
    pub fn then(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_memory_mib: self.peak_memory_mib.max(next.peak_memory_mib),
        }
    }
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

    /// The most memory that any run used, in MiB.
    pub fn peak_memory_mib(&self) -> f64 {
        self.0.iter().map(|sample| sample.peak_memory_mib).fold(0.0, f64::max)
    }
}

/// The median; of an even number of values the greater one in the middle, of none 0.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
