//! Managed snapshots.

use std::collections::BTreeMap;

use api::{SnapshotCopyView, SnapshotView};
use model::SnapshotState;

use super::{Identified, Page, Row, Times, or_dash, point, table};

impl Identified for SnapshotView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for SnapshotView {
    const COLUMNS: &'static [&'static str] =
        &["name", "of", "taken", "state", "kind", "consistency", "size", "stored", "policy", "tags"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.source.clone(),
            or_dash(self.taken_at.map(|at| times.moment(at))),
            state(self),
            or_dash(self.kind),
            or_dash(self.consistency_reached),
            self.size_bytes.to_string(),
            self.stored_bytes.to_string(),
            or_dash(self.policy.as_ref()),
            or_dash((!self.tags.is_empty()).then(|| tags(&self.tags))),
        ]
    }
}

/// Snapshots listed by what they take.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub struct SnapshotSizes(pub SnapshotView);

impl Identified for SnapshotSizes {
    fn id(&self) -> String {
        self.0.id()
    }
}

impl Row for SnapshotSizes {
    const COLUMNS: &'static [&'static str] =
        &["name", "of", "taken", "state", "size", "used", "alone", "family alone"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let Self(snapshot) = self;
        vec![
            snapshot.name.to_string(),
            snapshot.source.clone(),
            or_dash(snapshot.taken_at.map(|at| times.moment(at))),
            state(snapshot),
            snapshot.size_bytes.to_string(),
            or_dash(snapshot.used_bytes),
            or_dash(snapshot.unique_bytes),
            or_dash(snapshot.family_unique_bytes),
        ]
    }
}

impl Page for SnapshotView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Snapshot", format!("{} ({})", self.name, self.id)),
            ("Reference", format!("snapshot:{}", self.name)),
            ("Of", self.source.clone()),
            ("State", state(self)),
        ];
        fields.extend(self.problem.clone().map(|problem| ("Problem", problem)));
        fields.extend(self.taken_at.map(|at| ("Taken", times.moment(at))));
        fields.extend(self.ready_at.map(|at| ("Copied", times.moment(at))));
        fields.extend(self.kind.map(|kind| ("Kind", kind.to_string())));
        fields.extend(consistency(self).map(|text| ("Consistency", text)));
        fields.push(("Size", self.size_bytes.to_string()));
        fields.push(("Read", self.read_bytes.to_string()));
        fields.push(("Added to the store", self.stored_bytes.to_string()));
        fields.extend(self.used_bytes.map(|bytes| ("Used", bytes.to_string())));
        fields.extend(self.unique_bytes.map(|bytes| ("Needed by it alone", bytes.to_string())));
        fields
            .extend(self.family_unique_bytes.map(|bytes| ("Needed by its family alone", bytes.to_string())));
        fields.extend(self.locked_until.map(|at| ("Locked until", times.clock(at))));
        fields.extend(self.deleted_at.map(|at| ("Deleted", times.moment(at))));
        fields.extend(self.purge_after.map(|at| ("Can be brought back until", times.clock(at))));
        fields.extend(self.policy.as_ref().map(|policy| ("Made by policy", policy.to_string())));
        fields.extend((!self.tags.is_empty()).then(|| ("Tags", tags(&self.tags))));
        fields.extend(self.job_id.map(|job| ("Job", job.to_string())));
        let found = |disk: &api::PointDiskView| match self.kind {
            Some(_) => point::source(&disk.source),
            None => "-".to_owned(),
        };
        let disks = self.disks.iter().map(|disk| {
            vec![
                disk.name.clone(),
                disk.size_bytes.to_string(),
                disk.read_bytes.to_string(),
                disk.stored_bytes.to_string(),
                found(disk),
            ]
        });
        let columns = &["name", "size", "read", "stored", "changes found by"];
        let disks = table::section("Disks", columns, disks.collect());
        let copies = self.copies.iter().map(|copy| {
            vec![
                format!("{} {}", copy.place_kind, copy.place),
                copy_state(copy),
                or_dash(copy.name_there.clone()),
                copy.sent_bytes.to_string(),
                or_dash(copy.ended_at.map(|at| times.moment(at))),
                or_dash(copy.problem.clone()),
            ]
        });
        let copies: Vec<_> = copies.collect();
        if copies.is_empty() {
            return table::fields(fields) + &disks;
        }
        let columns = &["to", "state", "name there", "sent", "ended", "problem"];
        table::fields(fields) + &disks + &table::section("Copies", columns, copies)
    }
}

impl Identified for SnapshotCopyView {
    fn id(&self) -> String {
        self.name_there.clone().unwrap_or_default()
    }
}

impl Page for SnapshotCopyView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Snapshot", self.snapshot.clone()),
            ("To", format!("the {} {}", self.place_kind, self.place)),
            ("State", copy_state(self)),
        ];
        fields.extend(self.name_there.clone().map(|name| ("Called there", name)));
        fields.push(("Sent", self.sent_bytes.to_string()));
        fields.extend(self.ended_at.map(|at| ("Ended", times.moment(at))));
        fields.extend(self.problem.clone().map(|problem| ("Problem", problem)));
        table::fields(fields)
    }
}

fn state(snapshot: &SnapshotView) -> String {
    match snapshot.state {
        SnapshotState::Copying => format!("copying, {} %", snapshot.percent_complete),
        state => state.to_string(),
    }
}

fn copy_state(copy: &SnapshotCopyView) -> String {
    match copy.percent_complete {
        Some(percent) if percent < 100 => format!("{}, {percent} %", copy.state),
        _ => copy.state.clone(),
    }
}

fn tags(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn consistency(snapshot: &SnapshotView) -> Option<String> {
    let (asked, reached) = (snapshot.consistency_asked?, snapshot.consistency_reached?);
    Some(match &snapshot.shortfall {
        Some(because) => format!("{reached}, {asked} was asked for: {because}"),
        None => reached.to_string(),
    })
}
