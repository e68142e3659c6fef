//! Recovery points.

use api::{ChangeSourceView, PointTestView, PointView};
use model::PointReference;

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for PointView {
    /// A reference by ids, which stays right when the VM gets another name and is one word of a shell.
    fn id(&self) -> String {
        format!("point:{}/{}", self.vm_id, self.id)
    }
}

impl Row for PointView {
    const COLUMNS: &'static [&'static str] =
        &["reference", "captured", "consistency", "size", "read", "stored", "vault", "state", "label"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            reference(self),
            times.moment(self.captured_at),
            self.consistency_reached.to_string(),
            self.size_bytes.to_string(),
            self.read_bytes.to_string(),
            self.stored_bytes.to_string(),
            self.vault.clone(),
            state(self),
            or_dash(self.label.as_ref()),
        ]
    }
}

impl Page for PointView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Point", reference(self)),
            ("VM", format!("{} ({})", self.vm_name, self.vm_id)),
            ("Vault", self.vault.clone()),
            ("Captured", times.moment(self.captured_at)),
            ("Consistency", consistency(self)),
            ("Size", self.size_bytes.to_string()),
            ("Read from the guest", self.read_bytes.to_string()),
            ("Added to the vault", self.stored_bytes.to_string()),
        ];
        fields.extend(self.parent.map(|parent| ("Parent", parent.to_string())));
        fields.extend(self.label.clone().map(|label| ("Label", label)));
        fields.extend(self.hold.clone().map(|reason| ("Legal hold", reason)));
        fields.extend(self.deleted_at.map(|at| ("Deleted", times.moment(at))));
        fields.extend(self.purge_after.map(|at| ("Can be brought back until", times.clock(at))));
        fields.extend(self.deletable_from.map(|at| ("Cannot be deleted before", times.clock(at))));
        fields.extend(cost(self).map(|cost| ("Cost to the guest", cost)));
        fields.extend(self.test.as_ref().map(|test| ("Tested", tested(test, times))));
        fields.extend(self.test.as_ref().and_then(|test| Some(("Screenshot", test.screenshot.clone()?))));
        let disks = self.disks.iter().map(|disk| {
            vec![
                disk.name.clone(),
                disk.size_bytes.to_string(),
                disk.read_bytes.to_string(),
                disk.stored_bytes.to_string(),
                source(&disk.source),
            ]
        });
        table::fields(fields)
            + &table::section(
                "Disks",
                &["name", "size", "read", "stored", "changes found by"],
                disks.collect(),
            )
    }
}

impl Identified for PointTestView {
    fn id(&self) -> String {
        tested_moment(self)
    }
}

impl Page for PointTestView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![("Point", tested_moment(self)), ("Tested", tested(self, times))];
        fields.extend(self.screenshot.clone().map(|path| ("Screenshot", path)));
        table::fields(fields)
    }
}

/// The point's id, or what names the moment of a replica.
fn tested_moment(test: &PointTestView) -> String {
    let reference = || test.reference.clone().unwrap_or_default();
    test.point_id.map_or_else(reference, |point| point.to_string())
}

/// How a point did when it was booted.
fn tested(test: &PointTestView, times: &Times) -> String {
    let verdict = if test.passed { "passed" } else { "did not pass" };
    let took =
        test.boot_ms.map(|ms| format!(", up in {}", duration(ms.saturating_mul(1000)))).unwrap_or_default();
    format!("{verdict} {}{took}: {}", times.moment(test.tested_at), test.detail)
}

/// What becomes of a point: nothing, as a rule.
fn state(point: &PointView) -> String {
    match (&point.hold, point.deleted_at) {
        (_, Some(_)) => "deleted",
        (Some(_), None) => "held",
        (None, None) => "-",
    }
    .to_owned()
}

fn reference(point: &PointView) -> String {
    let selector = model::PointSelector::IdPrefix(point.id.to_string());
    PointReference { vm: point.vm_name.clone(), point: selector, disk: None }.to_string()
}

fn consistency(point: &PointView) -> String {
    let reached = point.consistency_reached;
    if reached >= point.consistency_asked {
        return reached.to_string();
    }
    let because = point.shortfall.as_deref().unwrap_or("the reason is not known");
    format!("{reached}, {} was asked for: {because}", point.consistency_asked)
}

fn cost(point: &PointView) -> Option<String> {
    let cost = &point.cost;
    let parts: Vec<String> = [
        ("paused for", cost.pause_us),
        ("frozen for", cost.freeze_us),
        ("p99 write latency before", cost.write_p99_before_us),
        ("p99 write latency during", cost.write_p99_during_us),
    ]
    .into_iter()
    .filter_map(|(what, microseconds)| Some(format!("{what} {}", duration(microseconds?))))
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

pub(super) fn source(source: &ChangeSourceView) -> String {
    match source {
        ChangeSourceView::Full => "nothing, all read for the first time".to_owned(),
        ChangeSourceView::Bitmap => "dirty bitmap".to_owned(),
        ChangeSourceView::Compared { reason } => format!("all read and compared: {reason}"),
    }
}
