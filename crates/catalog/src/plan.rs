//! Recovery plans and their runs.

use model::{JobId, PlanName, PlanRunId, SiteId, Timestamp};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A version of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPlan {
    /// Its name.
    pub name: PlanName,
    /// Which version of it, from 1.
    pub version: u64,
    /// The site that wrote it; none where it was this one.
    pub origin: Option<SiteId>,
    /// What somebody wrote.
    pub text: String,
    /// How that is written.
    pub format: String,
    /// Where its VMs are at home.
    pub primary_site: SiteId,
    /// When it was written.
    pub created_at: Timestamp,
    /// Whether the plan was forgotten; then there is no text.
    pub is_deleted: bool,
    /// Whether somebody here has agreed to what it runs on this host.
    pub is_accepted: bool,
}

/// What another site has of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanDelivery {
    /// The plan's name.
    pub plan: PlanName,
    /// The other site.
    pub peer_id: SiteId,
    /// The version that it has kept last; 0 where it has kept none.
    pub version: u64,
    /// The digest of what it has kept last.
    pub content: String,
    /// Why it does not keep what this site has.
    pub problem: Option<String>,
}

/// A run of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPlanRun {
    /// The run.
    pub id: PlanRunId,
    /// The plan's name.
    pub plan: PlanName,
    /// How it stands, in a word.
    pub standing: String,
    /// Whether nothing of it is left to be done by itself.
    pub is_over: bool,
    /// The job that carries it out, or did so last.
    pub job_id: Option<JobId>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it was kept last.
    pub changed_at: Timestamp,
    /// The run, as whoever carries it out keeps it.
    pub document: String,
}

impl Catalog {
    /// Adds a version of a plan.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when there is this version of it from this site.
    pub async fn add_plan(&self, plan: &KnownPlan) -> Result<()> {
        let sql = "INSERT INTO plans (name, version, origin, text, format, primary_site, created_at, is_deleted, \
                   is_accepted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(sql)
            .bind(plan.name.to_string())
            .bind(row::size_column(plan.version))
            .bind(plan.origin.map(|origin| origin.to_string()).unwrap_or_default())
            .bind(plan.text.clone())
            .bind(plan.format.clone())
            .bind(plan.primary_site.to_string())
            .bind(plan.created_at.as_microseconds())
            .bind(i64::from(plan.is_deleted))
            .bind(i64::from(plan.is_accepted));
        self.execute(&format!("adding the plan {}", plan.name), query).await.map(|_| ())
    }

    /// The newest version of each plan, by name; also of those that were forgotten.
    pub async fn plans(&self) -> Result<Vec<KnownPlan>> {
        let sql = "SELECT * FROM plans AS plan WHERE NOT EXISTS (SELECT 1 FROM plans AS other \
                   WHERE other.name = plan.name AND (other.version > plan.version \
                   OR (other.version = plan.version AND other.created_at > plan.created_at))) ORDER BY name, origin";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing plans", error))?;
        let mut plans: Vec<_> = rows.iter().map(read).collect::<Result<_>>()?;
        plans.dedup_by(|later, first| later.name == first.name);
        Ok(plans)
    }

    /// All versions of a plan, newest first. Of two with one number that is newer which was written later.
    pub async fn plan_versions(&self, name: &str) -> Result<Vec<KnownPlan>> {
        let sql = "SELECT * FROM plans WHERE name = $1 ORDER BY version DESC, created_at DESC, origin";
        let rows = sqlx::query(sql).bind(name.to_owned()).fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing the versions of a plan", error))?
            .iter()
            .map(read)
            .collect()
    }

    /// Keeps that somebody has agreed to what a version of a plan runs on this host.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn accept_plan(&self, plan: &KnownPlan) -> Result<()> {
        let sql = "UPDATE plans SET is_accepted = 1 WHERE name = $1 AND version = $2 AND origin = $3";
        let query = sqlx::query(sql)
            .bind(plan.name.to_string())
            .bind(row::size_column(plan.version))
            .bind(plan.origin.map(|origin| origin.to_string()).unwrap_or_default());
        self.change(&format!("accepting the plan {}", plan.name), query).await
    }

    /// Forgets what a plan was before this version. Its runs stay.
    pub async fn remove_plan_before(&self, name: &PlanName, version: u64) -> Result<()> {
        let query = sqlx::query("DELETE FROM plans WHERE name = $1 AND version < $2");
        let query = query.bind(name.to_string()).bind(row::size_column(version));
        self.execute(&format!("removing the plan {name}"), query).await.map(|_| ())
    }

    /// Keeps what another site has of a plan.
    pub async fn put_plan_delivery(&self, delivery: &PlanDelivery) -> Result<()> {
        let sql = "INSERT INTO plan_deliveries (plan, peer_id, version, content, problem) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plan, peer_id) DO UPDATE SET \
                   version = excluded.version, content = excluded.content, problem = excluded.problem";
        let query = sqlx::query(sql)
            .bind(delivery.plan.to_string())
            .bind(delivery.peer_id.to_string())
            .bind(row::size_column(delivery.version))
            .bind(delivery.content.clone())
            .bind(delivery.problem.clone());
        self.execute(&format!("keeping who has the plan {}", delivery.plan), query).await.map(|_| ())
    }

    /// What other sites have of all plans.
    pub async fn plan_deliveries(&self) -> Result<Vec<PlanDelivery>> {
        let rows =
            sqlx::query("SELECT * FROM plan_deliveries ORDER BY plan, peer_id").fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            Ok(PlanDelivery {
                plan: row::parsed(row, "plan")?,
                peer_id: row::parsed(row, "peer_id")?,
                version: row::size("version", row::number(row, "version")?)?,
                content: row::text(row, "content")?,
                problem: row::optional_text(row, "problem")?,
            })
        };
        rows.map_err(|error| Error::from_database("listing who has plans", error))?.iter().map(read).collect()
    }

    /// Keeps a run.
    pub async fn put_plan_run(&self, run: &KnownPlanRun) -> Result<()> {
        let sql = "INSERT INTO plan_runs (id, plan, standing, is_over, job_id, begun_at, changed_at, document) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
                   standing = excluded.standing, is_over = excluded.is_over, job_id = excluded.job_id, \
                   changed_at = excluded.changed_at, document = excluded.document";
        let query = sqlx::query(sql)
            .bind(run.id.to_string())
            .bind(run.plan.to_string())
            .bind(run.standing.clone())
            .bind(i64::from(run.is_over))
            .bind(run.job_id.map(|id| id.to_string()))
            .bind(run.begun_at.as_microseconds())
            .bind(run.changed_at.as_microseconds())
            .bind(run.document.clone());
        self.execute(&format!("keeping the run {}", run.id), query).await.map(|_| ())
    }

    /// The runs of a plan, newest first, at most `limit`.
    pub async fn plan_runs(&self, plan: &str, limit: u32) -> Result<Vec<KnownPlanRun>> {
        let sql = "SELECT * FROM plan_runs WHERE plan = $1 ORDER BY begun_at DESC, id LIMIT $2";
        let query = sqlx::query(sql).bind(plan.to_owned()).bind(i64::from(limit));
        read_runs(query.fetch_all(&self.pool).await)
    }

    /// The runs that are not over, oldest first.
    pub async fn unfinished_plan_runs(&self) -> Result<Vec<KnownPlanRun>> {
        let sql = "SELECT * FROM plan_runs WHERE is_over = 0 ORDER BY begun_at, id";
        read_runs(sqlx::query(sql).fetch_all(&self.pool).await)
    }

    /// The run with this id.
    pub async fn plan_run(&self, id: &str) -> Result<Option<KnownPlanRun>> {
        let query = sqlx::query("SELECT * FROM plan_runs WHERE id = $1").bind(id.to_owned());
        Ok(read_runs(query.fetch_all(&self.pool).await)?.pop())
    }
}

fn read(row: &AnyRow) -> Result<KnownPlan> {
    let origin = row::text(row, "origin")?;
    let origin = if origin.is_empty() { None } else { Some(row::parsed(row, "origin")?) };
    Ok(KnownPlan {
        origin,
        is_deleted: row::number(row, "is_deleted")? != 0,
        is_accepted: row::number(row, "is_accepted")? != 0,
        name: row::parsed(row, "name")?,
        version: row::size("version", row::number(row, "version")?)?,
        text: row::text(row, "text")?,
        format: row::text(row, "format")?,
        primary_site: row::parsed(row, "primary_site")?,
        created_at: row::time(row, "created_at")?,
    })
}

fn read_runs(rows: sqlx::Result<Vec<AnyRow>>) -> Result<Vec<KnownPlanRun>> {
    let read = |row: &AnyRow| {
        Ok(KnownPlanRun {
            id: row::parsed(row, "id")?,
            plan: row::parsed(row, "plan")?,
            standing: row::text(row, "standing")?,
            is_over: row::number(row, "is_over")? != 0,
            job_id: row::optional_parsed(row, "job_id")?,
            begun_at: row::time(row, "begun_at")?,
            changed_at: row::time(row, "changed_at")?,
            document: row::text(row, "document")?,
        })
    };
    rows.map_err(|error| Error::from_database("listing runs of plans", error))?.iter().map(read).collect()
}
