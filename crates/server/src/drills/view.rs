//! How it stands with drills: for people, for `doctor`, and for Prometheus.

use std::{collections::BTreeSet, fmt::Write as _};

use api::{CheckStatus, CheckView, DrillMeasureView, DrillScheduleView, DrillStateView, DrillView};
use catalog::{DrillSchedule, KnownDrill};
use model::{PlanName, PlanRunId, Timestamp};
use plan::drill::{Measure, Report, Verdict};

use super::due;
use crate::{
    failure::{Failure, Result},
    plans,
    site::Site,
};

/// Whether the application came up, be it late.
pub(super) fn is_passed(drill: &KnownDrill) -> bool {
    drill.verdict.parse().is_ok_and(Verdict::is_passed)
}

/// A drill that has ended. Without a report that can be read, less is told.
pub(super) fn drill_view(drill: &KnownDrill, report: Option<&Report>) -> DrillView {
    let measure = |of: fn(&Report) -> Measure| {
        let Measure { measured_seconds, target_seconds } = report.map(of).unwrap_or_default();
        DrillMeasureView { measured_seconds, target_seconds }
    };
    let unreadable = || vec!["its report cannot be read by this version of Holdfast".to_owned()];
    DrillView {
        id: drill.run_id,
        plan: drill.plan.to_string(),
        begun_at: drill.begun_at,
        ended_at: drill.ended_at,
        verdict: drill.verdict.clone(),
        reasons: report.map_or_else(unreadable, |report| report.reasons.clone()),
        rto: measure(|report| report.rto),
        rpo: measure(|report| report.rpo),
        operator: report.map(|report| report.operator.clone()),
        changes: report
            .and_then(|report| report.differences.as_ref())
            .map_or(0, |differences| differences.changes.len() as u64),
    }
}

async fn read(site: &Site, drill: &KnownDrill) -> Result<DrillView> {
    let text = site.catalog.drill_report(drill.run_id).await?;
    let report = text.and_then(|text| Report::decode(&text).ok());
    Ok(drill_view(drill, report.as_ref()))
}

/// The drills of a plan that have ended, newest first.
pub(crate) async fn reports(site: &Site, plan: &str) -> Result<Vec<DrillView>> {
    let drills = site.catalog.drills_of(plan).await?;
    if drills.is_empty() {
        // Of a plan that is forgotten, reports are left; one that never was is an error.
        plans::history(site, plan).await?;
    }
    let mut views = Vec::with_capacity(drills.len());
    for drill in &drills {
        views.push(read(site, drill).await?);
    }
    Ok(views)
}

/// How it stands with the drills of each plan that is or was drilled, by plan.
pub(crate) async fn states(site: &Site) -> Result<Vec<DrillStateView>> {
    let schedules = site.catalog.drill_schedules().await?;
    let known: BTreeSet<_> = plans::list(site).await?.into_iter().map(|plan| plan.name).collect();
    let drilled = site.catalog.drilled_plans().await?.into_iter().filter(|plan| known.contains(plan));
    let mut names: BTreeSet<_> =
        drilled.chain(under_way(site).await?.into_iter().map(|(plan, _)| plan)).collect();
    names.extend(schedules.iter().map(|schedule| schedule.plan.clone()));
    let mut states = Vec::with_capacity(names.len());
    for name in names {
        let schedule = schedules.iter().find(|schedule| schedule.plan == name);
        states.push(state_of(site, &name, schedule).await?);
    }
    Ok(states)
}

/// How it stands with the drills of one plan.
pub(crate) async fn state(site: &Site, plan: &str) -> Result<DrillStateView> {
    let found = states(site).await?.into_iter().find(|state| state.plan == plan);
    found.ok_or_else(|| Failure::not_found(format!("the plan {plan} was never drilled")))
}

/// The drills that are not over, with their plans.
async fn under_way(site: &Site) -> Result<Vec<(PlanName, PlanRunId)>> {
    let mut drills = Vec::new();
    for run in site.catalog.unfinished_plan_runs().await? {
        if plans::is_drill(&run) {
            drills.push((run.plan, run.id));
        }
    }
    Ok(drills)
}

async fn state_of(site: &Site, plan: &PlanName, schedule: Option<&DrillSchedule>) -> Result<DrillStateView> {
    let drills = site.catalog.drills_of(plan.as_str()).await?;
    let last_passed_at = drills.iter().find(|drill| is_passed(drill)).map(|drill| drill.begun_at);
    let last = match drills.first() {
        Some(last) => Some(read(site, last).await?),
        None => None,
    };
    let now = site.env.clock.now();
    let under_way = under_way(site).await?.into_iter().find(|(drilled, _)| drilled == plan);
    Ok(DrillStateView {
        plan: plan.to_string(),
        schedule: schedule.map(|schedule| schedule_view(schedule, last_passed_at, now)),
        under_way: under_way.map(|(_, run)| run),
        last,
        last_passed_at,
    })
}

fn schedule_view(
    schedule: &DrillSchedule,
    last_passed_at: Option<Timestamp>,
    now: Timestamp,
) -> DrillScheduleView {
    DrillScheduleView {
        schedule: schedule.schedule.to_string(),
        zone: schedule.zone.to_string(),
        point: schedule.point.clone(),
        grace_hours: schedule.grace_hours,
        jitter_seconds: schedule.jitter_seconds,
        keep_reports: schedule.keep_reports,
        next_run_at: due::next_at(schedule, now),
        last_run_at: schedule.last_run_at,
        put_off: schedule.put_off.clone(),
        overdue_since: due::overdue_since(schedule, last_passed_at, now),
    }
}

/// What `doctor` says of each plan that is or was drilled.
pub(crate) async fn check(site: &Site) -> Result<Vec<CheckView>> {
    Ok(states(site).await?.iter().map(check_of).collect())
}

fn check_of(state: &DrillStateView) -> CheckView {
    let plan = &state.plan;
    let schedule = state.schedule.as_ref();
    let verdict = state.last.as_ref().map(|last| last.verdict.as_str());
    let put_off = schedule.and_then(|schedule| schedule.put_off.as_ref());
    let last = match &state.last {
        None => "none has ended yet".to_owned(),
        Some(last) if last.reasons.is_empty() => format!("the last, of {}, {}", last.begun_at, last.verdict),
        Some(last) => {
            format!("the last, of {}, {}: {}", last.begun_at, last.verdict, last.reasons.join("; "))
        }
    };
    let see = format!(
        "see what failed: holdfast drill report {plan}; once it is mended: holdfast drill run {plan}"
    );
    let (status, detail, hint) = match schedule.and_then(|schedule| schedule.overdue_since) {
        _ if verdict == Some(Verdict::Failed.as_str()) => (CheckStatus::Failed, last, Some(see)),
        Some(since) => {
            let put_off = put_off.map(|why| format!("; it is put off: {why}")).unwrap_or_default();
            let detail = format!("overdue since {since}{put_off}; {last}");
            (CheckStatus::Failed, detail, Some(format!("run one: holdfast drill run {plan}")))
        }
        None if verdict == Some(Verdict::PassedLate.as_str()) => (CheckStatus::Warning, last, Some(see)),
        None => match put_off {
            Some(why) => (CheckStatus::Warning, format!("one is due, and put off: {why}"), None),
            None => (CheckStatus::Ok, last, None),
        },
    };
    CheckView { name: format!("drills of {plan}"), status, detail, hint }
}

/// Figures of all plans that are or were drilled, in the text format of Prometheus.
pub(crate) async fn metrics(site: &Site) -> Result<String> {
    type Figure = (&'static str, &'static str, fn(&DrillStateView) -> Option<f64>);
    const FIGURES: [Figure; 5] = [
        ("overdue", "1 where a drill should have passed and none has.", |state| {
            let schedule = state.schedule.as_ref()?;
            Some(f64::from(u8::from(schedule.overdue_since.is_some())))
        }),
        ("failed", "1 where the last drill has failed.", |state| {
            Some(f64::from(u8::from(state.last.as_ref()?.verdict == Verdict::Failed.as_str())))
        }),
        ("last_success_timestamp_seconds", "When the last drill began that passed, be it late.", |state| {
            Some(state.last_passed_at?.as_microseconds() as f64 / 1e6)
        }),
        ("rto_seconds", "How long the last drill took until everything was up.", |state| {
            Some(state.last.as_ref()?.rto.measured_seconds? as f64)
        }),
        ("rpo_seconds", "How old the oldest moment of the last drill was when it began.", |state| {
            Some(state.last.as_ref()?.rpo.measured_seconds? as f64)
        }),
    ];
    let states = states(site).await?;
    let mut text = String::new();
    for (name, help, figure) in FIGURES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP holdfast_drill_{name} {help}\n# TYPE holdfast_drill_{name} gauge");
        for state in &states {
            if let Some(value) = figure(state) {
                // Names of plans need no escaping.
                let _ = writeln!(text, "holdfast_drill_{name}{{plan=\"{}\"}} {value}", state.plan);
            }
        }
    }
    Ok(text)
}
