//! When plans are drilled by themselves, and the look at who is due.

use api::{JobView, RunDrill, RunPlan, ScheduleDrill};
use catalog::{DrillSchedule, Job};
use model::{PlanName, Timestamp};
use policy::{Schedule, Zone};

use super::{conclude::REPORTS_KEPT_DEFAULT, due};
use crate::{
    failure::{Failure, Result},
    jobs, plans,
    site::Site,
    work,
};

/// For how long after one was due a drill may not have passed, unless the schedule says otherwise.
const GRACE_DEFAULT_HOURS: u32 = 24;

/// More than a year of grace is a mistake, and so is more than a day of jitter.
const GRACE_HOURS_MAX: u32 = 366 * 24;
const JITTER_SECONDS_MAX: u32 = 86_400;

/// Each report has its screenshots.
const REPORTS_KEPT_MAX: u32 = 10_000;

/// Who wants drills that are due.
const OPERATOR: &str = "the schedule";

/// Has a plan drilled by itself, in the place of what was said of that before.
pub(crate) async fn schedule(site: &Site, plan: &str, request: ScheduleDrill) -> Result<()> {
    let known = plans::history(site, plan).await?.swap_remove(0);
    let wanted = DrillSchedule {
        plan: known.name,
        schedule: parsed::<Schedule>(&request.schedule)?,
        zone: request.zone.as_deref().map_or_else(|| Ok(Zone::system()), parsed::<Zone>)?,
        scheduled_at: site.env.clock.now(),
        point: request.point,
        grace_hours: request.grace_hours.unwrap_or(GRACE_DEFAULT_HOURS),
        jitter_seconds: request.jitter_seconds.unwrap_or(0),
        keep_reports: request.keep_reports.unwrap_or(REPORTS_KEPT_DEFAULT),
        last_run_at: None,
        put_off: None,
    };
    check(&wanted)?;
    // Of two changes at once, neither undoes the other.
    let _admission = site.admission.lock().await;
    let before = find(site, &wanted.plan).await?;
    let when = |schedule: &DrillSchedule| {
        (schedule.schedule.clone(), schedule.zone.clone(), schedule.jitter_seconds)
    };
    let new = match before {
        // It goes on as it was: what is due or overdue stays so.
        Some(before) if when(&before) == when(&wanted) => DrillSchedule {
            scheduled_at: before.scheduled_at,
            last_run_at: before.last_run_at,
            put_off: before.put_off,
            ..wanted
        },
        _ => wanted,
    };
    site.catalog.put_drill_schedule(&new).await?;
    tracing::info!(plan = %new.plan, schedule = %new.schedule, "a plan is drilled by itself");
    Ok(())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}

fn check(schedule: &DrillSchedule) -> Result<()> {
    work::moment_selector(&schedule.point)?;
    if schedule.grace_hours > GRACE_HOURS_MAX {
        return Err(Failure::invalid("the time of grace is 366 days at most"));
    }
    if schedule.jitter_seconds > JITTER_SECONDS_MAX {
        return Err(Failure::invalid("drills are spread over 24 h at most"));
    }
    if !(1..=REPORTS_KEPT_MAX).contains(&schedule.keep_reports) {
        return Err(Failure::invalid(format!("1 to {REPORTS_KEPT_MAX} reports can be kept")));
    }
    Ok(())
}

/// When a plan is drilled by itself, if it is.
pub(super) async fn find(site: &Site, plan: &PlanName) -> Result<Option<DrillSchedule>> {
    let schedules = site.catalog.drill_schedules().await?;
    Ok(schedules.into_iter().find(|schedule| schedule.plan == *plan))
}

/// Has a plan drilled by itself no more. Its reports stay.
pub(crate) async fn unschedule(site: &Site, plan: &str) -> Result<()> {
    let schedules = site.catalog.drill_schedules().await?;
    let Some(schedule) = schedules.iter().find(|schedule| schedule.plan.as_str() == plan) else {
        plans::history(site, plan).await?;
        return Err(Failure::conflict(format!("the plan {plan} is not drilled by itself"))
            .with_hint(format!("have it drilled: holdfast drill schedule {plan} --every 7d")));
    };
    forget(site, &schedule.plan).await
}

/// The same where nobody minds that it was not. For a plan that is forgotten.
pub(crate) async fn forget(site: &Site, plan: &PlanName) -> Result<()> {
    match site.catalog.remove_drill_schedule(plan).await {
        Err(error) if error.kind() != catalog::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Drills a plan now.
pub(crate) async fn run(site: &Site, plan: &str, request: RunDrill) -> Result<JobView> {
    let operator = request.operator.unwrap_or_else(|| "unknown".to_owned());
    begin(site, plan, request.point, operator).await.map(jobs::view)
}

async fn begin(site: &Site, plan: &str, point: String, operator: String) -> Result<Job> {
    let request = RunPlan { kind: "test".to_owned(), point, direction: None, operator: Some(operator) };
    plans::begin_drill(site, plan, request).await
}

/// Begins the drills that are due; returns when one is due next. One that cannot begin is put off, and tried again at each look.
pub(crate) async fn look(site: &Site) -> Result<Option<Timestamp>> {
    let mut next: Option<Timestamp> = None;
    for schedule in site.catalog.drill_schedules().await? {
        let now = site.env.clock.now();
        let Some(due) = due::next_at(&schedule, now) else { continue };
        if due > now {
            next = Some(next.map_or(due, |next| next.min(due)));
            continue;
        }
        let plan = &schedule.plan;
        match begin(site, plan.as_str(), schedule.point.clone(), OPERATOR.to_owned()).await {
            Ok(_) => site.catalog.note_drill_run(plan, Some(now), None).await?,
            Err(failure) if schedule.put_off.as_deref() != Some(failure.detail()) => {
                tracing::warn!(%plan, reason = failure.detail(), "a drill is due, and put off");
                site.catalog.note_drill_run(plan, None, Some(failure.detail())).await?;
            }
            Err(_) => {}
        }
    }
    Ok(next)
}
