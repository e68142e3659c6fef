//! Disks that have a name of their own on the site.

use std::path::PathBuf;

use model::{DiskId, SiteDiskName, Timestamp};
use sqlx::any::AnyRow;

use crate::{Catalog, DependentDisk, Error, Result, row};

/// A disk that the site made and knows by a name of its own, whatever VM has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDisk {
    /// The disk.
    pub id: DiskId,
    /// Its name, which no other disk of the site has.
    pub name: SiteDiskName,
    /// Its qcow2 file.
    pub path: PathBuf,
    /// Its virtual size.
    pub size_bytes: u64,
    /// What it was made from, as a reference.
    pub source: String,
    /// What it still reads from an image; none when it is whole.
    pub dependent: Option<DependentDisk>,
    /// Why it did not become whole when that was last tried.
    pub failure: Option<String>,
    /// Whether its bytes are still being uploaded: it is no disk yet.
    pub uploading: bool,
    /// Since when it is known.
    pub created_at: Timestamp,
}

impl Catalog {
    /// Makes a disk known.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when another disk has its name, id or file.
    pub async fn add_disk(&self, disk: &KnownDisk) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO disks (id, name, path, size_bytes, source, dependent, failure, created_at, uploading) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(disk.id.to_string())
        .bind(disk.name.to_string())
        .bind(disk.path.display().to_string())
        .bind(row::size_column(disk.size_bytes))
        .bind(disk.source.clone())
        .bind(disk.dependent.as_ref().map(row::json_column).transpose()?)
        .bind(disk.failure.clone())
        .bind(disk.created_at.as_microseconds())
        .bind(i64::from(disk.uploading));
        self.execute(&format!("adding the disk {}", disk.name), query).await.map(|_| ())
    }

    /// All disks, by name.
    pub async fn disks(&self) -> Result<Vec<KnownDisk>> {
        let rows = sqlx::query("SELECT * FROM disks ORDER BY name").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing disks", error))?;
        rows.iter().map(read).collect()
    }

    /// The disk with this name or, failing that, this id.
    pub async fn disk(&self, name_or_id: &str) -> Result<Option<KnownDisk>> {
        let sql =
            "SELECT * FROM disks WHERE name = $1 OR id = $1 ORDER BY CASE WHEN name = $1 THEN 0 ELSE 1 END";
        let found = sqlx::query(sql).bind(name_or_id.to_owned()).fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a disk", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Keeps what a disk still depends on. What failed before is forgotten.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_dependent_disk(&self, id: DiskId, dependent: Option<&DependentDisk>) -> Result<()> {
        let query = sqlx::query("UPDATE disks SET dependent = $2, failure = NULL WHERE id = $1")
            .bind(id.to_string())
            .bind(dependent.map(row::json_column).transpose()?);
        self.change(&format!("keeping what the disk {id} depends on"), query).await
    }

    /// Keeps why a disk did not become whole.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_disk_failure(&self, id: DiskId, failure: &str) -> Result<()> {
        let query = sqlx::query("UPDATE disks SET failure = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(failure.to_owned());
        self.change(&format!("keeping why the disk {id} is not whole"), query).await
    }

    /// Forgets a disk.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_disk(&self, id: DiskId) -> Result<()> {
        let query = sqlx::query("DELETE FROM disks WHERE id = $1").bind(id.to_string());
        self.change(&format!("removing the disk {id}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownDisk> {
    Ok(KnownDisk {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        path: row::text(row, "path")?.into(),
        size_bytes: row::size("size_bytes", row::number(row, "size_bytes")?)?,
        source: row::text(row, "source")?,
        dependent: row::optional_json(row, "dependent")?,
        failure: row::optional_text(row, "failure")?,
        uploading: row::number(row, "uploading")? != 0,
        created_at: row::time(row, "created_at")?,
    })
}
