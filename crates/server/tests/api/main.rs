//! The server through its public surface: a real socket, the real client, real vaults, and a hypervisor in memory.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

mod copies;
mod deletion;
mod disks;
mod guest_files;
mod images;
mod in_place;
mod jobs;
mod keys;
mod points;
mod policies;
mod problems;
mod replicas;
mod restart;
mod reverts;
mod scripted;
mod server;
mod site;
mod sites;
mod snapshot_policies;
mod snapshot_store;
mod snapshots;
mod story;
mod uploads;
mod vaults;
mod vms;
