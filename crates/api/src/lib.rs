//! The API of a site: the types that cross the wire, the paths they cross at, and a client.
//!
//! Wire types are apart from `model`'s, so that either may change without the other. JSON keys are snake_case; sizes are
//! bytes and times RFC 3339 in UTC. Errors are RFC 9457 problem documents with a stable [`Code`].

mod client;
mod hint;
mod problem;
mod site;
mod types;

pub use client::{
    ByteStream, Client, ClientError, ImageQuery, JobEvents, Lines, ShownOverNbd, SnapshotQuery,
};
pub use hint::shell_word;
pub use problem::{Code, Problem};
pub use site::{data_directory_default, socket_path};
pub use types::*;

/// The media type of problem documents, by RFC 9457 §3.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";
