//! When packs of vaults were last read back and found sound. What is lost here is only read once more.

use model::{Timestamp, VaultId};

use crate::{Catalog, Error, Result, row};

/// When a pack was last found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackCheck {
    /// The pack's digest, as text.
    pub pack: String,
    /// When it was read back.
    pub checked_at: Timestamp,
}

impl Catalog {
    /// When each pack of a vault was last found sound, in no order.
    pub async fn pack_checks(&self, vault_id: VaultId) -> Result<Vec<PackCheck>> {
        let rows = sqlx::query("SELECT pack, checked_at FROM pack_checks WHERE vault_id = $1")
            .bind(vault_id.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| Error::from_database("reading when packs were checked", error))?;
        rows.iter()
            .map(|row| {
                Ok(PackCheck { pack: row::text(row, "pack")?, checked_at: row::time(row, "checked_at")? })
            })
            .collect()
    }

    /// Puts these checks in the place of all that are known of a vault: all, or none.
    pub async fn set_pack_checks(&self, vault_id: VaultId, checks: &[PackCheck]) -> Result<()> {
        let failed = |error| Error::from_database("keeping when packs were checked", error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        sqlx::query("DELETE FROM pack_checks WHERE vault_id = $1")
            .bind(vault_id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        for check in checks {
            sqlx::query("INSERT INTO pack_checks (vault_id, pack, checked_at) VALUES ($1, $2, $3)")
                .bind(vault_id.to_string())
                .bind(check.pack.clone())
                .bind(check.checked_at.as_microseconds())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}
