//! The managed snapshots of a site. What they hold is in the snapshot store.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    CaptureId, ConsistencyReached, DiskName, DiskSummary, JobId, PolicyName, SnapshotId, SnapshotName,
    SnapshotState, Timestamp, VmId, VmName,
};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A managed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its name, which no other living snapshot of the site has.
    pub name: SnapshotName,
    /// What it is a snapshot of: a VM, or what stands for an image file. Its family are all snapshots of that.
    pub family: VmId,
    /// The name of that at the moment.
    pub family_name: VmName,
    /// What was asked for, in words: a VM, a disk of one, a file.
    pub source: String,
    /// The only disk of the family that it holds; none where it holds all of them.
    pub disk: Option<DiskName>,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// The capture that it comes from.
    pub capture_id: CaptureId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The moment that it shows, once that is fixed.
    pub taken_at: Option<Timestamp>,
    /// When all of it was in the store.
    pub ready_at: Option<Timestamp>,
    /// The consistency of that moment.
    pub consistency: Option<ConsistencyReached>,
    /// Its disks, once the moment is fixed; what was read and stored of them only once it is ready.
    pub disks: Vec<DiskSummary>,
    /// Words of the user's.
    pub tags: BTreeMap<String, String>,
    /// Until when nobody may delete it.
    pub locked_until: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// When a deleted one is purged.
    pub purge_after: Option<Timestamp>,
    /// The job that makes it.
    pub job_id: Option<JobId>,
    /// Why it failed.
    pub problem: Option<String>,
    /// The policy that made it; none where somebody asked for it.
    pub policy: Option<PolicyName>,
}

/// Which snapshots are wanted.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Only those of this family.
    pub family: Option<VmId>,
    /// Only those with this tag.
    pub tag: Option<(String, String)>,
    /// Those that are deleted instead of all others.
    pub deleted: bool,
    /// Only those that come after this one in the list.
    pub after: Option<(Timestamp, SnapshotId)>,
}

/// A page of snapshots, newest first.
macro_rules! page {
    ($which:literal) => {
        concat!(
            "SELECT * FROM snapshots WHERE ",
            $which,
            " AND (created_at, id) < ($1, $2) AND ($4 = '' OR replace(tags, $4, '') <> tags) \
             ORDER BY created_at DESC, id DESC LIMIT $3"
        )
    };
}

/// By name or the start of an id, which is made of digits and small letters.
const CALLED: &str = "SELECT * FROM snapshots WHERE name = $1 OR (id >= $1 AND id <= $1 || 'zzzzzzzzzzzzzzzz') \
     ORDER BY CASE WHEN name = $1 THEN 0 ELSE 1 END, \
     CASE WHEN state IN ('waiting', 'copying', 'ready') THEN 0 ELSE 1 END, created_at DESC LIMIT $2";

const STORED: &str = "SELECT * FROM snapshots WHERE family = $1 AND state IN ('ready', 'deleted') \
     ORDER BY taken_at DESC, id DESC LIMIT $2";

impl SnapshotFilter {
    fn sql(&self) -> &'static str {
        match (self.deleted, self.family) {
            (false, None) => page!("state <> 'deleted'"),
            (false, Some(_)) => page!("state <> 'deleted' AND family = $5"),
            (true, None) => page!("state = 'deleted'"),
            (true, Some(_)) => page!("state = 'deleted' AND family = $5"),
        }
    }
}

impl Catalog {
    /// Keeps a new snapshot.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when a living snapshot has its name.
    pub async fn add_snapshot(&self, snapshot: &KnownSnapshot) -> Result<()> {
        let sql = "INSERT INTO snapshots (id, name, family, family_name, source, disk, state, capture_id, \
                   created_at, taken_at, ready_at, consistency, disks, tags, locked_until, deleted_at, \
                   purge_after, job_id, problem, policy) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                   $13, $14, $15, $16, $17, $18, $19, $20)";
        let query = sqlx::query(sql)
            .bind(snapshot.id.to_string())
            .bind(snapshot.name.to_string())
            .bind(snapshot.family.to_string())
            .bind(snapshot.family_name.to_string())
            .bind(snapshot.source.clone())
            .bind(snapshot.disk.as_ref().map(ToString::to_string))
            .bind(snapshot.state.as_str())
            .bind(snapshot.capture_id.to_string())
            .bind(snapshot.created_at.as_microseconds())
            .bind(snapshot.taken_at.map(Timestamp::as_microseconds))
            .bind(snapshot.ready_at.map(Timestamp::as_microseconds))
            .bind(snapshot.consistency.as_ref().map(row::json_column).transpose()?)
            .bind(row::json_column(&snapshot.disks)?)
            .bind(row::json_column(&snapshot.tags)?)
            .bind(snapshot.locked_until.map(Timestamp::as_microseconds))
            .bind(snapshot.deleted_at.map(Timestamp::as_microseconds))
            .bind(snapshot.purge_after.map(Timestamp::as_microseconds))
            .bind(snapshot.job_id.as_ref().map(ToString::to_string))
            .bind(snapshot.problem.clone())
            .bind(snapshot.policy.as_ref().map(ToString::to_string));
        self.execute(&format!("adding the snapshot {}", snapshot.name), query).await.map(|_| ())
    }

    /// Keeps everything of a snapshot that changes during its life, where its state may come after the one that is kept.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when there is none that may come into this state, [`ErrorKind::Exists`] when it comes back to
    /// life and another has its name.
    pub async fn move_snapshot(&self, snapshot: &KnownSnapshot) -> Result<()> {
        let sql = "UPDATE snapshots SET state = $2, taken_at = $3, ready_at = $4, consistency = $5, disks = $6, \
                   deleted_at = $7, purge_after = $8, problem = $9 WHERE id = $1 AND state IN ($10, $11, $12)";
        let mut before = snapshot.state.predecessors().iter().map(|state| state.as_str());
        let mut before = || before.next().unwrap_or_default();
        let query = sqlx::query(sql)
            .bind(snapshot.id.to_string())
            .bind(snapshot.state.as_str())
            .bind(snapshot.taken_at.map(Timestamp::as_microseconds))
            .bind(snapshot.ready_at.map(Timestamp::as_microseconds))
            .bind(snapshot.consistency.as_ref().map(row::json_column).transpose()?)
            .bind(row::json_column(&snapshot.disks)?)
            .bind(snapshot.deleted_at.map(Timestamp::as_microseconds))
            .bind(snapshot.purge_after.map(Timestamp::as_microseconds))
            .bind(snapshot.problem.clone())
            .bind(before())
            .bind(before())
            .bind(before());
        self.change(&format!("noting that the snapshot {} is {}", snapshot.name, snapshot.state), query).await
    }

    /// Keeps which job makes a snapshot.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_snapshot_job(&self, id: SnapshotId, job_id: JobId) -> Result<()> {
        let query = sqlx::query("UPDATE snapshots SET job_id = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(job_id.to_string());
        self.change(&format!("keeping who makes the snapshot {id}"), query).await
    }

    /// Keeps a snapshot's tags.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_snapshot_tags(&self, id: SnapshotId, tags: &BTreeMap<String, String>) -> Result<()> {
        let query = sqlx::query("UPDATE snapshots SET tags = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(tags)?);
        self.change(&format!("keeping the tags of the snapshot {id}"), query).await
    }

    /// Locks a snapshot that is not locked for longer.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], also when it is locked for longer, or deleted.
    pub async fn lock_snapshot(&self, id: SnapshotId, until: Timestamp) -> Result<()> {
        let sql = "UPDATE snapshots SET locked_until = $2 WHERE id = $1 AND state IN ('waiting', 'copying', 'ready') \
                   AND (locked_until IS NULL OR locked_until <= $2)";
        let query = sqlx::query(sql).bind(id.to_string()).bind(until.as_microseconds());
        self.change(&format!("locking the snapshot {id}"), query).await
    }

    /// Forgets a snapshot that is deleted or has failed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], also when it lives.
    pub async fn remove_snapshot(&self, id: SnapshotId) -> Result<()> {
        let sql = "DELETE FROM snapshots WHERE id = $1 AND state IN ('deleted', 'failed')";
        let query = sqlx::query(sql).bind(id.to_string());
        self.change(&format!("forgetting the snapshot {id}"), query).await?;
        let copies = sqlx::query("DELETE FROM snapshot_copies WHERE snapshot_id = $1").bind(id.to_string());
        self.execute(&format!("forgetting where the snapshot {id} went"), copies).await.map(|_| ())
    }

    /// Snapshots, newest first, at most `limit`. Costs as much however many there are, but for tags, which are looked for.
    pub async fn snapshots(&self, filter: &SnapshotFilter, limit: u32) -> Result<Vec<KnownSnapshot>> {
        let tag = filter.tag.as_ref().map(fragment).transpose()?;
        let (at, id) =
            filter.after.map_or((i64::MAX, String::new()), |(at, id)| (at.as_microseconds(), id.to_string()));
        let query =
            sqlx::query(filter.sql()).bind(at).bind(id).bind(i64::from(limit)).bind(tag.unwrap_or_default());
        let query = match filter.family {
            Some(family) => query.bind(family.to_string()),
            None => query,
        };
        read_all(query.fetch_all(&self.pool).await)
    }

    /// The snapshots that may be meant by a name or the start of an id, living ones first; of several with one name the
    /// newest first.
    pub async fn snapshots_called(&self, text: &str, limit: u32) -> Result<Vec<KnownSnapshot>> {
        let query = sqlx::query(CALLED).bind(text.to_owned()).bind(i64::from(limit));
        read_all(query.fetch_all(&self.pool).await)
    }

    /// One snapshot.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Option<KnownSnapshot>> {
        let query = sqlx::query("SELECT * FROM snapshots WHERE id = $1").bind(id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a snapshot", error))?;
        found.as_ref().map(read).transpose()
    }

    /// All snapshots there are, whatever their states.
    pub async fn snapshot_ids(&self) -> Result<BTreeSet<SnapshotId>> {
        let rows = sqlx::query("SELECT id FROM snapshots").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing the ids of snapshots", error))?;
        rows.iter().map(|row| row::parsed(row, "id")).collect()
    }

    /// The snapshots of a family that are in the store, deleted ones too; the newest first, at most `limit`.
    pub async fn stored_snapshots(&self, family: VmId, limit: u32) -> Result<Vec<KnownSnapshot>> {
        let query = sqlx::query(STORED).bind(family.to_string()).bind(i64::from(limit));
        read_all(query.fetch_all(&self.pool).await)
    }

    /// The snapshots that policies made of a family and that are in this state, oldest first.
    pub async fn policy_snapshots(&self, family: VmId, state: SnapshotState) -> Result<Vec<KnownSnapshot>> {
        let sql = "SELECT * FROM snapshots WHERE family = $1 AND policy IS NOT NULL AND state = $2 \
                   ORDER BY created_at, id";
        let query = sqlx::query(sql).bind(family.to_string()).bind(state.as_str());
        read_all(query.fetch_all(&self.pool).await)
    }

    /// The family whose newest snapshot has this name for it.
    pub async fn snapshot_family(&self, name: &str) -> Result<Option<VmId>> {
        let sql = "SELECT family FROM snapshots WHERE family_name = $1 ORDER BY created_at DESC LIMIT 1";
        let found = sqlx::query(sql).bind(name.to_owned()).fetch_optional(&self.pool).await;
        let found =
            found.map_err(|error| Error::from_database("looking for a family of snapshots", error))?;
        found.as_ref().map(|row| row::parsed(row, "family")).transpose()
    }

    /// The snapshots that are being made, oldest first.
    pub async fn unfinished_snapshots(&self) -> Result<Vec<KnownSnapshot>> {
        let sql = "SELECT * FROM snapshots WHERE state IN ('waiting', 'copying') ORDER BY created_at, id";
        read_all(sqlx::query(sql).fetch_all(&self.pool).await)
    }

    /// The deleted snapshots whose time is over.
    pub async fn expired_snapshots(&self, now: Timestamp) -> Result<Vec<KnownSnapshot>> {
        let sql = "SELECT * FROM snapshots WHERE state = 'deleted' AND purge_after <= $1 ORDER BY id";
        read_all(sqlx::query(sql).bind(now.as_microseconds()).fetch_all(&self.pool).await)
    }
}

/// How a tag looks within the column of tags: no other tag has this in it.
fn fragment((key, value): &(String, String)) -> Result<String> {
    Ok(format!("{}:{}", row::json_column(key)?, row::json_column(value)?))
}

fn read_all(rows: sqlx::Result<Vec<AnyRow>>) -> Result<Vec<KnownSnapshot>> {
    rows.map_err(|error| Error::from_database("listing snapshots", error))?.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<KnownSnapshot> {
    Ok(KnownSnapshot {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        family: row::parsed(row, "family")?,
        family_name: row::parsed(row, "family_name")?,
        source: row::text(row, "source")?,
        disk: row::optional_parsed(row, "disk")?,
        state: row::parsed(row, "state")?,
        capture_id: row::parsed(row, "capture_id")?,
        created_at: row::time(row, "created_at")?,
        taken_at: row::optional_time(row, "taken_at")?,
        ready_at: row::optional_time(row, "ready_at")?,
        consistency: row::optional_json(row, "consistency")?,
        disks: row::json(row, "disks")?,
        tags: row::json(row, "tags")?,
        locked_until: row::optional_time(row, "locked_until")?,
        deleted_at: row::optional_time(row, "deleted_at")?,
        purge_after: row::optional_time(row, "purge_after")?,
        job_id: row::optional_parsed(row, "job_id")?,
        problem: row::optional_text(row, "problem")?,
        policy: row::optional_parsed(row, "policy")?,
    })
}

#[cfg(test)]
mod tests;
