//! Real components for tests: guests, QEMU, a running site, stores.
//!
//! Nothing here but [`loop_file_system`] needs root, a mount or a loop device, and nothing outlives the value that stands for it.

pub mod agent;
pub mod binary;
pub mod command;
pub mod file_systems;
pub mod guest;
mod json_lines;
pub mod loop_file_system;
pub mod offline;
pub mod packages;
pub mod qemu;
pub mod site;
pub mod sites;
pub mod stores;
pub mod target;
mod transcript;
pub mod workload;
