//! Checking points: whether everything that they refer to can be had.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use image::ByteRange;

use super::{DiskHealth, LISTED_MAX, PointHealth};
use crate::{
    ChunkId, Digest, DiskMap, Error, ErrorKind, PointRecord, Result,
    frame::FrameKind,
    tree::{ChunkRef, Leaf, Located, TreeReader},
    vault::Shared,
};

/// Lost ranges that are listed one by one in all; the rest is only counted.
const RANGES_LISTED_MAX: usize = 100_000;

/// What is remembered of regions and chunks that several points share.
const REMEMBERED_MAX: usize = 500_000;

struct PointCheck<'a> {
    shared: &'a Arc<Shared>,
    /// Packs in which something is wrong: what lies in them is tried, what lies elsewhere was checked.
    suspect: &'a HashSet<Digest>,
    can_read_data: bool,
    intact_leaves: HashSet<ChunkId>,
    tried: HashMap<ChunkId, bool>,
}

/// The health of the points.
pub(crate) async fn check(
    shared: &Arc<Shared>,
    points: &[PointRecord],
    suspect: &HashSet<Digest>,
) -> Result<Vec<PointHealth>> {
    let can_read_data = shared.keys.check_can_read().is_ok();
    let mut check =
        PointCheck { shared, suspect, can_read_data, intact_leaves: HashSet::new(), tried: HashMap::new() };
    let mut healths = Vec::with_capacity(points.len());
    let mut ranges_left = RANGES_LISTED_MAX;
    for point in points {
        let mut hurt = Vec::new();
        for (disk, map) in point.disks() {
            let lost = check.lost_ranges(map, ranges_left.min(LISTED_MAX)).await?;
            if lost.bytes > 0 {
                ranges_left -= lost.ranges.len();
                let name = disk.name.clone();
                hurt.push(DiskHealth { name, lost: lost.ranges, lost_bytes: lost.bytes });
            }
        }
        let summary = &point.summary;
        let (vm_name, captured_at) = (summary.vm_name.clone(), summary.captured_at);
        healths.push(PointHealth { id: summary.id, vm_name, captured_at, hurt });
    }
    Ok(healths)
}

/// The lost parts of a disk, in order.
struct Lost {
    ranges: Vec<ByteRange>,
    ranges_max: usize,
    bytes: u64,
}

impl Lost {
    fn push(&mut self, range: ByteRange) {
        self.bytes += range.length_bytes;
        if let Some(last) = self.ranges.last_mut().filter(|last| last.end_bytes() == range.offset_bytes) {
            last.length_bytes += range.length_bytes;
        } else if self.ranges.len() < self.ranges_max {
            self.ranges.push(range);
        }
    }
}

impl PointCheck<'_> {
    async fn lost_ranges(&mut self, map: &DiskMap, ranges_max: usize) -> Result<Lost> {
        let mut lost = Lost { ranges: Vec::new(), ranges_max, bytes: 0 };
        if let Some(root) = map.root
            && !is_there(self.shared.read_chunk(FrameKind::Tree, root, None).await)?
        {
            lost.push(ByteRange::new(0, map.size_bytes));
            return Ok(lost);
        }
        let tree = TreeReader::new(Arc::clone(self.shared), *map);
        let mut region = 0;
        while region < map.region_count() {
            match tree.locate(region).await {
                Ok(Located::HoleUntil(next)) => {
                    region = next;
                    continue;
                }
                Ok(Located::Leaf(id)) if self.intact_leaves.contains(&id) => {}
                Ok(Located::Leaf(id)) => match tree.load_leaf(region, id).await {
                    Ok(leaf) => self.check_leaf(id, map.region_range(region), &leaf, &mut lost).await?,
                    Err(error) => lost.push(damaged(error, map.region_range(region))?),
                },
                Err(error) => lost.push(damaged(error, map.region_range(region))?),
            }
            region += 1;
        }
        Ok(lost)
    }

    async fn check_leaf(
        &mut self,
        id: ChunkId,
        range: ByteRange,
        leaf: &Leaf,
        lost: &mut Lost,
    ) -> Result<()> {
        let lost_bytes_before = lost.bytes;
        for chunk in &leaf.chunks {
            if !self.can_be_had(chunk).await? {
                let start_bytes = range.offset_bytes + u64::from(chunk.offset_bytes);
                lost.push(ByteRange::new(start_bytes, chunk.length_bytes.into()));
            }
        }
        if lost.bytes == lost_bytes_before && self.intact_leaves.len() < REMEMBERED_MAX {
            self.intact_leaves.insert(id);
        }
        Ok(())
    }

    /// Whether a restore would get this chunk.
    async fn can_be_had(&mut self, chunk: &ChunkRef) -> Result<bool> {
        let (place, frame) = match self.shared.find_chunk(&chunk.id) {
            Err(error) if is_damage(&error) => return Ok(false),
            found => found?,
        };
        if !self.suspect.contains(&frame.pack) {
            return Ok(place.length_bytes == chunk.length_bytes);
        }
        if !self.can_read_data {
            return Ok(false);
        }
        if let Some(&good) = self.tried.get(&chunk.id) {
            return Ok(good);
        }
        let read = self.shared.read_chunk(FrameKind::Data, chunk.id, Some(chunk.length_bytes)).await;
        let good = is_there(read)?;
        if self.tried.len() < REMEMBERED_MAX {
            self.tried.insert(chunk.id, good);
        }
        Ok(good)
    }
}

fn is_there<T>(read: Result<T>) -> Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn damaged(error: Error, range: ByteRange) -> Result<ByteRange> {
    if is_damage(&error) { Ok(range) } else { Err(error) }
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion)
}
