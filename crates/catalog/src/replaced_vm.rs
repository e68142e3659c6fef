//! VMs that a failover has replaced by themselves: what they were here before they ran elsewhere.

use model::{JournalId, Timestamp, VmDefinition, VmId, VmName};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use crate::{Catalog, DependentDisk, Error, KnownVm, Origin, Result, row};

/// What a VM was before a failover has replaced it. Its disks stay until the failover is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedVm {
    /// The replica from which it was made anew.
    pub journal_id: JournalId,
    /// What it was.
    pub vm: KnownVm,
    /// When it was replaced.
    pub replaced_at: Timestamp,
}

/// A VM as it is kept.
#[derive(Serialize, Deserialize)]
struct Document {
    name: VmName,
    origin: Origin,
    last_seen: Option<VmDefinition>,
    dependent_disks: Vec<DependentDisk>,
    created_at: Timestamp,
}

impl Catalog {
    /// Makes a known VM another one, under the same id: what it was is kept aside, its replication to another site is forgotten, and
    /// its protection and its policies go on. All of it or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when the VM is not known.
    pub async fn replace_vm(&self, vm: &KnownVm, replaced: &ReplacedVm) -> Result<()> {
        let what = format!("replacing the VM {}", vm.name);
        let failed = |error| Error::from_database(what.clone(), error);
        let old = &replaced.vm;
        let document = Document {
            name: old.name.clone(),
            origin: old.origin.clone(),
            last_seen: old.last_seen.clone(),
            dependent_disks: old.dependent_disks.clone(),
            created_at: old.created_at,
        };
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let aside = sqlx::query(
            "INSERT INTO replaced_vms (journal_id, vm_id, vm, replaced_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(replaced.journal_id.to_string())
        .bind(old.id.to_string())
        .bind(row::json_column(&document)?)
        .bind(replaced.replaced_at.as_microseconds());
        aside.execute(&mut *transaction).await.map_err(failed)?;
        let forget = sqlx::query("DELETE FROM replications WHERE vm_id = $1").bind(vm.id.to_string());
        forget.execute(&mut *transaction).await.map_err(failed)?;
        let sql = "UPDATE vms SET name = $2, origin = $3, last_seen = $4, dependent_disks = $5, created_at = $6, \
                   half_restored = NULL WHERE id = $1";
        let become_it = sqlx::query(sql)
            .bind(vm.id.to_string())
            .bind(vm.name.to_string())
            .bind(row::json_column(&vm.origin)?)
            .bind(vm.last_seen.as_ref().map(row::json_column).transpose()?)
            .bind(row::json_column(&vm.dependent_disks)?)
            .bind(vm.created_at.as_microseconds());
        let changed = become_it.execute(&mut *transaction).await.map_err(failed)?;
        if changed.rows_affected() == 0 {
            return Err(Error::new(crate::ErrorKind::NotFound, what));
        }
        transaction.commit().await.map_err(failed)
    }

    /// All VMs that were replaced.
    pub async fn replaced_vms(&self) -> Result<Vec<ReplacedVm>> {
        let rows = sqlx::query("SELECT * FROM replaced_vms ORDER BY replaced_at, journal_id")
            .fetch_all(&self.pool)
            .await;
        rows.map_err(|error| Error::from_database("listing replaced VMs", error))?.iter().map(read).collect()
    }

    /// The VM that was replaced from a replica.
    pub async fn replaced_vm(&self, journal_id: JournalId) -> Result<Option<ReplacedVm>> {
        let query =
            sqlx::query("SELECT * FROM replaced_vms WHERE journal_id = $1").bind(journal_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a replaced VM", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Forgets what a VM was before it was replaced.
    pub async fn remove_replaced_vm(&self, journal_id: JournalId) -> Result<()> {
        let query =
            sqlx::query("DELETE FROM replaced_vms WHERE journal_id = $1").bind(journal_id.to_string());
        self.execute(&format!("forgetting what the journal {journal_id} has replaced"), query)
            .await
            .map(|_| ())
    }
}

fn read(row: &AnyRow) -> Result<ReplacedVm> {
    let document: Document = row::json(row, "vm")?;
    let id: VmId = row::parsed(row, "vm_id")?;
    Ok(ReplacedVm {
        journal_id: row::parsed(row, "journal_id")?,
        vm: KnownVm {
            id,
            name: document.name,
            origin: document.origin,
            last_seen: document.last_seen,
            dependent_disks: document.dependent_disks,
            created_at: document.created_at,
            half_restored: None,
        },
        replaced_at: row::time(row, "replaced_at")?,
    })
}
