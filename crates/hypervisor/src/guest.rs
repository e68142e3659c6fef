//! Programs inside a guest, and what it tells of itself.

use std::net::IpAddr;

/// A program to run inside a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestProgram {
    /// The program and its arguments, handed to no shell.
    pub command: Vec<String>,
    /// Variables beside those that the agent has.
    pub environment: Vec<(String, String)>,
    /// What it reads from standard input.
    pub input: String,
}

impl GuestProgram {
    /// A program that is told nothing but its arguments.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, ..Self::default() }
    }
}

/// How a program in a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestExit {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i64>,
    /// What it wrote to standard output, then what it wrote to standard error.
    pub output: Vec<u8>,
}

/// A network interface as the guest sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestNetwork {
    /// What the guest calls it.
    pub name: String,
    /// Its MAC address, where it has one.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}
