//! Standard output carries data and nothing else; standard error carries the rest.

mod listing;

use std::io::{ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Failure,
    render::{Page, Row, Times, printable, table},
    suggestion,
};

pub use listing::Listing;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people.
    Table,
    /// One JSON document, with the API's keys.
    Json,
    /// One JSON document a line; progress too, on standard error.
    Jsonl,
}

/// Standard output.
pub struct Output {
    /// How data is printed.
    pub format: Format,
    /// Whether only ids are printed.
    pub quiet: bool,
    times: Times,
}

impl Output {
    /// Standard output in this format.
    pub fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet, times: Times::local() }
    }

    /// Prints a list. People get told when it is empty.
    pub fn list<T: Row>(&self, items: &[T], when_empty: &str) -> Result<(), Failure> {
        if self.quiet {
            return print_lines(items.iter().map(T::id));
        }
        match self.format {
            Format::Json => print_json(&items),
            Format::Jsonl => print_json_lines(items),
            Format::Table if items.is_empty() => {
                tell(Tone::Plain, when_empty);
                Ok(())
            }
            Format::Table => {
                let rows = items.iter().map(|item| item.cells(&self.times)).collect();
                print(&table::with_header(T::COLUMNS, rows))
            }
        }
    }

    /// Prints a list while it comes in.
    pub fn listing<T: Row>(&self) -> Listing<'_, T> {
        Listing::new(self)
    }

    /// Prints one thing.
    pub fn one<T: Page>(&self, item: &T) -> Result<(), Failure> {
        if self.quiet {
            return print_lines(std::iter::once(item.id()));
        }
        match self.format {
            Format::Json => print_json(item),
            Format::Jsonl => print_json_lines(std::slice::from_ref(item)),
            Format::Table => print(&item.page(&self.times)),
        }
    }
}

/// Writes text to standard output. A reader that has read enough and gone away is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    print_if_read(text).map(drop)
}

/// Writes text to standard output; false when nobody reads it any more.
fn print_if_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Error, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(true),
    }
}

fn print_lines(lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    print(&lines.map(|line| format!("{line}\n")).collect::<String>())
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| not_json(&error))?;
    print(&format!("{text}\n"))
}

fn print_json_lines<T: Serialize>(items: &[T]) -> Result<(), Failure> {
    let lines: Result<Vec<_>, _> = items.iter().map(serde_json::to_string).collect();
    print(
        &lines.map_err(|error| not_json(&error))?.iter().map(|line| format!("{line}\n")).collect::<String>(),
    )
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::new(Exit::Error, format!("cannot write the answer as JSON: {error}"))
}

/// What a line on standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something to know.
    Plain,
    /// Something that should be looked into although the command went on.
    Warning,
    /// Why the command failed.
    Error,
    /// What to do next.
    Hint,
}

/// Tells a line on standard error, in colour where that is wanted.
pub fn tell(tone: Tone, text: &str) {
    let (word, style) = match tone {
        Tone::Plain => ("", Style::new()),
        Tone::Warning => ("warning: ", AnsiColor::Yellow.on_default().bold()),
        Tone::Error => ("error: ", AnsiColor::Red.on_default().bold()),
        Tone::Hint => ("hint: ", AnsiColor::Cyan.on_default().bold()),
    };
    let aimed = (tone == Tone::Hint).then(|| suggestion::aimed(text));
    let text = printable(aimed.as_deref().unwrap_or(text));
    // With standard error closed there is nobody left to tell.
    writeln!(anstream::stderr(), "{style}{word}{style:#}{text}").ok();
}

/// Asks on standard error; the answer follows on the same line.
pub fn ask(question: &str) {
    let mut stderr = anstream::stderr();
    write!(stderr, "{}", printable(question)).and_then(|()| stderr.flush()).ok();
}
