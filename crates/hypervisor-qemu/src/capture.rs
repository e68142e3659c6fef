//! Captures: a VM held at one moment.
//!
//! The way of a capture through this folder:
//! - [`plan`] looks at the disks and decides how each is held and read, or why it cannot be;
//! - [`hold`] puts filters and scratch in place without touching the guest;
//! - [`moment`] freezes, pauses, slips the filters in, turns the bitmaps over, resumes and thaws, under a [`crate::guard`];
//! - [`export`] shows the held moment as images, [`image`] is one;
//! - [`running`] is the capture that the caller holds, and its end; [`scratch_watch`] ends it early when space runs short;
//! - [`dismantle`] takes everything down again, found by name alone, so that the normal end, an error and the clean-up after
//!   a crash are one and the same path; [`bitmaps`] settles change tracking; [`recover`] puts them together;
//! - [`stopped`] holds a VM that does not run.

mod bitmaps;
mod consistency;
mod dismantle;
mod export;
mod hold;
mod image;
mod latency;
mod moment;
mod plan;
mod recover;
mod running;
mod scratch_watch;
mod stopped;

use std::sync::Arc;

use hypervisor::{Capture, CaptureRequest, Result};

use crate::{config::QemuConfig, monitor::Monitors, session::Session};

pub(crate) use dismantle::{cancel_jobs, remove_exports, remove_nodes};
pub(crate) use plan::{can_mount, iothread_kills, refuse_foreign_jobs};
pub(crate) use recover::{free, recover};
pub(crate) use stopped::{bitmaps_of, of_image, place};

/// Captures a VM, running or not; see [`hypervisor::Hypervisor::capture`].
pub(crate) async fn capture(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    request: CaptureRequest,
) -> Result<Box<dyn Capture>> {
    match Session::open(config, monitors, &request.vm).await? {
        Some(session) => running::capture(session, request).await,
        None => stopped::capture(config, request).await,
    }
}

#[cfg(test)]
mod tests;
