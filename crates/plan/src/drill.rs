//! Drills: tests of a plan that nobody watches, and what is kept of them.
//!
//! A drill is a [`crate::Run`] of the kind test. [`next`] says what an operator would say, until everything is removed again;
//! [`Report::of`] makes of the run what somebody reads who was not there, and compares it with the drill before.

mod build;
mod conduct;
mod difference;
mod durable;
mod html;
mod report;
mod text;

pub use self::{
    build::{Circumstances, Seen},
    conduct::next,
    difference::{Change, ChangeKind, Differences},
    html::html,
    report::{Measure, Part, Report, Screenshot, StepReport, StepResult, StepSort, Verdict, VmReport},
    text::text,
};

#[cfg(test)]
mod tests;
