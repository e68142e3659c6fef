use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::image::{DiskImage, MemoryImage};
use hypervisor::Chain;
use model::{CaptureId, Consistency, DiskName};
use proptest::prelude::*;

use super::{
    bitmaps::{Settlement, usable},
    consistency::after_freeze,
    image::HeldImage,
    scratch_watch::{GivenUp, reserve_bytes},
};
use crate::{
    guard::{Quiescence, Thaw},
    names,
    topology::Bitmap,
};

fn disk_name(name: &str) -> DiskName {
    name.parse().unwrap()
}

/// A sound bitmap of a backup that records.
fn bitmap(disk: &str, capture_id: CaptureId) -> Bitmap {
    bitmap_of(Chain::Backup, disk, capture_id)
}

fn bitmap_of(chain: Chain, disk: &str, capture_id: CaptureId) -> Bitmap {
    let name = names::bitmap(chain, capture_id, &disk_name(disk));
    Bitmap { name, chain, capture_id, recording: true, inconsistent: false }
}

/// What happens to a disk whose changes are tracked.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8),
    Capture(Chain),
    Keep,
    Abandon,
    DieBeforeCommit,
    DieAfterCommit,
}

/// A disk, its bitmaps, and the truth about what was written since each capture.
#[derive(Default)]
struct Disk {
    bitmaps: Vec<(Bitmap, BTreeSet<u8>)>,
    truth: BTreeMap<CaptureId, BTreeSet<u8>>,
}

impl Disk {
    fn write(&mut self, block: u8) {
        self.truth.values_mut().for_each(|written| written.extend([block]));
        let recording = self.bitmaps.iter_mut().filter(|(bitmap, _)| bitmap.recording);
        recording.for_each(|(_, blocks)| blocks.extend([block]));
    }

    fn listed(&self) -> Vec<Bitmap> {
        self.bitmaps.iter().map(|(bitmap, _)| bitmap.clone()).collect()
    }

    fn settle(&mut self, chain: Chain, committed: Option<CaptureId>) {
        let settlement = Settlement::of(&self.listed(), &disk_name("vroot"), chain, committed);
        let retired = |bitmap: &Bitmap| settlement.retired.contains(&bitmap.name);
        if let Some(name) = &settlement.revived {
            let taken: BTreeSet<u8> = self
                .bitmaps
                .iter()
                .filter(|(bitmap, _)| retired(bitmap))
                .flat_map(|(_, blocks)| blocks.clone())
                .collect();
            let (bitmap, blocks) = self.bitmaps.iter_mut().find(|(bitmap, _)| bitmap.name == *name).unwrap();
            bitmap.recording = true;
            blocks.extend(taken);
        }
        self.bitmaps.retain(|(bitmap, _)| !retired(bitmap));
    }

    /// Turns the bitmaps over as a capture's transaction does. Returns what the baseline's bitmap says has changed.
    fn capture(
        &mut self,
        chain: Chain,
        new: CaptureId,
        committed: Option<CaptureId>,
    ) -> Option<BTreeSet<u8>> {
        self.settle(chain, committed);
        let baseline = usable(&self.listed(), &disk_name("vroot"), true, (chain, committed)).ok();
        let changed =
            self.bitmaps.iter_mut().find(|(bitmap, _)| Some(&bitmap.name) == baseline.as_ref()).map(
                |(bitmap, blocks)| {
                    bitmap.recording = false;
                    blocks.clone()
                },
            );
        self.bitmaps.push((bitmap_of(chain, "vroot", new), BTreeSet::new()));
        self.truth.insert(new, BTreeSet::new());
        changed
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Write),
        2 => proptest::sample::select(Chain::ALL.to_vec()).prop_map(Step::Capture),
        1 => Just(Step::Keep),
        1 => Just(Step::Abandon),
        1 => Just(Step::DieBeforeCommit),
        1 => Just(Step::DieAfterCommit),
    ]
}

proptest! {
    /// Whatever happens between captures, the baseline's bitmap names exactly the blocks that were written since the last
    /// committed capture of its chain, and the other chain never matters.
    #[test]
    fn tracking_never_has_a_gap(steps in proptest::collection::vec(step(), 0..60)) {
        let mut disk = Disk::default();
        let mut committed: BTreeMap<Chain, CaptureId> = BTreeMap::new();
        let mut held: Option<(Chain, CaptureId)> = None;
        for (number, step) in steps.into_iter().enumerate() {
            match (step, held) {
                (Step::Write(block), _) => disk.write(block),
                (Step::Capture(chain), _) => {
                    let new = CaptureId::from_random([number as u8; 10]);
                    let baseline = committed.get(&chain).copied();
                    let truth = baseline.and_then(|baseline| disk.truth.get(&baseline).cloned());
                    prop_assert_eq!(disk.capture(chain, new, baseline), truth, "the map is exact");
                    held = Some((chain, new));
                }
                (Step::Keep, Some((chain, new))) => {
                    committed.insert(chain, new);
                    disk.settle(chain, Some(new));
                    held = None;
                }
                (Step::DieAfterCommit, Some((chain, new))) => {
                    committed.insert(chain, new);
                    held = None;
                }
                (Step::Abandon, Some((chain, _))) => {
                    disk.settle(chain, committed.get(&chain).copied());
                    held = None;
                }
                (Step::DieBeforeCommit | Step::Keep | Step::DieAfterCommit | Step::Abandon, _) => held = None,
            }
            prop_assert!(disk.bitmaps.len() <= 6, "bitmaps do not pile up");
        }
    }
}

#[test]
fn a_stopped_bitmap_that_nothing_continues_is_not_trusted() {
    let capture_id = CaptureId::from_random([1; 10]);
    let vroot = disk_name("vroot");
    let bitmap =
        |recording, inconsistent| vec![Bitmap { recording, inconsistent, ..bitmap("vroot", capture_id) }];
    let baseline = (Chain::Backup, Some(capture_id));
    assert!(usable(&bitmap(true, false), &vroot, true, baseline).is_ok());
    assert!(usable(&bitmap(false, false), &vroot, true, baseline).is_err());
    assert!(usable(&bitmap(true, true), &vroot, true, baseline).is_err());
    assert_eq!(Settlement::of(&bitmap(false, false), &vroot, Chain::Backup, Some(capture_id)).revived, None);
}

#[test]
fn a_bitmap_that_came_with_another_disks_image_is_not_trusted_and_goes() {
    let capture_id = CaptureId::from_random([1; 10]);
    let foreign = bitmap("vdata", capture_id);
    assert_eq!(names::capture_of_bitmap(&foreign.name), Some((Chain::Backup, capture_id)));
    let of_snapshot = names::bitmap(Chain::Snapshot, capture_id, &disk_name("a"));
    assert_eq!(names::capture_of_bitmap(&of_snapshot), Some((Chain::Snapshot, capture_id)));
    assert!(
        names::bitmap(Chain::Backup, capture_id, &disk_name("a")).ends_with("-af63dc4c8601ec8c"),
        "FNV-1a, for ever"
    );
    assert!(
        usable(std::slice::from_ref(&foreign), &disk_name("vroot"), true, (Chain::Backup, Some(capture_id)))
            .is_err()
    );
    let committed = Some(capture_id);
    let settlement =
        Settlement::of(std::slice::from_ref(&foreign), &disk_name("vroot"), Chain::Backup, committed);
    assert_eq!((settlement.revived, settlement.retired), (None, vec![foreign.name]));
}

fn thaw(early: Option<&str>, quiescence: Quiescence) -> Thaw {
    Thaw { frozen_us: 1, early: early.map(str::to_owned), quiescence }
}

#[test]
fn no_more_is_claimed_than_was_proven() {
    let unproven = || Quiescence::Unproven { reason: "no hook".to_owned() };
    let reached = |asked, frozen: Result<u64, String>, thaw: Option<Thaw>| {
        let consistency = after_freeze(asked, &frozen, thaw.as_ref());
        assert_eq!(
            consistency.shortfall.is_some(),
            consistency.reached < asked,
            "a shortfall is always explained"
        );
        consistency.reached
    };
    use Consistency::{Application, Crash, FileSystem};
    assert_eq!(reached(Application, Ok(2), Some(thaw(None, Quiescence::Proven))), Application);
    assert_eq!(reached(FileSystem, Ok(2), Some(thaw(None, Quiescence::Proven))), FileSystem);
    assert_eq!(reached(Application, Ok(2), Some(thaw(None, unproven()))), FileSystem);
    assert_eq!(reached(FileSystem, Ok(2), Some(thaw(None, unproven()))), FileSystem);
    assert_eq!(reached(Application, Ok(2), Some(thaw(Some("too late"), Quiescence::Proven))), Crash);
    assert_eq!(reached(Application, Ok(0), Some(thaw(None, Quiescence::Proven))), Crash);
    assert_eq!(reached(FileSystem, Err("no agent".to_owned()), None), Crash);
    assert_eq!(reached(Crash, Err("not asked".to_owned()), None), Crash);
}

#[tokio::test]
async fn a_moment_that_was_given_up_for_space_is_gone_and_says_why() {
    let image = || Arc::new(MemoryImage::new(vec![7; 4096]));
    let given_up = GivenUp::default();
    let held = HeldImage::new(image(), image(), given_up.clone());
    held.read_at(0, &mut [0; 512]).await.unwrap();
    given_up.set();
    let error = held.read_at(0, &mut [0; 512]).await.unwrap_err();
    assert_eq!(error.kind(), ::image::ErrorKind::Gone);
    assert!(error.to_string().contains("nearly full"), "{error}");
}

#[test]
fn the_reserve_suits_small_file_systems_too() {
    assert_eq!(reserve_bytes(4 << 40), 1 << 30);
    assert_eq!(reserve_bytes(20 << 20), 1 << 20);
    assert_eq!(reserve_bytes(0), 0);
}
