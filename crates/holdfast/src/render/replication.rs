//! Replications.

use api::{
    CheckpointView, HandedOverView, ReplicationHealth, ReplicationState, ReplicationView,
    StoppedReplicationView,
};
use model::ByteCount;

use super::{Identified, Page, Row, Times, duration, or_dash, percentage, table};

impl Identified for ReplicationView {
    fn id(&self) -> String {
        self.vm.clone()
    }
}

impl Row for ReplicationView {
    const COLUMNS: &'static [&'static str] =
        &["vm", "to", "state", "health", "rpo", "lag", "journal", "reaches back to"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.vm.clone(),
            self.site.clone(),
            state(self),
            health(self.health).to_owned(),
            or_dash(self.rpo_seconds.map(seconds)),
            ByteCount(self.lag_bytes).to_string(),
            journal(self),
            or_dash(self.reaches_back_to.map(|at| times.clock(at))),
        ]
    }
}

impl Page for ReplicationView {
    fn page(&self, times: &Times) -> String {
        let rate = |rate: u64| format!("{}/s", ByteCount(rate));
        let mut fields = vec![
            ("VM", self.vm.clone()),
            ("To", self.site.clone()),
            ("Group", or_dash(self.group.as_ref())),
            ("State", state(self)),
            ("Since", times.moment(self.since)),
            ("Health", health(self.health).to_owned()),
        ];
        for reason in &self.reasons {
            fields.push(("Because", format!("{}; {}", reason.what, reason.guidance)));
        }
        fields.extend([
            ("RPO now", or_dash(self.rpo_seconds.map(seconds))),
            ("RPO, 99 % of a day", or_dash(self.rpo_p99_seconds.map(seconds))),
            ("Newest checkpoint there", or_dash(self.newest_checkpoint_at.map(|at| times.moment(at)))),
            ("Reaches back to", or_dash(self.reaches_back_to.map(|at| times.moment(at)))),
            ("Behind", behind(self)),
            ("In sync in", or_dash(self.in_sync_in_seconds.map(|left| seconds(left as f64)))),
            ("Sent", ByteCount(self.sent_bytes).to_string()),
            ("Was there already", ByteCount(self.had_bytes).to_string()),
            ("Guest writes", rate(self.write_bytes_per_second)),
            ("Link carries", rate(self.link_bytes_per_second)),
            ("Journal here", journal(self)),
            ("Replica there", ByteCount(self.replica_bytes).to_string()),
            ("Taps broken", self.breaks.to_string()),
            ("Mode", mode(self)),
            ("Retention", format!("{} h", self.retention_hours)),
            ("For applications", applications(self, times)),
            ("Rate limit", self.rate_limit_bytes_per_second.map_or("none".to_owned(), rate)),
        ]);
        fields.extend(self.seed.iter().map(|seed| ("Seed", seed.clone())));
        fields.extend(self.seed_problem.iter().map(|problem| ("No seed", problem.clone())));
        fields.extend(self.rate_windows.iter().map(|window| ("Rate window", window.to_string())));
        fields.push(("Journal", self.journal_id.to_string()));
        fields.push(("Replicated since", times.moment(self.created_at)));
        table::fields(fields)
    }
}

fn state(view: &ReplicationView) -> String {
    let word = state_word(view.state, view.why.as_deref());
    let copied = view.copied_bytes.zip(view.to_copy_bytes).and_then(|(done, total)| percentage(done, total));
    copied.map_or(word.clone(), |percent| format!("{word} {percent} %"))
}

/// How a replication stands, and why.
pub(super) fn state_word(state: ReplicationState, why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    match state {
        ReplicationState::Starting => "starting".to_owned(),
        ReplicationState::Copying => "copying".to_owned(),
        ReplicationState::Protected => "protected".to_owned(),
        ReplicationState::Degraded => format!("DEGRADED{why}"),
        ReplicationState::Resyncing => "resyncing".to_owned(),
        ReplicationState::Paused => "paused".to_owned(),
        ReplicationState::VmStopped => "VM stopped".to_owned(),
        ReplicationState::Fenced => format!("FENCED{why}"),
        _ => "-".to_owned(),
    }
}

fn health(health: ReplicationHealth) -> &'static str {
    match health {
        ReplicationHealth::Ok => "ok",
        ReplicationHealth::Warning => "WARNING",
        ReplicationHealth::Critical => "CRITICAL",
    }
}

fn seconds(seconds: f64) -> String {
    duration((seconds.max(0.0) * 1e6) as u64)
}

fn behind(view: &ReplicationView) -> String {
    let bytes = ByteCount(view.lag_bytes);
    view.lag_seconds.map_or(bytes.to_string(), |lag| format!("{bytes}, {}", seconds(lag)))
}

fn journal(view: &ReplicationView) -> String {
    format!("{} of {}", ByteCount(view.journal_bytes), ByteCount(view.journal_size_bytes))
}

fn mode(view: &ReplicationView) -> String {
    view.interval_seconds.map_or_else(
        || "every write is taken".to_owned(),
        |every| format!("what was written is copied every {}", seconds(f64::from(every))),
    )
}

fn applications(view: &ReplicationView, times: &Times) -> String {
    let every = view
        .application_every_seconds
        .map_or("never".to_owned(), |every| format!("every {}", seconds(f64::from(every))));
    match view.application_checkpoint_at {
        Some(at) => format!("{every}, last {}", times.moment(at)),
        None => every,
    }
}

impl Identified for CheckpointView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Page for CheckpointView {
    fn page(&self, times: &Times) -> String {
        table::fields(vec![
            ("VM", self.vm.clone()),
            ("Name", self.name.clone()),
            ("Kind", self.kind.clone()),
            ("Made", times.moment(self.made_at)),
            ("Record", self.sequence.to_string()),
        ])
    }
}

impl Identified for HandedOverView {
    fn id(&self) -> String {
        self.vm.clone()
    }
}

impl Page for HandedOverView {
    fn page(&self, _: &Times) -> String {
        let mut fields = vec![("VM", self.vm.clone()), ("Runs at", self.site.clone())];
        fields.extend(self.through.map(|through| ("From its last record", through.to_string())));
        fields.extend(self.job_there.iter().map(|job| ("Job there", job.clone())));
        match &self.proof {
            Some(proof) => {
                let took = duration(proof.took_ms.saturating_mul(1000));
                fields.push(("Proof", format!("both sites read the disks in {took}, and found the same")));
                let digests = proof.disks.iter().map(|disk| format!("{} {}", disk.disk, disk.digest));
                fields.extend(digests.map(|digest| ("Digest", digest)));
            }
            None => fields.push(("Proof", "none: the disks were not compared".to_owned())),
        }
        table::fields(fields)
    }
}

impl Identified for StoppedReplicationView {
    fn id(&self) -> String {
        self.vm.clone()
    }
}

impl Page for StoppedReplicationView {
    fn page(&self, _: &Times) -> String {
        let mut fields = vec![
            ("VM", self.vm.clone()),
            ("No longer replicated to", self.site.clone()),
            ("It was told", if self.is_told { "yes" } else { "no" }.to_owned()),
        ];
        fields.extend(self.problems.iter().map(|problem| ("Left to do", problem.clone())));
        table::fields(fields)
    }
}
