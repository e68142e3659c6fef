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
    /// What somebody wrote.
    pub text: String,
    /// How that is written.
    pub format: String,
    /// Where its VMs are at home.
    pub primary_site: SiteId,
    /// When it was written.
    pub created_at: Timestamp,
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
    /// [`crate::ErrorKind::Exists`] when there is this version of it.
    pub async fn add_plan(&self, plan: &KnownPlan) -> Result<()> {
        let sql = "INSERT INTO plans (name, version, text, format, primary_site, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql)
            .bind(plan.name.to_string())
            .bind(row::size_column(plan.version))
            .bind(plan.text.clone())
            .bind(plan.format.clone())
            .bind(plan.primary_site.to_string())
            .bind(plan.created_at.as_microseconds());
        self.execute(&format!("adding the plan {}", plan.name), query).await.map(|_| ())
    }

    /// The newest version of each plan, by name.
    pub async fn plans(&self) -> Result<Vec<KnownPlan>> {
        let sql = "SELECT * FROM plans AS plan WHERE version = (SELECT MAX(version) FROM plans \
                   WHERE name = plan.name) ORDER BY name";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing plans", error))?.iter().map(read).collect()
    }

    /// All versions of a plan, newest first.
    pub async fn plan_versions(&self, name: &str) -> Result<Vec<KnownPlan>> {
        let query = sqlx::query("SELECT * FROM plans WHERE name = $1 ORDER BY version DESC");
        let rows = query.bind(name.to_owned()).fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing the versions of a plan", error))?
            .iter()
            .map(read)
            .collect()
    }

    /// Forgets a plan. Its runs stay.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_plan(&self, name: &PlanName) -> Result<()> {
        let query = sqlx::query("DELETE FROM plans WHERE name = $1").bind(name.to_string());
        self.change(&format!("removing the plan {name}"), query).await
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
    Ok(KnownPlan {
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
