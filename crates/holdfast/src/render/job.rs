//! Jobs.

use api::{JobResult, JobView};
use model::ByteCount;

use super::{Identified, Page, Row, Times, or_dash, percentage, table};
use crate::suggestion;

impl Identified for JobView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for JobView {
    const COLUMNS: &'static [&'static str] =
        &["id", "kind", "subject", "state", "progress", "asked for", "took"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let progress = if self.state.is_final() { "-".to_owned() } else { progress(self) };
        vec![
            self.id(),
            self.kind.to_string(),
            self.subject.clone(),
            self.state.to_string(),
            progress,
            times.moment(self.created_at),
            or_dash(times.took(self.started_at, self.ended_at)),
        ]
    }
}

impl Page for JobView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Job", self.id()),
            ("Kind", self.kind.to_string()),
            ("Subject", self.subject.clone()),
            ("State", self.state.to_string()),
            ("Asked for", times.moment(self.created_at)),
        ];
        fields.extend(self.started_at.map(|started| ("Started", times.moment(started))));
        fields.extend(self.ended_at.map(|ended| ("Ended", times.moment(ended))));
        fields.extend(times.took(self.started_at, self.ended_at).map(|took| ("Took", took)));
        if !self.state.is_final() {
            fields.push(("Progress", progress(self)));
        }
        fields.extend(self.warnings.iter().map(|warning| ("Warning", warning.clone())));
        if let Some(problem) = &self.problem {
            fields.push(("Problem", problem.detail.clone()));
            fields.extend(problem.hint.as_deref().map(|hint| ("Hint", suggestion::aimed(hint))));
        }
        let result = match &self.result {
            None => return table::fields(fields),
            Some(JobResult::Point(point)) => point.page(times),
            Some(JobResult::Snapshot(snapshot)) => snapshot.page(times),
            Some(JobResult::SnapshotCopied(copy)) => copy.page(times),
            Some(JobResult::RestoredVm(vm)) => vm.page(times),
            Some(JobResult::CreatedDisk(disk)) => disk.page(times),
            Some(JobResult::HandedOver(vm)) => vm.page(times),
            Some(JobResult::PlanRun(run)) => run.page(times),
            Some(JobResult::Drilled(drill)) => drill.page(times),
            Some(JobResult::HandedOverGroup(group)) => group.page(times),
            Some(JobResult::Hydrated(hydrated)) => hydrated.page(times),
            Some(JobResult::Tested(test)) => test.page(times),
            Some(JobResult::RunbookTested(test)) => test.page(times),
            Some(JobResult::RestoredDisk(disk)) => disk.page(times),
            Some(JobResult::RestoredFiles(files)) => files.page(times),
            Some(JobResult::RestoredInPlace(vm)) => vm.page(times),
            Some(JobResult::Exported(exported)) => exported.page(times),
            Some(JobResult::Verified(verified)) => verified.page(times),
            Some(JobResult::Collected(collected)) => collected.page(times),
            Some(JobResult::Synced(synced)) => synced.page(times),
            Some(JobResult::Repaired(repaired)) => repaired.page(times),
        };
        format!("{}\n{result}", table::fields(fields))
    }
}

/// How far a job is, in words: "reading vroot, 1.20 GiB of 8.00 GiB (15 %)".
pub fn progress(job: &JobView) -> String {
    let progress = &job.progress;
    let phase = if progress.phase.is_empty() { job.state.as_str() } else { &progress.phase };
    let done = ByteCount(progress.done_bytes);
    match progress.total_bytes {
        Some(total) => match percentage(progress.done_bytes, total) {
            Some(per_cent) => format!("{phase}, {done} of {} ({per_cent} %)", ByteCount(total)),
            None => phase.to_owned(),
        },
        None if progress.done_bytes > 0 => format!("{phase}, {done}"),
        None => phase.to_owned(),
    }
}
