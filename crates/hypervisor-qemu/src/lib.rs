//! QEMU as a hypervisor: its monitor (QMP), the guest agent, captures of VMs, and VMs that Holdfast starts itself.
mod agent;
mod config;
pub mod guard;
mod launch;
mod ledger;
mod lines;
mod monitor;
mod names;
mod power;
mod qmp;
mod topology;
pub use config::QemuConfig;
