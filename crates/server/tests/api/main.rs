//! The server through its public surface: a real socket, the real client, real vaults, and a hypervisor in memory.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

mod copies;
mod deletion;
mod images;
mod in_place;
mod jobs;
mod keys;
mod points;
mod policies;
mod problems;
mod restart;
mod scripted;
mod server;
mod site;
mod sites;
mod snapshot_policies;
mod snapshots;
mod story;
mod vaults;
mod vms;
