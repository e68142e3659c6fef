//! Jobs, past and present.

use model::{JobId, JobKind, JobState, Progress, Timestamp, VaultId, VmId};
use serde_json::Value;
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A job. Its request, result and problem are documents of whoever runs jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it does it to, in words.
    pub subject: String,
    /// The VM that it works on.
    pub vm_id: Option<VmId>,
    /// The vault that it works on.
    pub vault_id: Option<VaultId>,
    /// What was asked for.
    pub request: Value,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its work began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Progress,
    /// What it did.
    pub result: Option<Value>,
    /// Why it failed.
    pub problem: Option<Value>,
    /// What the operator should know although it went on.
    pub warnings: Vec<String>,
}

impl Catalog {
    /// Adds a job.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when its id is taken.
    pub async fn add_job(&self, job: &Job) -> Result<()> {
        let sql = "INSERT INTO jobs (id, kind, subject, vm_id, vault_id, request, state, created_at, started_at, \
                   ended_at, phase, done_bytes, total_bytes, result, problem, warnings) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
        let query = sqlx::query(sql)
            .bind(job.id.to_string())
            .bind(job.kind.as_str())
            .bind(job.subject.clone())
            .bind(job.vm_id.map(|id| id.to_string()))
            .bind(job.vault_id.map(|id| id.to_string()))
            .bind(job.request.to_string())
            .bind(job.state.as_str())
            .bind(job.created_at.as_microseconds())
            .bind(job.started_at.map(Timestamp::as_microseconds))
            .bind(job.ended_at.map(Timestamp::as_microseconds))
            .bind(job.progress.phase.clone())
            .bind(row::size_column(job.progress.done_bytes))
            .bind(job.progress.total_bytes.map(row::size_column))
            .bind(job.result.as_ref().map(Value::to_string))
            .bind(job.problem.as_ref().map(Value::to_string))
            .bind(row::json_column(&job.warnings)?);
        self.execute(&format!("adding the job {}", job.id), query).await.map(|_| ())
    }

    /// Keeps everything of a job that changes during its life.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn update_job(&self, job: &Job) -> Result<()> {
        let sql = "UPDATE jobs SET state = $2, started_at = $3, ended_at = $4, phase = $5, done_bytes = $6, \
                   total_bytes = $7, result = $8, problem = $9, warnings = $10 WHERE id = $1";
        let query = sqlx::query(sql)
            .bind(job.id.to_string())
            .bind(job.state.as_str())
            .bind(job.started_at.map(Timestamp::as_microseconds))
            .bind(job.ended_at.map(Timestamp::as_microseconds))
            .bind(job.progress.phase.clone())
            .bind(row::size_column(job.progress.done_bytes))
            .bind(job.progress.total_bytes.map(row::size_column))
            .bind(job.result.as_ref().map(Value::to_string))
            .bind(job.problem.as_ref().map(Value::to_string))
            .bind(row::json_column(&job.warnings)?);
        self.change(&format!("keeping the job {}", job.id), query).await
    }

    /// The newest jobs, newest first, at most `limit`.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>> {
        let query = sqlx::query("SELECT * FROM jobs ORDER BY created_at DESC, id DESC LIMIT $1");
        let rows = query.bind(i64::from(limit)).fetch_all(&self.pool).await;
        read_all(rows)
    }

    /// The jobs whose id starts so, at most `limit`.
    pub async fn jobs_starting_with(&self, id_prefix: &str, limit: u32) -> Result<Vec<Job>> {
        let sql = "SELECT * FROM jobs WHERE substr(id, 1, length($1)) = $1 ORDER BY id LIMIT $2";
        let query = sqlx::query(sql).bind(id_prefix.to_owned()).bind(i64::from(limit));
        read_all(query.fetch_all(&self.pool).await)
    }

    /// The backups of a VM that began and did not succeed, oldest first.
    pub async fn unsuccessful_backups(&self, vm_id: VmId) -> Result<Vec<Job>> {
        let sql = "SELECT * FROM jobs WHERE kind = 'backup' AND vm_id = $1 AND state IN ('failed', 'cancelled') \
                   AND started_at IS NOT NULL ORDER BY created_at, id";
        read_all(sqlx::query(sql).bind(vm_id.to_string()).fetch_all(&self.pool).await)
    }

    /// The jobs that have not ended, oldest first.
    pub async fn unfinished_jobs(&self) -> Result<Vec<Job>> {
        let sql = "SELECT * FROM jobs WHERE state IN ('queued', 'running') ORDER BY created_at, id";
        read_all(sqlx::query(sql).fetch_all(&self.pool).await)
    }
}

fn read_all(rows: sqlx::Result<Vec<AnyRow>>) -> Result<Vec<Job>> {
    rows.map_err(|error| Error::from_database("listing jobs", error))?.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<Job> {
    let total_bytes = row::optional_number(row, "total_bytes")?;
    Ok(Job {
        id: row::parsed(row, "id")?,
        kind: row::parsed(row, "kind")?,
        subject: row::text(row, "subject")?,
        vm_id: row::optional_parsed(row, "vm_id")?,
        vault_id: row::optional_parsed(row, "vault_id")?,
        request: row::json(row, "request")?,
        state: row::parsed(row, "state")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::optional_time(row, "started_at")?,
        ended_at: row::optional_time(row, "ended_at")?,
        progress: Progress {
            phase: row::text(row, "phase")?,
            done_bytes: row::size("done_bytes", row::number(row, "done_bytes")?)?,
            total_bytes: total_bytes.map(|bytes| row::size("total_bytes", bytes)).transpose()?,
        },
        result: row::optional_json(row, "result")?,
        problem: row::optional_json(row, "problem")?,
        warnings: row::json(row, "warnings")?,
    })
}
