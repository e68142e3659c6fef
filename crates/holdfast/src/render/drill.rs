//! Drills of recovery plans.

use api::{DrillMeasureView, DrillScheduleView, DrillStateView, DrillView};

use super::{
    Identified, Page, Row, Times, duration, or_dash,
    plan::{against, seconds},
    table,
};

impl Identified for DrillStateView {
    fn id(&self) -> String {
        self.plan.clone()
    }
}

impl Row for DrillStateView {
    const COLUMNS: &'static [&'static str] =
        &["plan", "schedule", "next", "last", "verdict", "rto", "rpo", "standing"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let schedule = self.schedule.as_ref();
        let last = self.last.as_ref();
        vec![
            self.plan.clone(),
            or_dash(schedule.map(|schedule| schedule.schedule.clone())),
            or_dash(schedule.and_then(|schedule| next(schedule, times))),
            or_dash(last.map(|last| times.moment(last.begun_at))),
            or_dash(last.map(|last| last.verdict.clone())),
            or_dash(last.and_then(|last| measured(last.rto))),
            or_dash(last.and_then(|last| measured(last.rpo))),
            standing(self, times),
        ]
    }
}

impl Page for DrillStateView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![("Plan", self.plan.clone())];
        if let Some(schedule) = &self.schedule {
            fields.push(("Schedule", schedule.schedule.clone()));
            fields.push(("Time zone", schedule.zone.clone()));
            fields.push(("Next", or_dash(next(schedule, times))));
            fields.push(("Moment", schedule.point.clone()));
            fields.push(("Grace", format!("{} h", schedule.grace_hours)));
            if schedule.jitter_seconds > 0 {
                fields.push(("Spread over", seconds(u64::from(schedule.jitter_seconds))));
            }
            fields.push(("Reports kept", schedule.keep_reports.to_string()));
        }
        fields.extend(
            self.last
                .as_ref()
                .map(|last| ("Last", format!("{} {}", times.moment(last.begun_at), last.verdict))),
        );
        fields.extend(self.last_passed_at.map(|at| ("Last that passed", times.moment(at))));
        fields.push(("Standing", standing(self, times)));
        table::fields(fields)
    }
}

fn next(schedule: &DrillScheduleView, times: &Times) -> Option<String> {
    schedule.next_run_at.map(|at| times.in_zone(&schedule.zone).clock(at))
}

/// What somebody should know of it, worst first.
fn standing(state: &DrillStateView, times: &Times) -> String {
    let schedule = state.schedule.as_ref();
    let mut parts = Vec::new();
    if state.under_way.is_some() {
        parts.push("under way".to_owned());
    }
    if let Some(since) = schedule.and_then(|schedule| schedule.overdue_since) {
        parts.push(format!("overdue since {}", times.moment(since)));
    }
    if let Some(why) = schedule.and_then(|schedule| schedule.put_off.as_ref()) {
        parts.push(format!("put off: {why}"));
    }
    match state.last.as_ref().map(|last| last.verdict.as_str()) {
        Some("failed") => parts.push("failed".to_owned()),
        Some("passed-late") => parts.push("late".to_owned()),
        None if parts.is_empty() => parts.push("not drilled yet".to_owned()),
        _ if parts.is_empty() => parts.push("ok".to_owned()),
        _ => {}
    }
    parts.join("; ")
}

impl Identified for DrillView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for DrillView {
    const COLUMNS: &'static [&'static str] =
        &["id", "began", "took", "verdict", "rto", "rpo", "changes", "by"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.id.to_string(),
            times.moment(self.begun_at),
            took(self),
            self.verdict.clone(),
            or_dash(measured(self.rto)),
            or_dash(measured(self.rpo)),
            self.changes.to_string(),
            or_dash(self.operator.clone()),
        ]
    }
}

impl Page for DrillView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Drill", self.id.to_string()),
            ("Plan", self.plan.clone()),
            ("Verdict", self.verdict.clone()),
            ("Began", times.moment(self.begun_at)),
            ("Took", took(self)),
            ("RTO", or_dash(measured(self.rto))),
            ("RPO", or_dash(measured(self.rpo))),
            ("Not as in the drill before", self.changes.to_string()),
        ];
        fields.extend(self.reasons.iter().map(|reason| ("Why", reason.clone())));
        table::fields(fields)
    }
}

fn took(drill: &DrillView) -> String {
    let took = drill.ended_at.microseconds_since(drill.begun_at);
    duration(u64::try_from(took).unwrap_or(0))
}

fn measured(measure: DrillMeasureView) -> Option<String> {
    Some(against(measure.measured_seconds?, measure.target_seconds))
}
