//! Blocks of disks that are being uploaded.

use model::DiskId;

use crate::{Catalog, Error, Result, row};

/// A block of an upload that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedBlock {
    /// Its number, counted from the disk's start.
    pub number: u64,
    /// The BLAKE3 digest of its bytes, in hexadecimal digits.
    pub digest: String,
}

impl Catalog {
    /// Notes that a block is durable, in the place of what was known of it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when there is no such disk.
    pub async fn add_uploaded_block(&self, id: DiskId, block: &UploadedBlock) -> Result<()> {
        let sql = "INSERT INTO upload_blocks (disk_id, number, digest) VALUES ($1, $2, $3) \
                   ON CONFLICT (disk_id, number) DO UPDATE SET digest = $3";
        let query = sqlx::query(sql)
            .bind(id.to_string())
            .bind(row::size_column(block.number))
            .bind(block.digest.clone());
        self.execute(&format!("noting a block of the upload {id}"), query).await.map(|_| ())
    }

    /// Forgets a block that is about to change.
    pub async fn forget_uploaded_block(&self, id: DiskId, number: u64) -> Result<()> {
        let query = sqlx::query("DELETE FROM upload_blocks WHERE disk_id = $1 AND number = $2")
            .bind(id.to_string())
            .bind(row::size_column(number));
        self.execute(&format!("forgetting a block of the upload {id}"), query).await.map(|_| ())
    }

    /// The blocks of an upload from a number on, in order, so many at most.
    pub async fn uploaded_blocks(&self, id: DiskId, start: u64, limit: u32) -> Result<Vec<UploadedBlock>> {
        let sql = "SELECT number, digest FROM upload_blocks WHERE disk_id = $1 AND number >= $2 \
                   ORDER BY number LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(id.to_string())
            .bind(row::size_column(start))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await;
        let rows = rows.map_err(|error| Error::from_database("reading the blocks of an upload", error))?;
        let read = |row| {
            let number = row::size("number", row::number(row, "number")?)?;
            Ok(UploadedBlock { number, digest: row::text(row, "digest")? })
        };
        rows.iter().map(read).collect()
    }

    /// Notes that all of a disk is there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn end_upload(&self, id: DiskId) -> Result<()> {
        let query = sqlx::query("UPDATE disks SET uploading = 0 WHERE id = $1").bind(id.to_string());
        self.change(&format!("noting the end of the upload {id}"), query).await?;
        let query = sqlx::query("DELETE FROM upload_blocks WHERE disk_id = $1").bind(id.to_string());
        self.execute(&format!("forgetting the blocks of the upload {id}"), query).await.map(|_| ())
    }
}
