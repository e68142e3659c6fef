//! Completion scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{arguments::Arguments, failure::Failure, output};

/// Writes a completion script.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  holdfast completion bash > /etc/bash_completion.d/holdfast")]
pub struct Completion {
    /// The shell.
    shell: Shell,
}

impl Completion {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "holdfast", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
