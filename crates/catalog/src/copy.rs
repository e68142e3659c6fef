//! Where vaults are copied to, and how the last attempts went.

use model::{CopyName, Timestamp, VaultId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, ErrorKind, Result, row};

/// A copy of a vault that the site keeps up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCopy {
    /// The vault.
    pub vault_id: VaultId,
    /// The copy's name among those of the vault.
    pub name: CopyName,
    /// Where it is.
    pub url: String,
    /// Since when the site keeps it.
    pub added_at: Timestamp,
    /// When it last held all that the vault did.
    pub last_synced_at: Option<Timestamp>,
    /// The attempts that have failed since then.
    pub failure: Option<CopyFailure>,
}

/// Attempts to bring a copy up to date that have failed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFailure {
    /// When the last of them failed.
    pub at: Timestamp,
    /// How many there were.
    pub count: u32,
    /// Why the last one failed.
    pub problem: String,
}

impl Catalog {
    /// Makes a copy known.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the vault has one of this name.
    pub async fn add_copy(&self, copy: &KnownCopy) -> Result<()> {
        let sql = "INSERT INTO vault_copies (vault_id, name, url, added_at, failure_count) \
                   VALUES ($1, $2, $3, $4, 0)";
        let query = sqlx::query(sql)
            .bind(copy.vault_id.to_string())
            .bind(copy.name.to_string())
            .bind(copy.url.clone())
            .bind(copy.added_at.as_microseconds());
        self.execute(&format!("adding the copy {}", copy.name), query).await.map(|_| ())
    }

    /// All copies of all vaults, by vault and name.
    pub async fn copies(&self) -> Result<Vec<KnownCopy>> {
        let rows =
            sqlx::query("SELECT * FROM vault_copies ORDER BY vault_id, name").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing copies", error))?.iter().map(read).collect()
    }

    /// The copies of a vault, by name.
    pub async fn copies_of(&self, vault_id: VaultId) -> Result<Vec<KnownCopy>> {
        let query = sqlx::query("SELECT * FROM vault_copies WHERE vault_id = $1 ORDER BY name");
        let rows = query.bind(vault_id.to_string()).fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing copies", error))?.iter().map(read).collect()
    }

    /// Keeps how the last attempt to bring a copy up to date went. A copy that is no longer known is none of its business.
    pub async fn set_copy_outcome(&self, copy: &KnownCopy) -> Result<()> {
        let sql = "UPDATE vault_copies SET last_synced_at = $3, failed_at = $4, failure_count = $5, problem = $6 \
                   WHERE vault_id = $1 AND name = $2";
        let failure = copy.failure.as_ref();
        let query = sqlx::query(sql)
            .bind(copy.vault_id.to_string())
            .bind(copy.name.to_string())
            .bind(copy.last_synced_at.map(Timestamp::as_microseconds))
            .bind(failure.map(|failure| failure.at.as_microseconds()))
            .bind(i64::from(failure.map_or(0, |failure| failure.count)))
            .bind(failure.map(|failure| failure.problem.clone()));
        self.execute(&format!("keeping how the copy {} stands", copy.name), query).await.map(|_| ())
    }

    /// Forgets a copy.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn remove_copy(&self, vault_id: VaultId, name: &CopyName) -> Result<()> {
        let query = sqlx::query("DELETE FROM vault_copies WHERE vault_id = $1 AND name = $2")
            .bind(vault_id.to_string())
            .bind(name.to_string());
        self.change(&format!("forgetting the copy {name}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownCopy> {
    let count = row::number(row, "failure_count")?;
    let count = u32::try_from(count).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "the catalog's column failure_count is damaged").with_source(error)
    })?;
    let failure = match (row::optional_time(row, "failed_at")?, row::optional_text(row, "problem")?) {
        (Some(at), Some(problem)) => Some(CopyFailure { at, count, problem }),
        _ => None,
    };
    Ok(KnownCopy {
        vault_id: row::parsed(row, "vault_id")?,
        name: row::parsed(row, "name")?,
        url: row::text(row, "url")?,
        added_at: row::time(row, "added_at")?,
        last_synced_at: row::optional_time(row, "last_synced_at")?,
        failure,
    })
}
