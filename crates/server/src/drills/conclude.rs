//! The end of a drill: its report is made and kept, and old ones go.

use api::DrillView;
use catalog::{KnownDrill, KnownPlanRun};
use model::PlanName;
use plan::{
    Run,
    drill::{Circumstances, Report, Verdict},
};

use super::{evidence, view};
use crate::{failure::Result, site::Site};

/// How many reports of a plan stay that has no schedule: a year of weeks.
pub(super) const REPORTS_KEPT_DEFAULT: u32 = 52;

/// Makes and keeps the report of a drill that has come to its end. Only then its run is over; whoever finds one that is not does this
/// again.
pub(crate) async fn conclude(site: &Site, known: &KnownPlanRun, run: &Run) -> Result<DrillView> {
    let circumstances = Circumstances {
        drill: known.id.to_string(),
        site: site.peers.name().to_string(),
        ended_at: site.env.clock.now(),
        seen: evidence::of(site, known.id, run),
    };
    let before = before(site, known).await?;
    let report = Report::of(run, &circumstances, before.as_ref());
    let drill = KnownDrill {
        run_id: known.id,
        plan: known.plan.clone(),
        begun_at: run.begun_at,
        ended_at: report.ended_at,
        verdict: report.verdict.as_str().to_owned(),
    };
    site.catalog.put_drill(&drill, &report.encode()).await?;
    site.catalog.put_plan_run(&KnownPlanRun { is_over: true, ..known.clone() }).await?;
    let reason = report.reasons.join("; ");
    match report.verdict {
        Verdict::Passed => tracing::info!(plan = %known.plan, drill = %known.id, "a drill passed"),
        verdict => tracing::warn!(plan = %known.plan, drill = %known.id, %verdict, reason, "a drill ended"),
    }
    if let Err(failure) = let_old_go(site, &known.plan).await {
        tracing::warn!(plan = %known.plan, reason = failure.detail(), "old reports of drills stay for now");
    }
    Ok(view::drill_view(&drill, Some(&report)))
}

/// The report of the last drill that says anything of the plan.
async fn before(site: &Site, known: &KnownPlanRun) -> Result<Option<Report>> {
    let drills = site.catalog.drills_of(known.plan.as_str()).await?;
    let is_before =
        |drill: &&KnownDrill| drill.begun_at < known.begun_at && drill.verdict != Verdict::Cancelled.as_str();
    let Some(drill) = drills.iter().find(is_before) else { return Ok(None) };
    let text = site.catalog.drill_report(drill.run_id).await?;
    // One that a newer Holdfast wrote is not compared with.
    Ok(text.and_then(|text| Report::decode(&text).ok()))
}

/// Removes the reports beyond those that are to stay. The last that passed stays as long as nothing newer has passed.
async fn let_old_go(site: &Site, plan: &PlanName) -> Result<()> {
    let schedules = site.catalog.drill_schedules().await?;
    let schedule = schedules.iter().find(|schedule| schedule.plan == *plan);
    let kept = schedule.map_or(REPORTS_KEPT_DEFAULT, |schedule| schedule.keep_reports);
    let drills = site.catalog.drills_of(plan.as_str()).await?;
    let last_passed = drills.iter().find(|drill| view::is_passed(drill)).map(|drill| drill.run_id);
    let old = drills.iter().skip(kept as usize).filter(|drill| Some(drill.run_id) != last_passed);
    for drill in old {
        evidence::remove(site, drill.run_id)?;
        site.catalog.remove_drill(drill.run_id).await?;
    }
    Ok(())
}
