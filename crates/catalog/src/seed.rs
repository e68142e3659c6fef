//! What the bases of replicas begin with.

use model::{DiskName, JournalId};
use serde::{Deserialize, Serialize};

use crate::{Catalog, Error, Result, row};

/// What the bases of a replica are to begin with, and what became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSeed {
    /// Where it comes from.
    pub source: SeedSource,
    /// What became of it; none until it is decided, and until then nothing of the replica is folded.
    pub outcome: Option<SeedOutcome>,
}

/// Where a seed comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedSource {
    /// The disks that the VM had here before it was failed over.
    OldSelf,
    /// What this reference names.
    Reference(String),
}

/// What became of a seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedOutcome {
    /// The disks whose bases began with it.
    pub disks: Vec<DiskName>,
    /// Why others did not.
    pub problem: Option<String>,
}

impl Catalog {
    /// Keeps what the bases of a known replica are to begin with.
    pub async fn add_replica_seed(&self, journal_id: JournalId, source: &SeedSource) -> Result<()> {
        let query = sqlx::query("INSERT INTO replica_seeds (journal_id, source) VALUES ($1, $2)")
            .bind(journal_id.to_string())
            .bind(row::json_column(source)?);
        self.execute(&format!("keeping the seed of the replica {journal_id}"), query).await.map(|_| ())
    }

    /// What the bases of a replica are to begin with; none for zeros.
    pub async fn replica_seed(&self, journal_id: JournalId) -> Result<Option<ReplicaSeed>> {
        let query =
            sqlx::query("SELECT * FROM replica_seeds WHERE journal_id = $1").bind(journal_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a seed", error))?;
        let read = |row| {
            Ok(ReplicaSeed {
                source: row::json(row, "source")?,
                outcome: row::optional_json(row, "outcome")?,
            })
        };
        found.as_ref().map(read).transpose()
    }

    /// Keeps what became of the seed of a replica.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn settle_replica_seed(&self, journal_id: JournalId, outcome: &SeedOutcome) -> Result<()> {
        let query = sqlx::query("UPDATE replica_seeds SET outcome = $2 WHERE journal_id = $1")
            .bind(journal_id.to_string())
            .bind(row::json_column(outcome)?);
        self.change(&format!("keeping what became of the seed of the replica {journal_id}"), query).await
    }

    /// Keeps what somebody has named for the bases at the other site of a known replication.
    pub async fn add_seed_wish(&self, journal_id: JournalId, reference: &str) -> Result<()> {
        let query = sqlx::query("INSERT INTO seed_wishes (journal_id, reference) VALUES ($1, $2)")
            .bind(journal_id.to_string())
            .bind(reference.to_owned());
        self.execute(&format!("keeping the seed of the journal {journal_id}"), query).await.map(|_| ())
    }

    /// What somebody has named for the bases at the other site.
    pub async fn seed_wish(&self, journal_id: JournalId) -> Result<Option<String>> {
        let query =
            sqlx::query("SELECT * FROM seed_wishes WHERE journal_id = $1").bind(journal_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a seed", error))?;
        found.as_ref().map(|row| row::text(row, "reference")).transpose()
    }
}
