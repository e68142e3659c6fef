//! The QEMU Machine Protocol: a client that survives whatever a newer or older QEMU says.
//!
//! Answers stay untyped JSON: QEMU's schemas change from version to version, and a client that insists on every field
//! fails on the versions that people run. Callers take what they need and treat the rest as absent.

mod connection;
mod error;
mod schema;

pub(crate) use connection::{Event, Qmp, Version};
pub(crate) use error::{Error, ErrorKind, Result};
pub(crate) use schema::Capabilities;

#[cfg(test)]
mod tests;
