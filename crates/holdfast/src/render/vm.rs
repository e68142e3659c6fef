//! VMs.

use api::{ProtectionView, VmOriginView, VmView};

use super::{Identified, Page, Row, Times, duration, or_dash, policy, table};
use crate::suggestion;

impl Identified for VmView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for VmView {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "power", "disks", "agent", "vault", "latest point", "job"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id(),
            self.power.clone(),
            self.disks.len().to_string(),
            if self.agent.answers { "answers" } else { "-" }.to_owned(),
            or_dash(self.protection.as_ref().map(|protection| &protection.vault)),
            or_dash(self.latest_point.as_ref().map(|point| times.moment(point.captured_at))),
            or_dash(self.current_job),
        ]
    }
}

impl Page for VmView {
    fn page(&self, times: &Times) -> String {
        let power = match &self.unreachable_because {
            Some(reason) => format!("{}: {reason}", self.power),
            None => self.power.clone(),
        };
        let origin = match self.origin {
            VmOriginView::External => "started by somebody else",
            VmOriginView::Managed => "started and stopped by Holdfast",
        };
        let mut fields = vec![
            ("Name", self.name.clone()),
            ("Id", self.id()),
            ("Power", power),
            ("Origin", origin.to_owned()),
            ("Hypervisor", or_dash(self.hypervisor.as_ref())),
            ("CPUs", self.cpus.to_string()),
            ("Memory", self.memory_bytes.to_string()),
            (
                "Guest agent",
                if self.agent.answers {
                    format!("answers, {}", self.agent.detail)
                } else {
                    format!("does not answer: {}", self.agent.detail)
                },
            ),
            ("Protection", self.protection.as_ref().map_or_else(|| "none".to_owned(), protection)),
            (
                "Latest point",
                or_dash(self.latest_point.as_ref().map(|point| {
                    format!("{}, {}", times.moment(point.captured_at), point.consistency_reached)
                })),
            ),
        ];
        let followed = self.protection.as_ref().and_then(|protection| protection.policy.as_ref());
        fields.extend(followed.map(|followed| ("Policy", policy::followed(followed, times))));
        let snapshots = self.snapshot_policy.as_ref();
        fields.extend(snapshots.map(|followed| ("Snapshot policy", policy::followed(followed, times))));
        fields.extend(self.current_job.map(|job| ("Job", job.to_string())));
        fields.extend(self.dependent_disks.iter().map(|dependent| {
            let failure = dependent.failure.as_ref().map(|failure| format!("; now it cannot: {failure}"));
            let failure = failure.unwrap_or_default();
            ("Runs from", format!("{} for {}{failure}", dependent.reads_from, dependent.disk))
        }));
        if let Some(half) = &self.half_restored {
            let disks = half.disks.join(", ");
            let since = times.moment(half.begun_at);
            fields.push(("Half-restored", format!("{disks}, to the point {}, since {since}", half.point_id)));
            fields.push(("Hint", suggestion::aimed(&half.hint)));
        }
        fields.extend(self.limits.iter().map(|limit| ("Limit", limit.clone())));
        let disks = self.disks.iter().map(|disk| {
            vec![
                disk.name.clone(),
                disk.size_bytes.to_string(),
                disk.format.to_string(),
                disk.tracking.clone(),
                disk.path.clone(),
            ]
        });
        table::fields(fields)
            + &table::section(
                "Disks",
                &["name", "size", "format", "change tracking", "path"],
                disks.collect(),
            )
    }
}

fn protection(protection: &ProtectionView) -> String {
    let strict = if protection.strict { " or nothing" } else { "" };
    let mut text = format!(
        "into {}, {}{strict}, frozen for at most {}",
        protection.vault,
        protection.consistency,
        duration(u64::from(protection.freeze_limit_ms) * 1000)
    );
    if let Some(limit) = protection.read_limit_bytes_per_second {
        text += &format!(", read at {limit}/s at most");
    }
    for (word, script) in [("before", &protection.pre_script), ("after", &protection.post_script)] {
        if let Some(script) = script {
            text += &format!(", {script} {word} the capture");
        }
    }
    text
}
