//! The VMs that a site knows.

use std::path::PathBuf;

use model::{DiskName, PointId, Timestamp, VmDefinition, VmId, VmName};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use crate::{Catalog, DependentDisk, Error, Result, row};

/// A VM that the site knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVm {
    /// The VM.
    pub id: VmId,
    /// Its name, which no other VM of the site has.
    pub name: VmName,
    /// Where it comes from.
    pub origin: Origin,
    /// What the last inspection of it found.
    pub last_seen: Option<VmDefinition>,
    /// Its disks that read from images somewhere else.
    pub dependent_disks: Vec<DependentDisk>,
    /// Since when it is known.
    pub created_at: Timestamp,
    /// What a restore in place has begun and not finished. Such a VM must not be started.
    pub half_restored: Option<HalfRestored>,
}

/// A restore that overwrites disks in place. Kept from before its first write until all of them are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfRestored {
    /// What the disks are to become.
    pub point: PointId,
    /// How the point is named to somebody who asks for it again.
    pub reference: String,
    /// The disks that are neither what they were nor what they are to be.
    pub disks: Vec<DiskName>,
    /// What they were before the first write; none where nobody wanted it.
    pub safety_point: Option<PointId>,
    /// How that is named to somebody who wants it back, where it is a snapshot.
    #[serde(default)]
    pub safety_reference: Option<String>,
    /// Since when.
    pub begun_at: Timestamp,
}

/// Where a VM comes from, as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// Started by somebody else; reached by its sockets.
    External {
        /// The QMP monitor's unix socket.
        qmp: PathBuf,
        /// A second QMP monitor.
        qmp_out_of_band: Option<PathBuf>,
        /// The guest agent's unix socket.
        agent: Option<PathBuf>,
    },
    /// Defined in Holdfast, which starts and stops it.
    Managed {
        /// The definition, with the paths of its disks.
        definition: VmDefinition,
    },
}

impl Catalog {
    /// Makes a VM known.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when another VM has its name or id.
    pub async fn add_vm(&self, vm: &KnownVm) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO vms (id, name, origin, last_seen, dependent_disks, created_at, half_restored) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(vm.id.to_string())
        .bind(vm.name.to_string())
        .bind(row::json_column(&vm.origin)?)
        .bind(vm.last_seen.as_ref().map(row::json_column).transpose()?)
        .bind(row::json_column(&vm.dependent_disks)?)
        .bind(vm.created_at.as_microseconds())
        .bind(vm.half_restored.as_ref().map(row::json_column).transpose()?);
        self.execute(&format!("adding the VM {}", vm.name), query).await.map(|_| ())
    }

    /// All VMs, by name.
    pub async fn vms(&self) -> Result<Vec<KnownVm>> {
        let rows = sqlx::query("SELECT * FROM vms ORDER BY name").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing VMs", error))?;
        rows.iter().map(read).collect()
    }

    /// The VM with this name or, failing that, this id.
    pub async fn vm(&self, name_or_id: &str) -> Result<Option<KnownVm>> {
        let sql =
            "SELECT * FROM vms WHERE name = $1 OR id = $1 ORDER BY CASE WHEN name = $1 THEN 0 ELSE 1 END";
        let found = sqlx::query(sql).bind(name_or_id.to_owned()).fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a VM", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Keeps what an inspection found.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_last_seen(&self, id: VmId, definition: &VmDefinition) -> Result<()> {
        let query = sqlx::query("UPDATE vms SET last_seen = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(definition)?);
        self.change(&format!("keeping what was seen of the VM {id}"), query).await
    }

    /// Notes that a VM's disks are about to be overwritten.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn begin_overwriting(&self, id: VmId, restore: &HalfRestored) -> Result<()> {
        let query = sqlx::query("UPDATE vms SET half_restored = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(restore)?);
        self.change(&format!("noting the restore of the VM {id}"), query).await
    }

    /// Notes that a VM's disks are whole, and what the VM is from now on.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn end_overwriting(&self, id: VmId, origin: &Origin) -> Result<()> {
        let query = sqlx::query("UPDATE vms SET origin = $2, half_restored = NULL WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(origin)?);
        self.change(&format!("noting that the VM {id} is restored"), query).await
    }

    /// Keeps what a VM is made of.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_origin(&self, id: VmId, origin: &Origin) -> Result<()> {
        let query = sqlx::query("UPDATE vms SET origin = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(origin)?);
        self.change(&format!("keeping what the VM {id} is made of"), query).await
    }

    /// Forgets a VM and its protection.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_vm(&self, id: VmId) -> Result<()> {
        let query = sqlx::query("DELETE FROM vms WHERE id = $1").bind(id.to_string());
        self.change(&format!("removing the VM {id}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownVm> {
    Ok(KnownVm {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        origin: row::json(row, "origin")?,
        last_seen: row::optional_json(row, "last_seen")?,
        dependent_disks: row::json(row, "dependent_disks")?,
        created_at: row::time(row, "created_at")?,
        half_restored: row::optional_json(row, "half_restored")?,
    })
}
