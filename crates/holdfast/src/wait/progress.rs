//! How far a job is, on standard error.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use api::JobView;
use indicatif::{ProgressBar, ProgressStyle};
use model::JobState;
use serde::Serialize;

use crate::{
    output::{Format, Output, Tone, tell},
    render,
};

/// The least time between two lines about the same phase.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The way in which progress is shown.
pub enum Progress {
    /// Not at all.
    Silent,
    /// A bar that moves, on a terminal.
    Bar(Bar),
    /// A line now and then.
    Lines(Lines),
    /// A JSON document a line.
    JsonLines,
}

impl Progress {
    /// The way that suits what is asked for and what standard error is.
    pub fn new(output: &Output) -> Self {
        if output.quiet {
            Self::Silent
        } else if output.format == Format::Jsonl {
            Self::JsonLines
        } else if std::io::stderr().is_terminal() {
            Self::Bar(Bar::new())
        } else {
            Self::Lines(Lines::default())
        }
    }

    /// Shows the job's state.
    pub fn observe(&mut self, job: &JobView) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => bar.observe(job),
            Self::Lines(lines) => {
                if let Some(line) = lines.line(job, Instant::now()) {
                    tell(Tone::Plain, &line);
                }
            }
            Self::JsonLines => {
                if let Ok(line) = serde_json::to_string(&ProgressLine::of(job)) {
                    tell(Tone::Plain, &line);
                }
            }
        }
    }

    /// Clears what must not stay on the screen.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.bar.finish_and_clear();
        }
    }
}

/// How much of something is sent.
pub struct TransferProgress {
    bar: Option<ProgressBar>,
}

impl TransferProgress {
    /// A bar on a terminal; elsewhere nothing is shown.
    pub fn new(output: &Output, what: &'static str, total_bytes: u64) -> Self {
        let is_shown = !output.quiet && output.format != Format::Jsonl && std::io::stderr().is_terminal();
        let bar = is_shown.then(|| {
            let bar = ProgressBar::new(total_bytes);
            let template =
                "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.with_message(what)
        });
        Self { bar }
    }

    /// So many more bytes are dealt with.
    pub fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Clears what must not stay on the screen.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar of one phase.
pub struct Bar {
    bar: ProgressBar,
    phase: String,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, phase: String::new() }
    }

    fn observe(&mut self, job: &JobView) {
        let progress = &job.progress;
        if self.phase != progress.phase {
            self.phase.clone_from(&progress.phase);
            self.bar.reset();
        }
        let template = match (progress.total_bytes, progress.done_bytes) {
            (Some(_), _) => {
                "{spinner} {msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
            }
            (None, 0) => "{spinner} {msg} {elapsed}",
            (None, _) => "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        let phase = if progress.phase.is_empty() { job.state.as_str() } else { &progress.phase };
        self.bar.set_message(render::printable(&format!("{}: {phase}", job.kind)));
        match progress.total_bytes {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(progress.done_bytes);
    }
}

/// Lines: one for each phase, and one now and then while a phase lasts.
#[derive(Default)]
pub struct Lines {
    last: Option<(JobState, String, Instant)>,
}

impl Lines {
    /// The line to print about this state of the job, if any.
    pub fn line(&mut self, job: &JobView, now: Instant) -> Option<String> {
        let is_news = match &self.last {
            None => true,
            Some((state, phase, at)) => {
                *state != job.state
                    || *phase != job.progress.phase
                    || now.saturating_duration_since(*at) >= LINE_INTERVAL
            }
        };
        if !is_news {
            return None;
        }
        self.last = Some((job.state, job.progress.phase.clone(), now));
        let what = if job.state.is_final() { job.state.to_string() } else { render::progress(job) };
        Some(format!("{} of {}: {what}", job.kind, job.subject))
    }
}

/// Progress for programs. More keys may come.
#[derive(Serialize)]
struct ProgressLine<'a> {
    r#type: &'static str,
    job_id: String,
    state: JobState,
    phase: &'a str,
    done_bytes: u64,
    total_bytes: Option<u64>,
}

impl<'a> ProgressLine<'a> {
    fn of(job: &'a JobView) -> Self {
        Self {
            r#type: "progress",
            job_id: job.id.to_string(),
            state: job.state,
            phase: &job.progress.phase,
            done_bytes: job.progress.done_bytes,
            total_bytes: job.progress.total_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
