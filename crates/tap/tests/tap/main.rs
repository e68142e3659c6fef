//! The tap over its sockets: written by NBD clients, asked by its own, shipped to a replica.

mod control;
mod epochs;
mod fixture;
mod holds;
mod process;
mod shipping;
