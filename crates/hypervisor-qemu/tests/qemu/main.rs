//! The adapter against real QEMUs without guests. What a guest would write, the test writes through its own monitor.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod capture;
mod chains;
mod consistency;
mod devices;
mod faults;
mod guard;
mod guest_agent;
mod guest_files;
mod machine;
mod managed;
mod recovery;
mod replication;
mod replication_hotplug;
mod resting;
mod silent_image;
mod tap_server;
mod taps_and_captures;
mod tracking;
