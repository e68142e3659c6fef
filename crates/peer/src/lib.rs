//! What two sites say to one another: who they are, how they become peers, and how disks travel between them.
//!
//! Each site has a certificate authority of its own, and issues itself the one certificate with which it listens and calls
//! ([`SiteIdentity`]). To be paired is to know the other's authority: nothing that another authority has issued is believed,
//! whatever is written in it ([`Authority`]). Authorities are exchanged under a one-time token ([`pairing`]).
//!
//! Whatever a peer says is untrusted input: sizes are bounded before anything is allocated, and nothing that it sends can do
//! more than fail.

mod client;
mod digest;
mod error;
mod fingerprint;
mod hex;
pub mod identity;
pub mod pairing;
mod tls;
mod wire;

pub use client::{Patience, PeerClient};
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use fingerprint::Fingerprint;
pub use identity::{Authority, SiteIdentity};
pub use tls::{server_config, server_name};
pub use wire::{PROTOCOL, PairAnswer, PairRequest, Statement};
