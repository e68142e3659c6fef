//! Policies, who follows them, and what they made.

use std::collections::BTreeSet;

use model::{Consistency, JobId, PointId, PolicyName, RunKind, Timestamp, VmId};
use policy::{Retention, Schedule, Zone};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A policy that the site knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPolicy {
    /// Its name, which no other policy of the site has.
    pub name: PolicyName,
    /// When its runs are due.
    pub schedule: Schedule,
    /// The time zone of the schedule, and of the days that the retention counts.
    pub zone: Zone,
    /// Since when schedule and zone are these.
    pub scheduled_at: Timestamp,
    /// Which of the points that it made stay; without it, all do.
    pub retention: Option<Retention>,
    /// When the retention last became shorter than it was.
    pub shortened_at: Timestamp,
    /// For how long after that nothing is deleted, in hours.
    pub grace_hours: u32,
    /// Over how long the runs of its VMs are spread, in seconds.
    pub jitter_seconds: u32,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// A VM whose backups or snapshots follow a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFollower {
    /// The VM.
    pub vm_id: VmId,
    /// What the policy makes of it.
    pub kind: RunKind,
    /// The policy.
    pub policy: PolicyName,
    /// Since when it follows this one.
    pub joined_at: Timestamp,
    /// The consistency of its snapshots, where not that of its protection.
    pub consistency: Option<Consistency>,
    /// Its last run.
    pub last_run: Option<PolicyRun>,
}

/// A run of a policy for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRun {
    /// When it came.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: RunOutcome,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// This job was lined up.
    Submitted(JobId),
    /// Nothing was made, for this reason.
    Skipped(String),
}

/// A VM whose last run came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedRun {
    /// The VM.
    pub vm_id: VmId,
    /// What was to be made of it.
    pub kind: RunKind,
    /// When the job failed.
    pub ended_at: Timestamp,
    /// How many jobs of this kind have failed for the VM since one succeeded.
    pub failures: u32,
}

impl Catalog {
    /// Adds a policy.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when another has its name.
    pub async fn add_policy(&self, policy: &KnownPolicy) -> Result<()> {
        let sql = "INSERT INTO policies (name, schedule, zone, scheduled_at, retention, shortened_at, grace_hours, \
                   jitter_seconds, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(sql)
            .bind(policy.name.to_string())
            .bind(policy.schedule.to_string())
            .bind(policy.zone.to_string())
            .bind(policy.scheduled_at.as_microseconds())
            .bind(policy.retention.as_ref().map(row::json_column).transpose()?)
            .bind(policy.shortened_at.as_microseconds())
            .bind(i64::from(policy.grace_hours))
            .bind(i64::from(policy.jitter_seconds))
            .bind(policy.created_at.as_microseconds());
        self.execute(&format!("adding the policy {}", policy.name), query).await.map(|_| ())
    }

    /// Keeps everything of a policy but its name and since when it is known.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_policy(&self, policy: &KnownPolicy) -> Result<()> {
        let sql = "UPDATE policies SET schedule = $2, zone = $3, scheduled_at = $4, retention = $5, \
                   shortened_at = $6, grace_hours = $7, jitter_seconds = $8 WHERE name = $1";
        let query = sqlx::query(sql)
            .bind(policy.name.to_string())
            .bind(policy.schedule.to_string())
            .bind(policy.zone.to_string())
            .bind(policy.scheduled_at.as_microseconds())
            .bind(policy.retention.as_ref().map(row::json_column).transpose()?)
            .bind(policy.shortened_at.as_microseconds())
            .bind(i64::from(policy.grace_hours))
            .bind(i64::from(policy.jitter_seconds));
        self.change(&format!("changing the policy {}", policy.name), query).await
    }

    /// All policies, by name.
    pub async fn policies(&self) -> Result<Vec<KnownPolicy>> {
        let rows = sqlx::query("SELECT * FROM policies ORDER BY name").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing policies", error))?.iter().map(read).collect()
    }

    /// The policy with this name.
    pub async fn policy(&self, name: &str) -> Result<Option<KnownPolicy>> {
        let query = sqlx::query("SELECT * FROM policies WHERE name = $1").bind(name.to_owned());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a policy", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Forgets a policy.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::InUse`] when a VM follows it.
    pub async fn remove_policy(&self, name: &PolicyName) -> Result<()> {
        let query = sqlx::query("DELETE FROM policies WHERE name = $1").bind(name.to_string());
        self.change(&format!("removing the policy {name}"), query).await
    }

    /// Makes a VM's backups or snapshots follow a policy. What follows it already goes on as before.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when the policy or the VM is not known, or its backups are to follow and it is not protected.
    pub async fn join_policy(
        &self,
        kind: RunKind,
        vm_id: VmId,
        policy: &PolicyName,
        consistency: Option<Consistency>,
        now: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO policy_followers (vm_id, kind, protected_vm_id, policy, consistency, joined_at) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (vm_id, kind) DO UPDATE SET \
                   joined_at = CASE WHEN policy_followers.policy = excluded.policy \
                   THEN policy_followers.joined_at ELSE excluded.joined_at END, \
                   last_run_at = CASE WHEN policy_followers.policy = excluded.policy \
                   THEN policy_followers.last_run_at END, \
                   last_job = CASE WHEN policy_followers.policy = excluded.policy \
                   THEN policy_followers.last_job END, \
                   skipped = CASE WHEN policy_followers.policy = excluded.policy \
                   THEN policy_followers.skipped END, \
                   policy = excluded.policy, consistency = excluded.consistency";
        let query = sqlx::query(sql)
            .bind(vm_id.to_string())
            .bind(kind.as_str())
            .bind((kind == RunKind::Backup).then(|| vm_id.to_string()))
            .bind(policy.to_string())
            .bind(consistency.map(Consistency::as_str))
            .bind(now.as_microseconds());
        let context = format!("making the {kind}s of the VM {vm_id} follow the policy {policy}");
        self.execute(&context, query).await.map(|_| ())
    }

    /// Makes a VM's backups or snapshots follow no policy.
    pub async fn leave_policy(&self, kind: RunKind, vm_id: VmId) -> Result<()> {
        let query = sqlx::query("DELETE FROM policy_followers WHERE vm_id = $1 AND kind = $2")
            .bind(vm_id.to_string())
            .bind(kind.as_str());
        let context = format!("making the {kind}s of the VM {vm_id} follow no policy");
        self.execute(&context, query).await.map(|_| ())
    }

    /// Who follows a policy: by VM, and the snapshots of a VM before its backups.
    pub async fn policy_followers(&self) -> Result<Vec<PolicyFollower>> {
        let sql = "SELECT * FROM policy_followers ORDER BY vm_id, kind DESC";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing who follows policies", error))?;
        rows.iter().map(read_follower).collect()
    }

    /// What a VM's backups or snapshots follow.
    pub async fn policy_of(&self, kind: RunKind, vm_id: VmId) -> Result<Option<PolicyFollower>> {
        let query = sqlx::query("SELECT * FROM policy_followers WHERE vm_id = $1 AND kind = $2")
            .bind(vm_id.to_string())
            .bind(kind.as_str());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a VM's policy", error))?;
        found.as_ref().map(read_follower).transpose()
    }

    /// Keeps the last run of a VM. What follows no policy any more has none.
    pub async fn set_policy_run(&self, kind: RunKind, vm_id: VmId, run: &PolicyRun) -> Result<()> {
        let (job, skipped) = match &run.outcome {
            RunOutcome::Submitted(job) => (Some(job.to_string()), None),
            RunOutcome::Skipped(reason) => (None, Some(reason.clone())),
        };
        let sql = "UPDATE policy_followers SET last_run_at = $3, last_job = $4, skipped = $5 \
                   WHERE vm_id = $1 AND kind = $2";
        let query = sqlx::query(sql)
            .bind(vm_id.to_string())
            .bind(kind.as_str())
            .bind(run.at.as_microseconds())
            .bind(job)
            .bind(skipped);
        self.execute(&format!("keeping the last {kind} run of the VM {vm_id}"), query).await.map(|_| ())
    }

    /// The last runs whose jobs failed, where none of the kind has succeeded since.
    pub async fn failed_runs(&self) -> Result<Vec<FailedRun>> {
        let sql = "SELECT failed.vm_id, failed.kind, failed.ended_at, failed.failures FROM (SELECT run.vm_id, run.kind, \
                   run.ended_at, (SELECT COUNT(*) FROM jobs AS other WHERE other.kind = run.kind \
                   AND other.vm_id = run.vm_id AND other.state = 'failed' AND other.created_at <= run.created_at \
                   AND other.created_at > COALESCE((SELECT MAX(good.created_at) FROM jobs AS good \
                   WHERE good.kind = run.kind AND good.vm_id = run.vm_id AND good.state = 'succeeded'), 0)) AS failures \
                   FROM policy_followers AS follower JOIN jobs AS run ON run.id = follower.last_job \
                   WHERE run.state = 'failed' AND run.ended_at IS NOT NULL) AS failed WHERE failed.failures > 0";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing runs that failed", error))?;
        let read = |row: &AnyRow| {
            Ok(FailedRun {
                vm_id: row::parsed(row, "vm_id")?,
                kind: row::parsed(row, "kind")?,
                ended_at: row::time(row, "ended_at")?,
                failures: row::count(row, "failures")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Keeps that a policy made this point.
    pub async fn add_policy_point(&self, vm_id: VmId, point: PointId) -> Result<()> {
        let sql =
            "INSERT INTO policy_points (point_id, vm_id) VALUES ($1, $2) ON CONFLICT (point_id) DO NOTHING";
        let query = sqlx::query(sql).bind(point.to_string()).bind(vm_id.to_string());
        self.execute(&format!("keeping who made the point {point}"), query).await.map(|_| ())
    }

    /// The points of a VM that policies made, also those that are gone.
    pub async fn policy_points(&self, vm_id: VmId) -> Result<BTreeSet<PointId>> {
        let query =
            sqlx::query("SELECT point_id FROM policy_points WHERE vm_id = $1").bind(vm_id.to_string());
        let rows = query.fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing what policies made", error))?;
        rows.iter().map(|row| row::parsed(row, "point_id")).collect()
    }
}

fn read(row: &AnyRow) -> Result<KnownPolicy> {
    Ok(KnownPolicy {
        name: row::parsed(row, "name")?,
        schedule: row::parsed(row, "schedule")?,
        zone: row::parsed(row, "zone")?,
        scheduled_at: row::time(row, "scheduled_at")?,
        retention: row::optional_json(row, "retention")?,
        shortened_at: row::time(row, "shortened_at")?,
        grace_hours: row::count(row, "grace_hours")?,
        jitter_seconds: row::count(row, "jitter_seconds")?,
        created_at: row::time(row, "created_at")?,
    })
}

fn read_follower(row: &AnyRow) -> Result<PolicyFollower> {
    let job = row::optional_parsed(row, "last_job")?.map(RunOutcome::Submitted);
    let skipped = row::optional_text(row, "skipped")?.map(RunOutcome::Skipped);
    let last_run = row::optional_time(row, "last_run_at")?.zip(job.or(skipped));
    Ok(PolicyFollower {
        vm_id: row::parsed(row, "vm_id")?,
        kind: row::parsed(row, "kind")?,
        policy: row::parsed(row, "policy")?,
        joined_at: row::time(row, "joined_at")?,
        consistency: row::optional_parsed(row, "consistency")?,
        last_run: last_run.map(|(at, outcome)| PolicyRun { at, outcome }),
    })
}
