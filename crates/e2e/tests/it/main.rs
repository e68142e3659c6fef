//! What users do and what befalls them, end to end: the real `holdfast` binary, real QEMU, real guests.
//!
//! Each test runs at most one QEMU at a time, so that the test runner's number of threads limits their number. To run some of
//! them alone: `cargo nextest run -p e2e story`.

mod agent;
mod boot;
mod disks;
mod drill;
mod external;
mod failover;
mod faults;
mod files;
mod fixture;
mod groups;
mod in_place;
mod intervals;
mod killed;
mod moments;
mod mount;
mod names;
mod new_disks;
mod plans;
mod point_test;
mod replication;
mod restore;
mod small_file_system;
mod snapshot_policy;
mod snapshot_sites;
mod snapshot_sources;
mod snapshots;
mod story;
mod vault;
