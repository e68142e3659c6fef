//! The guest agent (`qemu-ga`): a program inside the guest that answers over a serial channel, one client at a time.
//!
//! Nothing it says is trusted: lines are bounded, every command has a time limit, and a command that ran out of time
//! ends the connection, because its late answer could be taken for that of the next one.

mod base64;
mod connection;
mod error;
mod exec;
mod file;
mod freeze;
mod networks;

pub(crate) use connection::Agent;
pub(crate) use error::{Error, ErrorKind, Result};
pub(crate) use file::OpenFile;
pub(crate) use freeze::FreezeState;

#[cfg(test)]
mod tests;
