//! QEMU as a hypervisor: its monitor (QMP), the guest agent, captures of VMs, and VMs that Holdfast starts itself.

mod agent;
mod at_rest;
mod capture;
mod config;
mod export_server;
pub mod guard;
mod guest;
mod guest_files;
pub mod host;
mod hydrate;
mod hypervisor;
mod inspect;
mod launch;
mod ledger;
mod lines;
mod monitor;
mod names;
mod power;
mod qmp;
mod replication;
mod resting;
mod session;
mod topology;

pub use crate::{
    config::QemuConfig,
    hypervisor::QemuHypervisor,
    resting::{RestingDisks, Taken},
};
