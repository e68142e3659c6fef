//! Policies.

use api::{FollowedPolicyView, KeepRules, PointVerdictView, PolicyView};

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for PolicyView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for PolicyView {
    const COLUMNS: &'static [&'static str] = &["name", "schedule", "zone", "next run", "keeps", "vms"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let times = times.in_zone(&self.zone);
        vec![
            self.name.clone(),
            self.schedule.clone(),
            self.zone.clone(),
            or_dash(self.next_runs.first().map(|next| times.clock(*next))),
            keep(&self.keep),
            self.vms.len().to_string(),
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
        fields.push(("VMs", or_dash((!self.vms.is_empty()).then(|| self.vms.join(", ")))));
        table::fields(fields)
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

impl Identified for PointVerdictView {
    fn id(&self) -> String {
        self.point.id()
    }
}

impl Row for PointVerdictView {
    const COLUMNS: &'static [&'static str] = &["vm", "point", "captured", "stays", "because"];

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
        vec![
            self.point.vm_name.clone(),
            self.point.id.to_string(),
            times.moment(self.point.captured_at),
            stays,
            because,
        ]
    }
}

/// The policy that a VM follows, in a line.
pub(super) fn followed(policy: &FollowedPolicyView, times: &Times) -> String {
    let next = match policy.next_run_at {
        Some(next) => format!("next run {}", times.clock(next)),
        None => "no next run".to_owned(),
    };
    let last = match (policy.last_run_at, &policy.skipped) {
        (Some(at), Some(reason)) => format!(", last run {} skipped: {reason}", times.moment(at)),
        (Some(at), None) => format!(", last run {}", times.moment(at)),
        (None, _) => String::new(),
    };
    format!("{}, {next}{last}", policy.name)
}
