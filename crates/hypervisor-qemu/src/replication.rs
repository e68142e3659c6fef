//! Replication: every write of a running guest is handed to a journal before the guest is told that it is done.
//!
//! A mirror that copies nothing (`sync=none`) and blocks writes (`copy-mode=write-blocking`) hands each write of a disk to an
//! NBD server on this host, after the disk has it and before the guest is told. So the order in which the server is told of
//! writes is one in which the guest could have lost its power at any place.
//!
//! The way of a tap through this folder:
//! - [`plan`] looks at the disks and says what cannot be tapped, and why not now;
//! - [`mirrors`] puts the mirrors in place, or finds those that run already, and takes them down;
//! - [`epochs`] counts what was written when in dirty bitmaps: what a journal may have missed is in those of some epochs;
//! - [`reading`] shows the live disks and what was missed;
//! - [`standstill`] takes a broken mirror down, which QEMU survives only while nothing is in flight;
//! - [`watch`] says when writes may be missing; [`tap`] is what the caller holds; [`quiesce`] freezes a guest.
//!
//! In this order: the mirrors take everything, then a transaction begins the next epoch, then what was missed is computed from
//! the epochs before it. A write is taken by the mirrors, or in a bitmap, or both.

mod epochs;
mod mirrors;
mod plan;
mod quiesce;
mod reading;
mod standstill;
mod tap;
mod watch;

use std::sync::Arc;

use hypervisor::{Error, ErrorKind, Result, Tap, TapRequest, VmAccess};
use image_formats::{Usage, bitmap};
use model::{DiskFormat, JournalId};

use crate::{
    capture, config::QemuConfig, inspect::known_definition, monitor::Monitors, names, session::Session,
};

pub(crate) use quiesce::quiesce;

/// Taps a VM; see [`hypervisor::Hypervisor::begin_tap`].
pub(crate) async fn begin(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    request: &TapRequest,
) -> Result<Box<dyn Tap>> {
    let vm = &request.vm;
    let stopped = || Error::new(ErrorKind::Gone, format!("the VM {} does not run", vm.name));
    let session = Session::open(config, monitors, vm).await?.ok_or_else(stopped)?;
    let _turn = session.monitor.turn().await;
    plan::refuse_others(&session, request).await?;
    match mirrors::cutting_if_hung(&session.monitor, tap::begin(&session, request)).await {
        Ok(tap) => Ok(Box::new(tap)),
        Err(error) => {
            if error.kind() != ErrorKind::Gone
                && let Err(second) = mirrors::take_down(&session).await
            {
                tracing::warn!(error = %second, vm = %vm.name, "cleaning up after a failed tap failed too");
            }
            Err(error)
        }
    }
}

/// Removes a journal's taps; see [`hypervisor::Hypervisor::end_tap`].
pub(crate) async fn end(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
    journal_id: JournalId,
) -> Result<()> {
    match Session::open(config, monitors, vm).await? {
        Some(session) => {
            let _turn = session.monitor.turn().await;
            take_down_of(&session, journal_id).await?;
            epochs::forget(&session.monitor, journal_id).await
        }
        None => {
            forget_at_rest(vm, journal_id).await;
            Ok(())
        }
    }
}

/// Takes a journal's taps out, and goes on tracking; see [`hypervisor::Hypervisor::release_tap`].
pub(crate) async fn release(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
    journal_id: JournalId,
) -> Result<()> {
    let Some(session) = Session::open(config, monitors, vm).await? else { return Ok(()) };
    let _turn = session.monitor.turn().await;
    take_down_of(&session, journal_id).await
}

/// Takes the taps of a VM down, unless they are another journal's.
async fn take_down_of(session: &Session, journal_id: JournalId) -> Result<()> {
    match mirrors::journals(&session.monitor).await?.iter().all(|found| *found == journal_id) {
        true => mirrors::take_down(session).await,
        false => Ok(()),
    }
}

/// Removes a journal's bitmaps from the images of a stopped VM. One that cannot be opened keeps them: they say nothing to
/// another journal.
async fn forget_at_rest(vm: &VmAccess, journal_id: JournalId) {
    for disk in known_definition(vm).into_iter().flat_map(|definition| &definition.disks) {
        let Ok((path, DiskFormat::Qcow2)) = capture::place(disk) else { continue };
        let removed = async {
            let known = image_formats::info(path, DiskFormat::Qcow2, Usage::AtRest).await?;
            for found in
                known.bitmaps.iter().filter(|found| names::journal_of(&found.name) == Some(journal_id))
            {
                bitmap::remove(path, &found.name).await?;
            }
            image_formats::Result::Ok(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, disk = %disk.name, "the bitmaps of a replication are left in an image");
        }
    }
}
