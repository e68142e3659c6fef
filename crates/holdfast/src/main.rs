//! The holdfast binary: a command line that is a client of a site's API, and the server of that site.

mod arguments;
mod commands;
mod context;
mod definition_file;
mod document;
mod exit;
mod failure;
mod location;
mod output;
mod render;
mod secret;
mod signals;
mod suggestion;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{arguments::Arguments, exit::Exit};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help_or_error) => {
            // A reader that went away is no reason to fail.
            help_or_error.print().ok();
            return if help_or_error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.exit.into()
        }
    }
}
