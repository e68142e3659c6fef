//! Recovery plans: an application of many VMs comes up at the other site, in order, with what has to be done between.
//!
//! A [`Plan`] is a document that somebody writes. [`Run::begin`] lays it out as waves of steps, and the [`Run`] is the machine that
//! decides which step begins when: events go in, actions come out, and the whole of it is one serialisable value.
//!
//! ```text
//! run ──► waves, one after the other ──► lanes, side by side ──► steps, one after the other
//! ```
//!
//! # Invariants
//!
//! 1. A step begins only when all steps of the waves before it, and those before it in its lane, are settled.
//! 2. Whoever carries out the actions keeps the run durably before the first of them. So whatever becomes of a server, the run knows
//!    every step that may have begun.
//! 3. A step that may have done its work is not done again by itself, unless it is one that may be repeated.
//! 4. A run that waits says what for. There is a command that brings it on from every standing, and one that ends it.
//! 5. A planned failover stops no VM before its checks are settled, and brings none up before all have ended and given all they wrote.
//!
//! This crate does no I/O, takes no time, and knows no hypervisor, no journal and no network.

mod context;
mod difference;
mod document;
pub mod drill;
mod finding;
mod kept;
mod read;
mod run;
mod runbook;
mod validate;

pub use context::{ENVIRONMENT, Site, Sites, context, environment};
pub use difference::dropped;
pub use document::{
    Action, Ansible, Attachment, FailbackOrder, Gate, Group, GuestCommand, HostScript, HttpCall, HttpGate,
    Manual, Network, OnFailure, Plan, RunbookCall, TcpGate, Vm, Where, Work as ActionWork,
};
pub use finding::{Finding, Severity};
pub use kept::DecodeError;
pub use read::{Format, read, read_runbook};
pub use run::{
    Act, Attempt, Begin, Command, Direction, Event, Kind, Lane, Outcome, Output, Refusal, Run, Standing,
    Step, StepId, StepState, Told, VmFacts, Wave, Wish, Work,
};
pub use runbook::{Parameter, Runbook};
pub use validate::validate;

#[cfg(test)]
mod tests;
