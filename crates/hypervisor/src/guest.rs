//! Programs inside a guest.

/// How a program in a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestExit {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i64>,
    /// What it wrote to standard output, then what it wrote to standard error.
    pub output: Vec<u8>,
}
