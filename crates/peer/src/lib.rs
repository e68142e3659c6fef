//! What two sites say to one another: who they are, how they become peers, and how disks travel between them.
//!
//! Each site has a certificate authority of its own, and issues itself the one certificate with which it listens and calls
//! ([`SiteIdentity`]). To be paired is to know the other's authority: nothing that another authority has issued is believed,
//! whatever is written in it ([`Authority`]). Authorities are exchanged under a one-time token ([`pairing`]). Disks are sent ([`send`]) and received ([`receive`]) by region, and handed to what makes
//! them the site's own ([`reception`]). Journals are sent in parts and kept as replicas ([`replicas`]), and who keeps one may ask its source to hand the VM over ([`sources`]).
//! Recovery plans are kept at both ([`plans`]), and may have runbooks of the other run
//! ([`runbooks`]).
//!
//! Whatever a peer says is untrusted input: sizes are bounded before anything is allocated, and nothing that it sends can do
//! more than fail.

mod bitmap;
mod client;
mod digest;
mod error;
mod fingerprint;
pub mod hex;
pub mod identity;
pub mod pairing;
pub mod plans;
pub mod receive;
pub mod reception;
mod region;
pub mod replicas;
pub mod runbooks;
pub mod send;
pub mod sources;
mod tls;
pub mod transfer;
mod wire;

pub use client::{Patience, PeerClient};
pub use digest::{Digest, DiskDigest};
pub use error::{Error, ErrorKind, Result};
pub use fingerprint::Fingerprint;
pub use identity::{Authority, SiteIdentity};
pub use region::{REGION_BODY_MAX_BYTES, RegionChange};
pub use tls::{server_config, server_name};
pub use wire::{PROTOCOL, PairAnswer, PairRequest, Statement};
