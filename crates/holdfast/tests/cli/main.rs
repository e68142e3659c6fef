//! The command line from the outside: the built program against a site whose answers are scripted, and against
//! its own server.

#![allow(clippy::unwrap_used)] // clippy knows a test's helpers only where they are in a test module

mod data;
mod drills;
mod files;
mod nbd;
mod plans;
mod policies;
mod program;
mod replicas;
mod rescue;
mod runbooks;
mod scripted;
mod secrets;
mod serving;
mod upkeep;
mod usage;
mod views;
mod waiting;
