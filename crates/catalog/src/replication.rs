//! The VMs that are replicated to other sites.

use model::{ByteCount, JournalId, RateWindow, ReplicationSettings, SiteId, SiteName, Timestamp, VmId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, ErrorKind, Result, row};

/// A VM that is replicated to another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplication {
    /// The VM.
    pub vm_id: VmId,
    /// Its journal, on both sides.
    pub journal_id: JournalId,
    /// The other site.
    pub peer_id: SiteId,
    /// What that was called when the replication began.
    pub peer_name: SiteName,
    /// How often the right to write the VM's disks had changed hands when it began.
    pub generation: u64,
    /// What is wanted.
    pub settings: ReplicationSettings,
    /// Whether somebody wants that nothing is taken for now.
    pub is_paused: bool,
    /// The newest epoch of change tracking before which the journal durably lacks nothing.
    pub trusted_epoch: Option<u64>,
    /// Why it must not go on.
    pub fenced: Option<String>,
    /// Whether the other site may have been asked to take the VM over.
    pub is_handed_over: bool,
    /// It is being ended, and whether the replica goes as well.
    pub ends_with_replica: Option<bool>,
    /// The moment of the newest checkpoint that the other site durably has.
    pub durable_at: Option<Timestamp>,
    /// What the server keeps of the RPO as it was.
    pub rpo_history: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

impl Catalog {
    /// Adds a replication.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the VM is replicated already, [`ErrorKind::InUse`] when it is not known.
    pub async fn add_replication(&self, replication: &KnownReplication) -> Result<()> {
        let sql = "INSERT INTO replications (vm_id, journal_id, peer_id, peer_name, generation, retention_hours, \
                   application_every_seconds, rate_limit_bytes, rate_windows, journal_size_bytes, is_paused, \
                   trusted_epoch, fenced, durable_at, rpo_history, created_at, interval_seconds) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let settings = &replication.settings;
        let query = sqlx::query(sql)
            .bind(replication.vm_id.to_string())
            .bind(replication.journal_id.to_string())
            .bind(replication.peer_id.to_string())
            .bind(replication.peer_name.to_string())
            .bind(row::size_column(replication.generation))
            .bind(i64::from(settings.retention_hours))
            .bind(settings.application_every_seconds.map(i64::from))
            .bind(settings.rate_limit_bytes_per_second.map(|rate| row::size_column(rate.0)))
            .bind(row::json_column(&settings.rate_windows)?)
            .bind(row::size_column(settings.journal_size_bytes.0))
            .bind(i64::from(replication.is_paused))
            .bind(replication.trusted_epoch.map(row::size_column))
            .bind(replication.fenced.clone())
            .bind(replication.durable_at.map(Timestamp::as_microseconds))
            .bind(replication.rpo_history.clone())
            .bind(replication.created_at.as_microseconds())
            .bind(settings.interval_seconds.map(i64::from));
        self.execute(&format!("adding the replication of the VM {}", replication.vm_id), query)
            .await
            .map(|_| ())
    }

    /// All replications, oldest first.
    pub async fn replications(&self) -> Result<Vec<KnownReplication>> {
        let rows =
            sqlx::query("SELECT * FROM replications ORDER BY created_at, vm_id").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing replications", error))?.iter().map(read).collect()
    }

    /// The replication of a VM.
    pub async fn replication(&self, vm_id: VmId) -> Result<Option<KnownReplication>> {
        let query = sqlx::query("SELECT * FROM replications WHERE vm_id = $1").bind(vm_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a replication", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Keeps what is wanted of a replication.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_replication(
        &self,
        vm_id: VmId,
        settings: &ReplicationSettings,
        is_paused: bool,
    ) -> Result<()> {
        let sql = "UPDATE replications SET retention_hours = $2, application_every_seconds = $3, rate_limit_bytes = $4, \
                   rate_windows = $5, journal_size_bytes = $6, is_paused = $7, interval_seconds = $8 WHERE vm_id = $1";
        let query = sqlx::query(sql)
            .bind(vm_id.to_string())
            .bind(i64::from(settings.retention_hours))
            .bind(settings.application_every_seconds.map(i64::from))
            .bind(settings.rate_limit_bytes_per_second.map(|rate| row::size_column(rate.0)))
            .bind(row::json_column(&settings.rate_windows)?)
            .bind(row::size_column(settings.journal_size_bytes.0))
            .bind(i64::from(is_paused))
            .bind(settings.interval_seconds.map(i64::from));
        self.change(&format!("changing the replication of the VM {vm_id}"), query).await
    }

    /// Keeps the epoch of change tracking before which the journal durably lacks nothing; none when it lacks everything.
    /// What the hypervisor tracked earlier may be dropped only after this.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_trusted_epoch(&self, vm_id: VmId, epoch: Option<u64>) -> Result<()> {
        let query = sqlx::query("UPDATE replications SET trusted_epoch = $2 WHERE vm_id = $1")
            .bind(vm_id.to_string())
            .bind(epoch.map(row::size_column));
        self.change(&format!("keeping what the journal of the VM {vm_id} has"), query).await
    }

    /// Keeps that a replication is being ended, so that nothing is taken and nobody has it go on; with the replica, or without.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn begin_to_end_replication(&self, vm_id: VmId, with_replica: bool) -> Result<()> {
        let query =
            sqlx::query("UPDATE replications SET is_paused = 1, ends_with_replica = $2 WHERE vm_id = $1")
                .bind(vm_id.to_string())
                .bind(i64::from(with_replica));
        self.change(&format!("ending the replication of the VM {vm_id}"), query).await
    }

    /// Keeps that a VM is handed over, so that it must not run here, and why.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_handed_over(&self, vm_id: VmId, why: &str) -> Result<()> {
        let query = sqlx::query("UPDATE replications SET fenced = $2, is_handed_over = 1 WHERE vm_id = $1")
            .bind(vm_id.to_string())
            .bind(why.to_owned());
        self.change(&format!("handing the VM {vm_id} over"), query).await
    }

    /// Keeps that a replication must not go on, and why.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_fenced(&self, vm_id: VmId, why: &str) -> Result<()> {
        let query = sqlx::query("UPDATE replications SET fenced = $2 WHERE vm_id = $1")
            .bind(vm_id.to_string())
            .bind(why.to_owned());
        self.change(&format!("fencing the replication of the VM {vm_id}"), query).await
    }

    /// Takes back that a VM was handed over for this reason. One that stands still for another stays so.
    pub async fn lift_fence(&self, vm_id: VmId, why: &str) -> Result<()> {
        let sql =
            "UPDATE replications SET fenced = NULL, is_handed_over = 0 WHERE vm_id = $1 AND fenced = $2";
        let query = sqlx::query(sql).bind(vm_id.to_string()).bind(why.to_owned());
        self.execute(&format!("taking back the fence of the VM {vm_id}"), query).await.map(|_| ())
    }

    /// Keeps how a replication went. One that is no longer known is none of its business.
    pub async fn set_replication_figures(
        &self,
        vm_id: VmId,
        durable_at: Option<Timestamp>,
        rpo_history: &str,
    ) -> Result<()> {
        let query = sqlx::query("UPDATE replications SET durable_at = $2, rpo_history = $3 WHERE vm_id = $1")
            .bind(vm_id.to_string())
            .bind(durable_at.map(Timestamp::as_microseconds))
            .bind(rpo_history.to_owned());
        self.execute(&format!("keeping how the replication of the VM {vm_id} went"), query).await.map(|_| ())
    }

    /// Forgets a replication.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn remove_replication(&self, vm_id: VmId) -> Result<()> {
        let query = sqlx::query("DELETE FROM replications WHERE vm_id = $1").bind(vm_id.to_string());
        self.change(&format!("removing the replication of the VM {vm_id}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownReplication> {
    let optional_size =
        |column| row::optional_number(row, column)?.map(|number| row::size(column, number)).transpose();
    let rate_windows: Vec<RateWindow> = row::json(row, "rate_windows")?;
    let settings = ReplicationSettings {
        retention_hours: small(row, "retention_hours")?,
        interval_seconds: optional_small(row, "interval_seconds")?,
        application_every_seconds: optional_small(row, "application_every_seconds")?,
        rate_limit_bytes_per_second: optional_size("rate_limit_bytes")?.map(ByteCount),
        rate_windows,
        journal_size_bytes: ByteCount(row::size(
            "journal_size_bytes",
            row::number(row, "journal_size_bytes")?,
        )?),
    };
    Ok(KnownReplication {
        vm_id: row::parsed(row, "vm_id")?,
        journal_id: row::parsed(row, "journal_id")?,
        peer_id: row::parsed(row, "peer_id")?,
        peer_name: row::parsed(row, "peer_name")?,
        generation: row::size("generation", row::number(row, "generation")?)?,
        settings,
        is_paused: row::number(row, "is_paused")? != 0,
        trusted_epoch: optional_size("trusted_epoch")?,
        fenced: row::optional_text(row, "fenced")?,
        is_handed_over: row::number(row, "is_handed_over")? != 0,
        ends_with_replica: row::optional_number(row, "ends_with_replica")?.map(|number| number != 0),
        durable_at: row::optional_time(row, "durable_at")?,
        rpo_history: row::optional_text(row, "rpo_history")?,
        created_at: row::time(row, "created_at")?,
    })
}

fn small(row: &AnyRow, column: &str) -> Result<u32> {
    as_small(column, row::size(column, row::number(row, column)?)?)
}

fn optional_small(row: &AnyRow, column: &str) -> Result<Option<u32>> {
    let number = row::optional_number(row, column)?;
    number.map(|number| as_small(column, row::size(column, number)?)).transpose()
}

fn as_small(column: &str, number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("the catalog's column {column} is damaged")).with_source(error)
    })
}
