//! Recovery points that were made of replicas.

use model::{JournalId, PointId, VaultId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A recovery point that shows a VM as its replica does after a record. That one is forgotten costs the next a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaPoint {
    /// The vault.
    pub vault_id: VaultId,
    /// The point in it.
    pub point_id: PointId,
    /// The replica.
    pub journal_id: JournalId,
    /// The record.
    pub sequence: u64,
}

impl Catalog {
    /// Keeps from what a point was made.
    pub async fn add_replica_point(&self, point: ReplicaPoint) -> Result<()> {
        let sql =
            "INSERT INTO replica_points (vault_id, point_id, journal_id, sequence) VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(sql)
            .bind(point.vault_id.to_string())
            .bind(point.point_id.to_string())
            .bind(point.journal_id.to_string())
            .bind(row::size_column(point.sequence));
        self.execute(&format!("keeping from what the point {} was made", point.point_id), query)
            .await
            .map(|_| ())
    }

    /// The points of a vault that were made of a replica, newest moment first.
    pub async fn replica_points(&self, vault: VaultId, journal: JournalId) -> Result<Vec<ReplicaPoint>> {
        let sql = "SELECT * FROM replica_points WHERE vault_id = $1 AND journal_id = $2 \
                   ORDER BY sequence DESC, point_id DESC";
        let query = sqlx::query(sql).bind(vault.to_string()).bind(journal.to_string());
        let rows = query.fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing points of a replica", error))?;
        rows.iter().map(read).collect()
    }

    /// Forgets which points were made of a replica: all, or those that show it before a record.
    pub async fn remove_replica_points(&self, journal: JournalId, before: Option<u64>) -> Result<()> {
        let sql = "DELETE FROM replica_points WHERE journal_id = $1 AND sequence < $2";
        let query =
            sqlx::query(sql).bind(journal.to_string()).bind(before.map_or(i64::MAX, row::size_column));
        self.execute("forgetting points of a replica", query).await.map(|_| ())
    }
}

fn read(row: &AnyRow) -> Result<ReplicaPoint> {
    Ok(ReplicaPoint {
        vault_id: row::parsed(row, "vault_id")?,
        point_id: row::parsed(row, "point_id")?,
        journal_id: row::parsed(row, "journal_id")?,
        sequence: row::size("sequence", row::number(row, "sequence")?)?,
    })
}
