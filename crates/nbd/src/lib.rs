//! NBD: the protocol's codec, and a client and a server whose exports are images and targets.
//!
//! [`codec`] turns messages into bytes and back, for both sides, and does no input or output. [`Client`] is one connection
//! with many requests in flight. [`NbdImage`] reads an export over several connections, [`NbdTarget`] writes one. [`Server`]
//! shows images to any client, read-only, and lets clients write to targets, which they cannot read.
//!
//! Errors of an export, as [`image::ErrorKind`]:
//! - `Gone`: the connection is lost, the server says nothing for two minutes while requests wait (for half an hour while a
//!   flush does), the server shuts down, the export does not exist, or a well-formed read was answered
//!   with `EINVAL`, which is how QEMU says that the snapshot behind an export is broken;
//! - `NoSpace`: the server's disk is full;
//! - `Io`: any other error that the server reports about one request; the connection stays usable;
//! - `Protocol`: the server broke the protocol or lacks what is needed; the connection is closed.

mod changes;
mod client;
pub mod codec;
mod connections;
mod endpoint;
mod image;
mod server;
mod target;

pub use client::{Client, Export};
pub use endpoint::{Endpoint, list};
pub use image::NbdImage;
pub use server::{Exports, Server, TargetPerClient, Tls};
pub use target::NbdTarget;

/// The metadata context that tells data from zeros.
pub const BASE_ALLOCATION: &str = "base:allocation";

/// The metadata context of one of QEMU's dirty bitmaps.
#[must_use]
pub fn dirty_bitmap_context(bitmap: &str) -> String {
    format!("qemu:dirty-bitmap:{bitmap}")
}
