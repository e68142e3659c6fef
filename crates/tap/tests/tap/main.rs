//! The tap over its sockets: written by NBD clients, asked by its own, shipped to a replica.

#![allow(clippy::unwrap_used)] // what helps tests is a test

mod control;
mod epochs;
mod fixture;
mod holds;
mod process;
mod shipping;
