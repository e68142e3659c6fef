//! Counting tests by what their runners print.

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that did anything else, but for those that were not run.
    pub failed: u64,
}

impl Count {
    /// What a line of a runner's output adds: nextest's summary, or the result line of one test binary of `cargo test`.
    pub fn of_line(line: &str) -> Self {
        if let Some((start, counts)) = line.split_once("run:")
            && start.trim_start().starts_with("Summary [")
        {
            return Self::of_counts(&without_parentheses(counts), ',');
        }
        if let Some(result) = line.strip_prefix("test result: ")
            && let Some((_, counts)) = result.split_once(". ")
        {
            return Self::of_counts(counts, ';');
        }
        Self::default()
    }

    fn of_counts(counts: &str, separator: char) -> Self {
        let mut count = Self::default();
        for part in counts.split(separator) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match kind {
                "passed" => count.passed += number,
                "skipped" | "ignored" | "measured" | "filtered" => {}
                _ => count.failed += number,
            }
        }
        count
    }
}

/// Nextest says in parentheses what is remarkable about the tests just counted.
fn without_parentheses(counts: &str) -> String {
    counts
        .split('(')
        .enumerate()
        .map(
            |(index, part)| if index == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) },
        )
        .collect()
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests;
