//! The vaults that a site knows. Their keys are not here.

use model::{Timestamp, VaultId, VaultName};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A vault that the site knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVault {
    /// The vault.
    pub id: VaultId,
    /// Its name on this site.
    pub name: VaultName,
    /// Where it is.
    pub url: String,
    /// Since when it is known.
    pub created_at: Timestamp,
}

impl Catalog {
    /// Makes a vault known.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when the name is taken or the vault is known.
    pub async fn add_vault(&self, vault: &KnownVault) -> Result<()> {
        let query = sqlx::query("INSERT INTO vaults (id, name, url, created_at) VALUES ($1, $2, $3, $4)")
            .bind(vault.id.to_string())
            .bind(vault.name.to_string())
            .bind(vault.url.clone())
            .bind(vault.created_at.as_microseconds());
        self.execute(&format!("adding the vault {}", vault.name), query).await.map(|_| ())
    }

    /// All vaults, by name.
    pub async fn vaults(&self) -> Result<Vec<KnownVault>> {
        let rows = sqlx::query("SELECT * FROM vaults ORDER BY name").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing vaults", error))?;
        rows.iter().map(read).collect()
    }

    /// The vault with this name or, failing that, this id.
    pub async fn vault(&self, name_or_id: &str) -> Result<Option<KnownVault>> {
        let sql =
            "SELECT * FROM vaults WHERE name = $1 OR id = $1 ORDER BY CASE WHEN name = $1 THEN 0 ELSE 1 END";
        let found = sqlx::query(sql).bind(name_or_id.to_owned()).fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a vault", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Keeps that a vault has moved.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_vault_url(&self, id: VaultId, url: &str) -> Result<()> {
        let query =
            sqlx::query("UPDATE vaults SET url = $2 WHERE id = $1").bind(id.to_string()).bind(url.to_owned());
        self.change(&format!("moving the vault {id}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownVault> {
    Ok(KnownVault {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        url: row::text(row, "url")?,
        created_at: row::time(row, "created_at")?,
    })
}
