//! Drills of recovery plans: when they run by themselves, and what came of them.

use model::{PlanName, PlanRunId, Timestamp};
use policy::{Schedule, Zone};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// When a plan is drilled by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillSchedule {
    /// The plan.
    pub plan: PlanName,
    /// When drills are due.
    pub schedule: Schedule,
    /// The time zone of that.
    pub zone: Zone,
    /// Since when schedule and zone are these.
    pub scheduled_at: Timestamp,
    /// Which moment of the replicas is drilled.
    pub point: String,
    /// For how long after one was due a drill may not have passed before it is overdue, in hours.
    pub grace_hours: u32,
    /// Over how long the drills of plans are spread, in seconds.
    pub jitter_seconds: u32,
    /// How many reports stay.
    pub keep_reports: u32,
    /// When the last drill that was due began.
    pub last_run_at: Option<Timestamp>,
    /// Why the one that is due has not begun.
    pub put_off: Option<String>,
}

/// A drill that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDrill {
    /// The run that it was.
    pub run_id: PlanRunId,
    /// The plan's name.
    pub plan: PlanName,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What came of it, in a word.
    pub verdict: String,
}

impl Catalog {
    /// Keeps when a plan is drilled, in the place of what was kept of it.
    pub async fn put_drill_schedule(&self, schedule: &DrillSchedule) -> Result<()> {
        let sql = "INSERT INTO drill_schedules (plan, schedule, zone, scheduled_at, point, grace_hours, \
                   jitter_seconds, keep_reports, last_run_at, put_off) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (plan) DO UPDATE SET \
                   schedule = excluded.schedule, zone = excluded.zone, scheduled_at = excluded.scheduled_at, \
                   point = excluded.point, grace_hours = excluded.grace_hours, \
                   jitter_seconds = excluded.jitter_seconds, keep_reports = excluded.keep_reports, \
                   last_run_at = excluded.last_run_at, put_off = excluded.put_off";
        let query = sqlx::query(sql)
            .bind(schedule.plan.to_string())
            .bind(schedule.schedule.to_string())
            .bind(schedule.zone.to_string())
            .bind(schedule.scheduled_at.as_microseconds())
            .bind(schedule.point.clone())
            .bind(i64::from(schedule.grace_hours))
            .bind(i64::from(schedule.jitter_seconds))
            .bind(i64::from(schedule.keep_reports))
            .bind(schedule.last_run_at.map(Timestamp::as_microseconds))
            .bind(schedule.put_off.clone());
        let context = format!("keeping when the plan {} is drilled", schedule.plan);
        self.execute(&context, query).await.map(|_| ())
    }

    /// Keeps that the drill that was due has begun, or why it has not. A plan that is not drilled any more has nothing of that.
    pub async fn note_drill_run(
        &self,
        plan: &PlanName,
        last_run_at: Option<Timestamp>,
        put_off: Option<&str>,
    ) -> Result<()> {
        let sql = "UPDATE drill_schedules SET last_run_at = COALESCE($2, last_run_at), put_off = $3 WHERE plan = $1";
        let query = sqlx::query(sql)
            .bind(plan.to_string())
            .bind(last_run_at.map(Timestamp::as_microseconds))
            .bind(put_off.map(str::to_owned));
        self.execute(&format!("keeping the last drill of the plan {plan}"), query).await.map(|_| ())
    }

    /// When plans are drilled, by plan.
    pub async fn drill_schedules(&self) -> Result<Vec<DrillSchedule>> {
        let rows = sqlx::query("SELECT * FROM drill_schedules ORDER BY plan").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing when plans are drilled", error))?;
        rows.iter().map(read_schedule).collect()
    }

    /// Forgets when a plan is drilled. Its reports stay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_drill_schedule(&self, plan: &PlanName) -> Result<()> {
        let query = sqlx::query("DELETE FROM drill_schedules WHERE plan = $1").bind(plan.to_string());
        self.change(&format!("forgetting when the plan {plan} is drilled"), query).await
    }

    /// Keeps what came of a drill and its report, in the place of what was kept of it.
    pub async fn put_drill(&self, drill: &KnownDrill, report: &str) -> Result<()> {
        let sql = "INSERT INTO drills (run_id, plan, begun_at, ended_at, verdict, report) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id) DO UPDATE SET \
                   ended_at = excluded.ended_at, verdict = excluded.verdict, report = excluded.report";
        let query = sqlx::query(sql)
            .bind(drill.run_id.to_string())
            .bind(drill.plan.to_string())
            .bind(drill.begun_at.as_microseconds())
            .bind(drill.ended_at.as_microseconds())
            .bind(drill.verdict.clone())
            .bind(report.to_owned());
        self.execute(&format!("keeping the drill {}", drill.run_id), query).await.map(|_| ())
    }

    /// The drills of a plan, newest first.
    pub async fn drills_of(&self, plan: &str) -> Result<Vec<KnownDrill>> {
        let sql = "SELECT run_id, plan, begun_at, ended_at, verdict FROM drills WHERE plan = $1 \
                   ORDER BY begun_at DESC, run_id";
        let rows = sqlx::query(sql).bind(plan.to_owned()).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing drills of a plan", error))?;
        rows.iter().map(read_drill).collect()
    }

    /// The report of a drill, as whoever made it keeps it.
    pub async fn drill_report(&self, run_id: PlanRunId) -> Result<Option<String>> {
        let query = sqlx::query("SELECT report FROM drills WHERE run_id = $1").bind(run_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("reading the report of a drill", error))?;
        found.as_ref().map(|row| row::text(row, "report")).transpose()
    }

    /// The plans of which there are drills, by name.
    pub async fn drilled_plans(&self) -> Result<Vec<PlanName>> {
        let rows = sqlx::query("SELECT DISTINCT plan FROM drills ORDER BY plan").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing plans that were drilled", error))?;
        rows.iter().map(|row| row::parsed(row, "plan")).collect()
    }

    /// Forgets a drill. One that is not known is forgotten already.
    pub async fn remove_drill(&self, run_id: PlanRunId) -> Result<()> {
        let query = sqlx::query("DELETE FROM drills WHERE run_id = $1").bind(run_id.to_string());
        self.execute(&format!("forgetting the drill {run_id}"), query).await.map(|_| ())
    }
}

fn read_schedule(row: &AnyRow) -> Result<DrillSchedule> {
    Ok(DrillSchedule {
        plan: row::parsed(row, "plan")?,
        schedule: row::parsed(row, "schedule")?,
        zone: row::parsed(row, "zone")?,
        scheduled_at: row::time(row, "scheduled_at")?,
        point: row::text(row, "point")?,
        grace_hours: row::count(row, "grace_hours")?,
        jitter_seconds: row::count(row, "jitter_seconds")?,
        keep_reports: row::count(row, "keep_reports")?,
        last_run_at: row::optional_time(row, "last_run_at")?,
        put_off: row::optional_text(row, "put_off")?,
    })
}

fn read_drill(row: &AnyRow) -> Result<KnownDrill> {
    Ok(KnownDrill {
        run_id: row::parsed(row, "run_id")?,
        plan: row::parsed(row, "plan")?,
        begun_at: row::time(row, "begun_at")?,
        ended_at: row::time(row, "ended_at")?,
        verdict: row::text(row, "verdict")?,
    })
}

#[cfg(test)]
mod tests;
