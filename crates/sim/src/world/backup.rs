//! A backup, as the product makes it.

use std::sync::Arc;

use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary,
};
use vault::{DiskSource, ErrorKind, Monitor, PointRecord, Result, StoredDisk, Writer};

use super::{change, server::Work};
use crate::{
    disk::{Content, SimImage},
    model::PointFacts,
};

/// Tries of one backup when its ground is taken away.
const TRIES: u32 = 3;

impl Work<'_> {
    /// Changes a VM and backs it up.
    pub(super) async fn back_up(&self) {
        let id = PointId::from_random(self.dice.bytes());
        let (vm, disks) = self.capture(id);
        for attempt in 0..TRIES {
            match self.try_back_up(id, vm, &disks, attempt).await {
                Ok(()) => {
                    if let Some(facts) = self.world.model().points.get_mut(&id) {
                        facts.is_committed = true;
                    }
                    return self.note(format!("committed {id}"));
                }
                Err(error) => {
                    self.note(format!("backup {id} failed: {error}"));
                    if !matches!(error.kind(), ErrorKind::Overtaken | ErrorKind::Corrupt) {
                        return;
                    }
                }
            }
        }
    }

    /// What a VM holds now, on record as what the point will hold.
    fn capture(&self, id: PointId) -> (usize, Vec<Arc<Content>>) {
        let mut model = self.world.model();
        let number = self.dice.number(0..model.vms.len() as u64) as usize;
        for disk in &mut model.vms[number].disks {
            let writes = if self.dice.chance(100) { 40 } else { self.dice.number(0..12) };
            change(disk, &self.dice, writes);
        }
        let disks: Vec<_> = model.vms[number].disks.iter().cloned().map(Arc::new).collect();
        let facts = PointFacts {
            vm: number,
            disks: disks.clone(),
            maps: Vec::new(),
            is_committed: false,
            delete_tried_at: None,
            is_held: false,
            release_tried: false,
        };
        model.points.insert(id, facts);
        (number, disks)
    }

    async fn try_back_up(&self, id: PointId, vm: usize, disks: &[Arc<Content>], attempt: u32) -> Result<()> {
        let parent = if self.dice.chance(750) { self.parent_of(vm).await? } else { None };
        let with_changes = attempt == 0 && self.dice.chance(750);
        let mut writer = self.vault.writer().await?;
        let mut stored = Vec::new();
        for (number, content) in disks.iter().enumerate() {
            let parent = parent.as_ref().and_then(|(record, contents)| {
                Some((*record.maps.get(number)?, Arc::clone(contents.get(number)?)))
            });
            let source = self.source(&writer, content, parent, with_changes).await?;
            stored.push(writer.store_disk(source, &Monitor::default()).await?);
        }
        let record = self.record(id, vm, parent.map(|(record, _)| record.summary.id), &stored);
        let maps = record.maps.clone();
        self.world.model().change(&[id], |facts| facts.maps.clone_from(&maps));
        writer.commit(record).await.map(|_| ())
    }

    async fn source(
        &self,
        writer: &Writer,
        content: &Arc<Content>,
        parent: Option<(vault::DiskMap, Arc<Content>)>,
        with_changes: bool,
    ) -> Result<DiskSource> {
        let image = Arc::new(SimImage::new(content, self.process));
        let mut source = DiskSource { image, parent: parent.as_ref().map(|(map, _)| *map), changes: None };
        if let Some((map, earlier)) = parent
            && with_changes
            && writer.is_whole(&map).await?
        {
            source.changes = Some(Arc::new(content.changes_since(&earlier)));
        }
        Ok(source)
    }

    /// The newest point of a VM, and what its disks hold.
    async fn parent_of(&self, vm: usize) -> Result<Option<(PointRecord, Vec<Arc<Content>>)>> {
        let listed = self.vault.points().await?;
        let model = self.world.model();
        let known = listed.points.into_iter().rev().filter_map(|record| {
            let facts = model.points.get(&record.summary.id).filter(|facts| facts.vm == vm)?;
            Some((record, facts.disks.clone()))
        });
        Ok(known.into_iter().next())
    }

    fn record(&self, id: PointId, vm: usize, parent: Option<PointId>, stored: &[StoredDisk]) -> PointRecord {
        let disks = stored.iter().enumerate().filter_map(|(number, stored)| {
            Some(DiskSummary {
                name: format!("vd{}", ["a", "b", "c"].get(number)?).parse().ok()?,
                size_bytes: ByteCount(stored.map.size_bytes),
                read_bytes: ByteCount(stored.read_bytes),
                stored_bytes: ByteCount(stored.stored_bytes),
                source: ChangeSource::Full,
            })
        });
        let summary = PointSummary {
            id,
            vm_id: self.world.model().vms[vm].id,
            vm_name: "simulated".parse().expect("it is a name"),
            captured_at: self.process.env().clock.now(),
            capture_id: CaptureId::from_random(self.dice.bytes()),
            parent,
            consistency: ConsistencyReached {
                asked: Consistency::Crash,
                reached: Consistency::Crash,
                shortfall: None,
            },
            disks: disks.collect(),
            cost: CaptureCost::default(),
            label: None,
        };
        let definition = serde_json::from_str(DEFINITION).expect("it is a definition");
        PointRecord { summary, definition, maps: stored.iter().map(|stored| stored.map).collect() }
    }
}

const DEFINITION: &str = r#"{"name":"simulated","memory":"1GiB","cpus":1,"disk":[],"network":[]}"#;
