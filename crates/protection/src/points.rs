//! Finding recovery points.

use hypervisor::Baseline;
use model::{PointSelector, PointSummary, VmId};

use crate::{Error, ErrorKind, Result};

/// The newest of a VM's points.
pub(crate) fn latest(points: &[PointSummary], vm_id: VmId) -> Option<&PointSummary> {
    points.iter().filter(|point| point.vm_id == vm_id).max_by_key(|point| (point.captured_at, point.id))
}

/// The captures whose dirty bitmaps are to be trusted: that of the VM's newest point. There is no other record of it.
#[must_use]
pub fn latest_baseline(points: &[PointSummary], vm_id: VmId) -> Baseline {
    let latest = latest(points, vm_id).into_iter();
    latest.flat_map(|point| point.disks.iter().map(|disk| (disk.name.clone(), point.capture_id))).collect()
}

/// The one of these points that a selector names. The points are those of one VM, under whatever ids it was known.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, or when the start of an id fits several.
pub fn select_point<'a>(points: &'a [PointSummary], selector: &PointSelector) -> Result<&'a PointSummary> {
    let age = |point: &&PointSummary| (point.captured_at, point.id);
    let found = match selector {
        PointSelector::Latest => points.iter().max_by_key(age),
        PointSelector::At(moment) => {
            points.iter().filter(|point| point.captured_at <= *moment).max_by_key(age)
        }
        PointSelector::IdPrefix(prefix) => {
            let fitting: Vec<_> =
                points.iter().filter(|point| point.id.as_str().starts_with(prefix.as_str())).collect();
            if fitting.len() > 1 {
                let ids: Vec<_> = fitting.iter().map(|point| point.id.as_str()).collect();
                let context = format!("{prefix} is the start of {} points: {}", ids.len(), ids.join(", "));
                return Err(Error::new(ErrorKind::NotFound, context).with_guidance("write more of the id"));
            }
            fitting.first().copied()
        }
    };
    found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("the VM has no recovery point {selector}"))
            .with_guidance("see what there is with: holdfast point list")
    })
}
