//! How VMs are protected.

use model::{ByteCount, ProtectionSettings, VmId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, ErrorKind, Result, row};

impl Catalog {
    /// Protects a VM, or changes how it is protected.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when the VM or the vault is not known.
    pub async fn set_protection(&self, vm_id: VmId, settings: &ProtectionSettings) -> Result<()> {
        let sql = "INSERT INTO protections (vm_id, vault_id, consistency, strict, freeze_limit_ms, \
                   read_limit_bytes_per_second, pre_script, post_script) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                   ON CONFLICT (vm_id) DO UPDATE SET vault_id = excluded.vault_id, \
                   consistency = excluded.consistency, strict = excluded.strict, \
                   freeze_limit_ms = excluded.freeze_limit_ms, \
                   read_limit_bytes_per_second = excluded.read_limit_bytes_per_second, \
                   pre_script = excluded.pre_script, post_script = excluded.post_script";
        let query = sqlx::query(sql)
            .bind(vm_id.to_string())
            .bind(settings.vault_id.to_string())
            .bind(settings.consistency.as_str())
            .bind(i16::from(settings.strict))
            .bind(i64::from(settings.freeze_limit_ms))
            .bind(settings.read_limit_bytes_per_second.map(|limit| row::size_column(limit.0)))
            .bind(settings.pre_script.clone())
            .bind(settings.post_script.clone());
        self.execute(&format!("protecting the VM {vm_id}"), query).await.map(|_| ())
    }

    /// How a VM is protected; none when it is not.
    pub async fn protection(&self, vm_id: VmId) -> Result<Option<ProtectionSettings>> {
        let found = sqlx::query("SELECT * FROM protections WHERE vm_id = $1")
            .bind(vm_id.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| Error::from_database("looking for a protection", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Ends a VM's protection.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it was not protected.
    pub async fn remove_protection(&self, vm_id: VmId) -> Result<()> {
        let query = sqlx::query("DELETE FROM protections WHERE vm_id = $1").bind(vm_id.to_string());
        self.change(&format!("ending the protection of the VM {vm_id}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<ProtectionSettings> {
    let freeze_limit_ms = row::number(row, "freeze_limit_ms")?;
    let read_limit = row::optional_number(row, "read_limit_bytes_per_second")?;
    Ok(ProtectionSettings {
        vault_id: row::parsed(row, "vault_id")?,
        consistency: row::parsed(row, "consistency")?,
        strict: row::number(row, "strict")? != 0,
        freeze_limit_ms: u32::try_from(freeze_limit_ms).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the catalog's column freeze_limit_ms is damaged")
                .with_source(error)
        })?,
        read_limit_bytes_per_second: read_limit
            .map(|bytes| row::size("read_limit_bytes_per_second", bytes).map(ByteCount))
            .transpose()?,
        pre_script: row::optional_text(row, "pre_script")?,
        post_script: row::optional_text(row, "post_script")?,
    })
}
