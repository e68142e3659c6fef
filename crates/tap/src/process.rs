//! What the process does.

use std::{ffi::OsString, process::ExitCode};

use crate::{Client, Error, Result, TapOptions};

/// Runs a tap: the body of the program's hidden subcommand. The options come on standard input, in JSON.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let _ = arguments;
    ExitCode::FAILURE
}

/// A tap within this process, for tests of others: no watchdog, no process of its own. It ends when this is dropped.
pub struct Serving {
    client: Client,
}

impl Serving {
    /// Its client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Runs a tap within this process.
///
/// # Errors
/// As [`crate::launch`].
pub async fn serve(options: TapOptions) -> Result<Serving> {
    options.check()?;
    Err(Error::invalid("not yet"))
}
