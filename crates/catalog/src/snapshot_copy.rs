//! Where snapshots are copied to, and which other sites have sent.

use std::{collections::BTreeMap, fmt, str::FromStr};

use model::{JobId, SiteId, SnapshotId, SnapshotName, Timestamp, TransferId, VmId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A copy of a snapshot in a vault or at another site: under way, there, or come to nothing. One for each snapshot and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCopy {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// The id of the vault or site.
    pub place: String,
    /// Which of the two it is.
    pub place_kind: CopyPlace,
    /// What it was called when the copy was asked for.
    pub place_name: String,
    /// The snapshot's family, whose copies go one after the other.
    pub family: VmId,
    /// The name that the copy is to have.
    pub name: SnapshotName,
    /// The tags that it is to have.
    pub tags: BTreeMap<String, String>,
    /// The transfer by which it goes, or what stands for that in a vault: the id of the recovery point.
    pub transfer_id: TransferId,
    /// The snapshot of which the transfer sends the changes.
    pub base: Option<SnapshotId>,
    /// The most that is sent in a second, in bytes.
    pub rate_limit_bytes_per_second: Option<u64>,
    /// How it stands.
    pub state: SnapshotCopyState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it had arrived, or had come to nothing.
    pub ended_at: Option<Timestamp>,
    /// What was sent or stored for it, in bytes.
    pub sent_bytes: u64,
    /// What it is called there.
    pub name_there: Option<String>,
    /// The job that does it.
    pub job_id: Option<JobId>,
    /// Why it came to nothing.
    pub problem: Option<String>,
}

/// What a snapshot is copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyPlace {
    /// A vault of this site.
    Vault,
    /// Another site.
    Site,
}

/// How a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotCopyState {
    /// It waits for its turn, or is under way; it goes on when the server starts again.
    Unfinished,
    /// It has arrived.
    Done,
    /// It came to nothing. Asked for again, it goes on from what has arrived.
    Failed,
}

impl CopyPlace {
    fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Site => "site",
        }
    }
}

impl fmt::Display for CopyPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for CopyPlace {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let found = [Self::Vault, Self::Site].into_iter().find(|place| place.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no place that snapshots are copied to"))
    }
}

impl SnapshotCopyState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for SnapshotCopyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SnapshotCopyState {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let found =
            [Self::Unfinished, Self::Done, Self::Failed].into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not a state of a copy"))
    }
}

impl Catalog {
    /// Keeps a copy as it is now.
    pub async fn put_snapshot_copy(&self, copy: &SnapshotCopy) -> Result<()> {
        let sql = "INSERT INTO snapshot_copies (snapshot_id, place, place_kind, place_name, family, name, tags, \
                   transfer_id, base, rate_limit_bytes, state, created_at, ended_at, sent_bytes, name_there, job_id, \
                   problem) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
                   ON CONFLICT (snapshot_id, place) DO UPDATE SET place_name = $4, name = $6, tags = $7, \
                   transfer_id = $8, base = $9, rate_limit_bytes = $10, state = $11, created_at = $12, ended_at = $13, \
                   sent_bytes = $14, name_there = $15, job_id = $16, problem = $17";
        let query = sqlx::query(sql)
            .bind(copy.snapshot_id.to_string())
            .bind(copy.place.clone())
            .bind(copy.place_kind.as_str())
            .bind(copy.place_name.clone())
            .bind(copy.family.to_string())
            .bind(copy.name.to_string())
            .bind(row::json_column(&copy.tags)?)
            .bind(copy.transfer_id.to_string())
            .bind(copy.base.as_ref().map(ToString::to_string))
            .bind(copy.rate_limit_bytes_per_second.map(row::size_column))
            .bind(copy.state.as_str())
            .bind(copy.created_at.as_microseconds())
            .bind(copy.ended_at.map(Timestamp::as_microseconds))
            .bind(row::size_column(copy.sent_bytes))
            .bind(copy.name_there.clone())
            .bind(copy.job_id.as_ref().map(ToString::to_string))
            .bind(copy.problem.clone());
        self.execute(&format!("keeping how the copy of {} stands", copy.name), query).await.map(|_| ())
    }

    /// The copies of one snapshot, the oldest first.
    pub async fn copies_of_snapshot(&self, snapshot: SnapshotId) -> Result<Vec<SnapshotCopy>> {
        let sql = "SELECT * FROM snapshot_copies WHERE snapshot_id = $1 ORDER BY created_at, place";
        read_all(sqlx::query(sql).bind(snapshot.to_string()).fetch_all(&self.pool).await)
    }

    /// The copies that have not ended, in the order in which they were asked for.
    pub async fn unfinished_snapshot_copies(&self) -> Result<Vec<SnapshotCopy>> {
        let sql = "SELECT * FROM snapshot_copies WHERE state = 'unfinished' ORDER BY created_at, snapshot_id, place";
        read_all(sqlx::query(sql).fetch_all(&self.pool).await)
    }

    /// The copies of a family that have arrived at a place.
    pub async fn arrived_snapshot_copies(&self, place: &str, family: VmId) -> Result<Vec<SnapshotCopy>> {
        let sql = "SELECT * FROM snapshot_copies WHERE place = $1 AND family = $2 AND state = 'done'";
        let query = sqlx::query(sql).bind(place.to_owned()).bind(family.to_string());
        read_all(query.fetch_all(&self.pool).await)
    }

    /// Keeps which snapshot a transfer becomes.
    pub async fn put_received_snapshot(
        &self,
        sender: SiteId,
        transfer: TransferId,
        source: SnapshotId,
        snapshot: SnapshotId,
        at: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO received_snapshots (sender, transfer_id, source_id, snapshot_id, received_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sender, transfer_id) DO UPDATE SET snapshot_id = $4";
        let query = sqlx::query(sql)
            .bind(sender.to_string())
            .bind(transfer.to_string())
            .bind(source.to_string())
            .bind(snapshot.to_string())
            .bind(at.as_microseconds());
        self.execute("keeping what another site has sent", query).await.map(|_| ())
    }

    /// The snapshot that a transfer has become, or was to become.
    pub async fn received_snapshot(
        &self,
        sender: SiteId,
        transfer: TransferId,
    ) -> Result<Option<SnapshotId>> {
        let sql = "SELECT snapshot_id FROM received_snapshots WHERE sender = $1 AND transfer_id = $2";
        let query = sqlx::query(sql).bind(sender.to_string()).bind(transfer.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found =
            found.map_err(|error| Error::from_database("looking for what another site sent", error))?;
        found.as_ref().map(|row| row::parsed(row, "snapshot_id")).transpose()
    }

    /// What a sender's snapshot is here, as often as it was sent; the newest first.
    pub async fn received_snapshots_from(
        &self,
        sender: SiteId,
        source: SnapshotId,
    ) -> Result<Vec<SnapshotId>> {
        let sql = "SELECT snapshot_id FROM received_snapshots WHERE sender = $1 AND source_id = $2 \
                   ORDER BY received_at DESC";
        let query = sqlx::query(sql).bind(sender.to_string()).bind(source.to_string());
        let rows = query.fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("looking for what another site sent", error))?;
        rows.iter().map(|row| row::parsed(row, "snapshot_id")).collect()
    }
}

fn read_all(rows: sqlx::Result<Vec<AnyRow>>) -> Result<Vec<SnapshotCopy>> {
    rows.map_err(|error| Error::from_database("listing copies of snapshots", error))?
        .iter()
        .map(read)
        .collect()
}

fn read(row: &AnyRow) -> Result<SnapshotCopy> {
    let limit = row::optional_number(row, "rate_limit_bytes")?;
    Ok(SnapshotCopy {
        snapshot_id: row::parsed(row, "snapshot_id")?,
        place: row::text(row, "place")?,
        place_kind: row::parsed(row, "place_kind")?,
        place_name: row::text(row, "place_name")?,
        family: row::parsed(row, "family")?,
        name: row::parsed(row, "name")?,
        tags: row::json(row, "tags")?,
        transfer_id: row::parsed(row, "transfer_id")?,
        base: row::optional_parsed(row, "base")?,
        rate_limit_bytes_per_second: limit.map(|limit| row::size("rate_limit_bytes", limit)).transpose()?,
        state: row::parsed(row, "state")?,
        created_at: row::time(row, "created_at")?,
        ended_at: row::optional_time(row, "ended_at")?,
        sent_bytes: row::size("sent_bytes", row::number(row, "sent_bytes")?)?,
        name_there: row::optional_text(row, "name_there")?,
        job_id: row::optional_parsed(row, "job_id")?,
        problem: row::optional_text(row, "problem")?,
    })
}
