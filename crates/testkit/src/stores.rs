//! Servers in which a vault can be: S3, Azure Blob, SFTP. Real programs, on this host's loopback, each with nothing in it.
//!
//! The programs are installed into Cargo's target directory by the first test that needs them.

mod azure;
mod install;
mod s3;
mod server;
mod ssh;

pub use azure::AzureServer;
pub use s3::S3Server;
pub use ssh::SshServer;
