//! Policies.

use api::{FollowedPolicyView, FollowerView, KeepRules, MadeView, PolicyView, RunsView, VerdictView};

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for PolicyView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for PolicyView {
    const COLUMNS: &'static [&'static str] = &["name", "schedule", "zone", "next run", "keeps", "followers"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let times = times.in_zone(&self.zone);
        vec![
            self.name.clone(),
            self.schedule.clone(),
            self.zone.clone(),
            or_dash(self.next_runs.first().map(|next| times.clock(*next))),
            keep(&self.keep),
            self.followers.len().to_string(),
        ]
    }
}

impl Page for PolicyView {
    fn page(&self, times: &Times) -> String {
        let in_zone = times.in_zone(&self.zone);
        let mut fields = vec![
            ("Name", self.name.clone()),
            ("Schedule", self.schedule.clone()),
            ("Time zone", self.zone.clone()),
        ];
        let titles = ["Next run", "Then", "And then"];
        let runs = titles.into_iter().zip(&self.next_runs);
        fields.extend(runs.map(|(title, run)| (title, in_zone.clock(*run))));
        fields.push(("Keeps", keep(&self.keep)));
        fields.push(("Grace", format!("{} h", self.grace_hours)));
        fields.extend(self.grace_until.map(|until| ("Deletes nothing before", in_zone.clock(until))));
        if self.jitter_seconds > 0 {
            fields.push(("Spread over", duration(u64::from(self.jitter_seconds) * 1_000_000)));
        }
        let columns = &["vm", "makes", "next run", "last run", "outcome"];
        let followers = self.followers.iter().map(|follower| follower_cells(follower, times, &in_zone));
        table::fields(fields) + &table::section("Followers", columns, followers.collect())
    }
}

fn keep(keep: &KeepRules) -> String {
    let rules = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let rules = rules.into_iter().filter_map(|(rule, count)| Some(format!("{} {rule}", count?)));
    let within = keep.within_hours.map(|hours| format!("all of {hours} h"));
    let rules: Vec<_> = rules.chain(within).collect();
    if rules.is_empty() { "everything".to_owned() } else { rules.join(", ") }
}

fn follower_cells(follower: &FollowerView, times: &Times, in_zone: &Times) -> Vec<String> {
    let FollowerView { vm, kind, runs } = follower;
    vec![
        vm.clone(),
        format!("{kind}s"),
        or_dash(runs.next_run_at.map(|next| in_zone.clock(next))),
        or_dash(runs.last_run_at.map(|last| times.moment(last))),
        or_dash(became(runs)),
    ]
}

impl Identified for VerdictView {
    fn id(&self) -> String {
        match &self.made {
            MadeView::Point(point) => point.id(),
            MadeView::Snapshot(snapshot) => snapshot.id(),
        }
    }
}

impl Row for VerdictView {
    const COLUMNS: &'static [&'static str] = &["vm", "what", "name", "captured", "stays", "because"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let stays = match self.goes_from {
            None => "yes".to_owned(),
            Some(from) => format!("until a run after {}", times.clock(from)),
        };
        let because = match &self.stays_because {
            Some(reason) => reason.clone(),
            None if self.kept_by.is_empty() => "no rule keeps it".to_owned(),
            None => self.kept_by.join(", "),
        };
        let (vm, what, name, captured_at) = match &self.made {
            MadeView::Point(point) => {
                (&point.vm_name, "point", point.id.to_string(), Some(point.captured_at))
            }
            MadeView::Snapshot(it) => (&it.family, "snapshot", it.name.to_string(), it.taken_at),
        };
        let captured = or_dash(captured_at.map(|at| times.moment(at)));
        vec![vm.clone(), what.to_owned(), name, captured, stays, because]
    }
}

/// The policy that a VM's backups or snapshots follow, in a line.
pub(super) fn followed(policy: &FollowedPolicyView, times: &Times) -> String {
    let FollowedPolicyView { name, runs } = policy;
    let next = match runs.next_run_at {
        Some(next) => format!("next run {}", times.clock(next)),
        None => "no next run".to_owned(),
    };
    let last = runs.last_run_at.map(|at| match became(runs) {
        Some(words) => format!(", last run {} {words}", times.moment(at)),
        None => format!(", last run {}", times.moment(at)),
    });
    let consistency = runs.consistency.map(|level| format!(", {level}-consistent"));
    format!("{name}{}, {next}{}", consistency.unwrap_or_default(), last.unwrap_or_default())
}

/// What became of a last run that was not as it should be.
fn became(runs: &RunsView) -> Option<String> {
    let skipped = runs.skipped.as_ref().map(|reason| format!("skipped: {reason}"));
    skipped.or_else(|| runs.failed.as_ref().map(|reason| format!("failed: {reason}")))
}
