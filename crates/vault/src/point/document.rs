//! The durable form of a recovery point: a sealed JSON document.
//!
//! The small types of `model` inside it are pinned by the golden file: a change to one of them that changes these bytes
//! needs a new version here.

use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, ConsistencyReached, DiskName, DiskSummary, PointId,
    PointSummary, Timestamp, VmDefinition, VmId, VmName,
};
use serde::{Deserialize, Serialize};

use super::PointRecord;
use crate::{ChunkId, DiskMap, Error, Result, keys::Keys, sealed_object::ObjectType};

const POINT: ObjectType = ObjectType { magic: *b"HFPONT", version: 1, what: "a recovery point" };

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PointDocument {
    id: PointId,
    vm_id: VmId,
    vm_name: VmName,
    captured_at: Timestamp,
    capture_id: CaptureId,
    parent: Option<PointId>,
    consistency: ConsistencyReached,
    disks: Vec<DiskDocument>,
    cost: CaptureCost,
    label: Option<String>,
    definition: VmDefinition,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DiskDocument {
    name: DiskName,
    size_bytes: u64,
    root: Option<ChunkId>,
    read_bytes: u64,
    stored_bytes: u64,
    source: ChangeSource,
}

pub(crate) fn encode(point: &PointRecord, keys: &Keys, salt: [u8; 32]) -> Result<Vec<u8>> {
    Ok(POINT.seal(keys, salt, &encode_body(point)?))
}

pub(crate) fn encode_body(point: &PointRecord) -> Result<Vec<u8>> {
    let sizes_fit = point.disks().all(|(summary, map)| summary.size_bytes.0 == map.size_bytes);
    if point.maps.len() != point.summary.disks.len() || !sizes_fit {
        return Err(Error::invalid("a point needs the map of each of its disks"));
    }
    serde_json::to_vec(&PointDocument::from(point))
        .map_err(|error| Error::invalid("the point cannot be written as a document").with_source(error))
}

pub(crate) fn decode(bytes: &[u8], keys: &Keys) -> Result<PointRecord> {
    decode_body(&POINT.open(keys, bytes)?)
}

pub(crate) fn decode_body(body: &[u8]) -> Result<PointRecord> {
    let document: PointDocument = serde_json::from_slice(body).map_err(|error| {
        Error::corrupt("a recovery point is not the document it should be").with_source(error)
    })?;
    Ok(document.into())
}

impl From<&PointRecord> for PointDocument {
    fn from(point: &PointRecord) -> Self {
        let summary = point.summary.clone();
        let disk = |(summary, map): (&DiskSummary, &DiskMap)| DiskDocument {
            name: summary.name.clone(),
            size_bytes: map.size_bytes,
            root: map.root,
            read_bytes: summary.read_bytes.0,
            stored_bytes: summary.stored_bytes.0,
            source: summary.source.clone(),
        };
        Self {
            id: summary.id,
            vm_id: summary.vm_id,
            vm_name: summary.vm_name,
            captured_at: summary.captured_at,
            capture_id: summary.capture_id,
            parent: summary.parent,
            consistency: summary.consistency,
            disks: point.disks().map(disk).collect(),
            cost: summary.cost,
            label: summary.label,
            definition: point.definition.clone(),
        }
    }
}

impl From<PointDocument> for PointRecord {
    fn from(document: PointDocument) -> Self {
        let maps = document
            .disks
            .iter()
            .map(|disk| DiskMap { size_bytes: disk.size_bytes, root: disk.root })
            .collect();
        let disk = |disk: DiskDocument| DiskSummary {
            name: disk.name,
            size_bytes: ByteCount(disk.size_bytes),
            read_bytes: ByteCount(disk.read_bytes),
            stored_bytes: ByteCount(disk.stored_bytes),
            source: disk.source,
        };
        let summary = PointSummary {
            id: document.id,
            vm_id: document.vm_id,
            vm_name: document.vm_name,
            captured_at: document.captured_at,
            capture_id: document.capture_id,
            parent: document.parent,
            consistency: document.consistency,
            disks: document.disks.into_iter().map(disk).collect(),
            cost: document.cost,
            label: document.label,
        };
        Self { summary, definition: document.definition, maps }
    }
}
