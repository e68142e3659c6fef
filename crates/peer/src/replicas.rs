//! What sites say to one another about replicas: journals that one has and the other keeps.
//!
//! The source *offers* a journal, then sends its parts in order, and is told each time what the other side wants next. That
//! answer is an acknowledgement: everything before it is durable there. So the source needs to remember nothing: it asks, sends
//! from where it is told, and may release the segments before that.

mod compare;
mod parts;
#[cfg(test)]
mod tests;

use journal::{Generation, Position, SegmentNumber, Sequence};
use model::{GroupId, GroupName, JournalId, ReplicationSettings, Timestamp, VmDefinition, VmId, VmName};
use serde::{Deserialize, Serialize};

pub use self::compare::{
    COMPARED_MAX_BYTES, Compare, Compared, PIECE_MAX_BYTES, PIECE_MIN_BYTES, Prepare, Prepared, piece_digest,
    piece_digests,
};
pub use self::parts::{PARTS_BODY_MAX_BYTES, PARTS_BYTES, decode, encode};
use crate::{Error, Result};

/// How long moments can stay reachable, at least and at most.
pub const RETENTION_MIN_SECONDS: u64 = 60;
/// Thirty days.
pub const RETENTION_MAX_SECONDS: u64 = 30 * 24 * 3600;

/// The most disks of a VM that is replicated.
const DISKS_MAX: usize = 64;

/// The longest reference to a seed.
const SEED_MAX_BYTES: usize = 1024;

/// The most rates for parts of the day.
const RATE_WINDOWS_MAX: usize = 64;

/// The most VMs in a consistency group.
pub const GROUP_MEMBERS_MAX: usize = 64;

/// The longest definition of a VM, as JSON.
const DEFINITION_MAX_BYTES: usize = 64 << 10;

/// A source that wants its journal kept, and says of what it is. It says so again whenever something of that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaOffer {
    /// The VM whose disks are in the journal.
    pub vm_id: VmId,
    /// What it is called at the source.
    pub vm_name: VmName,
    /// What it is made of, so that the other side can build it. Its disks are those of the journal, by name; their paths are
    /// the source's, and mean nothing there.
    pub definition: VmDefinition,
    /// How often the right to write the VM's disks has changed hands. An older one than the other side knows is fenced.
    #[serde(with = "GenerationNumber")]
    pub generation: Generation,
    /// How long moments stay reachable, in seconds; none for what the other side does by itself, which is 24 hours, or what
    /// its operator has set.
    #[serde(default)]
    pub retention_seconds: Option<u64>,
    /// The first segment that the source has: an empty replica begins there.
    #[serde(with = "SegmentCount")]
    pub start: SegmentNumber,
    /// Whether the source compares its disks with what the other side shows, before it calls them whole. Only then may their
    /// bases begin with anything but zeros.
    #[serde(default)]
    pub compares: bool,
    /// What the bases are to begin with, as a reference at the other side; none for what it finds by itself.
    #[serde(default)]
    pub seed: Option<String>,
    /// The consistency group that the VM is in, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupOffer>,
    /// How the VM is replicated. A failover makes the other side the source, which goes on so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<ReplicationSettings>,
}

/// A consistency group: VMs whose journals mark common moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffer {
    /// The group.
    pub id: GroupId,
    /// What it is called at the source.
    pub name: GroupName,
    /// The journals of all members.
    pub members: Vec<JournalId>,
    /// Grows whenever something of it changes: each member's journal is offered by itself, and what is older does not count.
    pub revision: u64,
}

impl ReplicaOffer {
    /// Refuses what nobody takes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`].
    pub fn check(&self) -> Result<()> {
        let definition_bytes = serde_json::to_vec(&self.definition).map_or(usize::MAX, |json| json.len());
        if self.definition.disks.len() > DISKS_MAX || definition_bytes > DEFINITION_MAX_BYTES {
            return Err(Error::invalid(format!(
                "a VM that is replicated has at most {DISKS_MAX} disks, and a definition of at most {DEFINITION_MAX_BYTES} bytes"
            )));
        }
        let is_kept_so_long = |seconds| (RETENTION_MIN_SECONDS..=RETENTION_MAX_SECONDS).contains(&seconds);
        if !self.retention_seconds.is_none_or(is_kept_so_long) {
            return Err(Error::invalid("moments stay reachable for a minute at least and 30 days at most"));
        }
        if self.seed.as_ref().is_some_and(|seed| seed.len() > SEED_MAX_BYTES) {
            return Err(Error::invalid(format!("a reference has at most {SEED_MAX_BYTES} bytes")));
        }
        if self.group.as_ref().is_some_and(|group| group.members.len() > GROUP_MEMBERS_MAX) {
            return Err(Error::invalid(format!("a consistency group has at most {GROUP_MEMBERS_MAX} VMs")));
        }
        if self.settings.as_ref().is_some_and(|settings| settings.rate_windows.len() > RATE_WINDOWS_MAX) {
            return Err(Error::invalid(format!("a day has at most {RATE_WINDOWS_MAX} parts")));
        }
        if self.start.0 == 0 {
            return Err(Error::invalid("the first segment of a journal has the number 1"));
        }
        Ok(())
    }
}

/// How far a replica is. What it tells is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaProgress {
    /// What has to come next. The segments before it are sealed there, and can be released.
    #[serde(with = "PositionInJournal")]
    pub wanted: Position,
    /// The last record that is durable there.
    #[serde(with = "RecordNumber")]
    pub durable_through: Sequence,
    /// The newest generation that is known there.
    #[serde(with = "GenerationNumber")]
    pub generation: Generation,
    /// When that record was taken in, by the source's clock; none of a replica that is empty.
    #[serde(default)]
    pub newest_time: Option<Timestamp>,
    /// The oldest time that can be gone back to, by the source's clock; none as long as there is no moment at which the VM is whole.
    #[serde(default)]
    pub reaches_back_to: Option<Timestamp>,
    /// Bytes of the replica's files.
    #[serde(default)]
    pub size_bytes: u64,
    /// How long moments stay reachable there.
    #[serde(default)]
    pub retention_seconds: u64,
}

/// A source whose VM has ended hands it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The last record of the journal. Where it has not come, nothing is done.
    #[serde(with = "RecordNumber")]
    pub through: Sequence,
}

/// The VM is run there from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// The job that makes and starts it, by id; none where that had begun before.
    #[serde(default)]
    pub job: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Position")]
struct PositionInJournal {
    #[serde(with = "SegmentCount")]
    segment: SegmentNumber,
    offset_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SegmentNumber")]
struct SegmentCount(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Sequence")]
struct RecordNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Generation")]
struct GenerationNumber(u64);
