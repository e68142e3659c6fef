//! The journals of other sites that this one keeps, and the tests that were made of them.

use model::{JournalId, ReplicationSettings, SiteId, Timestamp, VmDefinition, VmId, VmName};
use recovery::Standing;
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A replica: the journal of another site's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplica {
    /// The journal.
    pub journal_id: JournalId,
    /// Whose it is.
    pub peer_id: SiteId,
    /// The VM at the source.
    pub vm_id: VmId,
    /// What it is called there.
    pub vm_name: VmName,
    /// What it is made of there.
    pub definition: VmDefinition,
    /// How long moments stay reachable, in seconds.
    pub retention_seconds: u64,
    /// Whether the operator here has set that, so that the source's wish counts no more.
    pub retention_is_set: bool,
    /// The segment that it begins with, as long as it is empty.
    pub first_segment: u64,
    /// How it stands.
    pub standing: Standing,
    /// The record after which the VM of a failover was made.
    pub failed_over_to: Option<u64>,
    /// When it was offered last.
    pub offered_at: Timestamp,
    /// How its source has it replicated; none of one that does not say.
    pub source_settings: Option<ReplicationSettings>,
}

/// A test of a replica: a VM made from one of its moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverTest {
    /// The VM of the test.
    pub vm_id: VmId,
    /// The replica.
    pub journal_id: JournalId,
    /// What the VM of the test is called.
    pub vm_name: VmName,
    /// The record after which it was made.
    pub sequence: u64,
    /// When that was taken in, by the source's clock.
    pub moment_at: Timestamp,
    /// When the test began.
    pub begun_at: Timestamp,
    /// When its VM was removed.
    pub cleaned_up_at: Option<Timestamp>,
    /// What was found.
    pub verdict: Option<String>,
}

/// That a VM was failed over to this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The generation since then. Another site that is to have the VM needs a newer one.
    pub generation: u64,
    /// When it was.
    pub begun_at: Timestamp,
}

impl Catalog {
    /// Keeps that a VM of another site is failed over to this one. It stays when the replica goes.
    pub async fn put_fence(&self, vm_id: VmId, fence: Fence) -> Result<()> {
        let sql = "INSERT INTO fences (vm_id, generation, begun_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (vm_id) DO UPDATE SET generation = $2, begun_at = $3 WHERE fences.generation < $2";
        let query = sqlx::query(sql)
            .bind(vm_id.to_string())
            .bind(row::size_column(fence.generation))
            .bind(fence.begun_at.as_microseconds());
        self.execute(&format!("fencing the VM {vm_id}"), query).await.map(|_| ())
    }

    /// Whether a VM was failed over to this site.
    pub async fn fence(&self, vm_id: VmId) -> Result<Option<Fence>> {
        let query = sqlx::query("SELECT * FROM fences WHERE vm_id = $1").bind(vm_id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a fence", error))?;
        let read = |row: &AnyRow| {
            let generation = row::size("generation", row::number(row, "generation")?)?;
            Ok(Fence { generation, begun_at: row::time(row, "begun_at")? })
        };
        found.as_ref().map(read).transpose()
    }

    /// Keeps a replica; one of this journal is replaced.
    pub async fn put_replica(&self, replica: &KnownReplica) -> Result<()> {
        let sql = "INSERT INTO replicas (journal_id, peer_id, vm_id, vm_name, definition, retention_seconds, \
                   retention_is_set, first_segment, standing, failed_over_to, offered_at, source_settings) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (journal_id) DO UPDATE SET \
                   peer_id = $2, vm_id = $3, vm_name = $4, definition = $5, retention_seconds = $6, \
                   retention_is_set = $7, first_segment = $8, standing = $9, failed_over_to = $10, offered_at = $11, \
                   source_settings = $12";
        let query = sqlx::query(sql)
            .bind(replica.journal_id.to_string())
            .bind(replica.peer_id.to_string())
            .bind(replica.vm_id.to_string())
            .bind(replica.vm_name.to_string())
            .bind(row::json_column(&replica.definition)?)
            .bind(row::size_column(replica.retention_seconds))
            .bind(i64::from(replica.retention_is_set))
            .bind(row::size_column(replica.first_segment))
            .bind(row::json_column(&replica.standing)?)
            .bind(replica.failed_over_to.map(row::size_column))
            .bind(replica.offered_at.as_microseconds())
            .bind(replica.source_settings.as_ref().map(row::json_column).transpose()?);
        self.execute(&format!("keeping the replica of the VM {}", replica.vm_name), query).await.map(|_| ())
    }

    /// All replicas, by the names of their VMs.
    pub async fn replicas(&self) -> Result<Vec<KnownReplica>> {
        let rows =
            sqlx::query("SELECT * FROM replicas ORDER BY vm_name, journal_id").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing replicas", error))?.iter().map(read).collect()
    }

    /// The replica of a journal.
    pub async fn replica(&self, id: JournalId) -> Result<Option<KnownReplica>> {
        let query = sqlx::query("SELECT * FROM replicas WHERE journal_id = $1").bind(id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a replica", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Forgets a replica.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_replica(&self, id: JournalId) -> Result<()> {
        let query = sqlx::query("DELETE FROM replicas WHERE journal_id = $1").bind(id.to_string());
        self.change(&format!("forgetting the replica {id}"), query).await
    }

    /// Keeps a test that begins.
    pub async fn add_failover_test(&self, test: &FailoverTest) -> Result<()> {
        let sql = "INSERT INTO failover_tests (vm_id, journal_id, vm_name, sequence, moment_at, begun_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql)
            .bind(test.vm_id.to_string())
            .bind(test.journal_id.to_string())
            .bind(test.vm_name.to_string())
            .bind(row::size_column(test.sequence))
            .bind(test.moment_at.as_microseconds())
            .bind(test.begun_at.as_microseconds());
        self.execute(&format!("keeping the test {}", test.vm_name), query).await.map(|_| ())
    }

    /// Keeps that a test is over, and what was found.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn end_failover_test(&self, id: VmId, at: Timestamp, verdict: Option<&str>) -> Result<()> {
        let query =
            sqlx::query("UPDATE failover_tests SET cleaned_up_at = $2, verdict = $3 WHERE vm_id = $1")
                .bind(id.to_string())
                .bind(at.as_microseconds())
                .bind(verdict.map(str::to_owned));
        self.change(&format!("ending the test {id}"), query).await
    }

    /// Forgets a test of which nothing came.
    pub async fn remove_failover_test(&self, id: VmId) -> Result<()> {
        let query = sqlx::query("DELETE FROM failover_tests WHERE vm_id = $1").bind(id.to_string());
        self.execute(&format!("forgetting the test {id}"), query).await.map(|_| ())
    }

    /// All tests, newest first.
    pub async fn failover_tests(&self) -> Result<Vec<FailoverTest>> {
        let sql = "SELECT * FROM failover_tests ORDER BY begun_at DESC, vm_id";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing tests of replicas", error))?;
        rows.iter().map(read_test).collect()
    }
}

fn read(row: &AnyRow) -> Result<KnownReplica> {
    let count = |column: &str| row::size(column, row::number(row, column)?);
    let failed_over_to = row::optional_number(row, "failed_over_to")?;
    Ok(KnownReplica {
        journal_id: row::parsed(row, "journal_id")?,
        peer_id: row::parsed(row, "peer_id")?,
        vm_id: row::parsed(row, "vm_id")?,
        vm_name: row::parsed(row, "vm_name")?,
        definition: row::json(row, "definition")?,
        retention_seconds: count("retention_seconds")?,
        retention_is_set: row::number(row, "retention_is_set")? != 0,
        first_segment: count("first_segment")?,
        standing: row::json(row, "standing")?,
        failed_over_to: failed_over_to.map(|it| row::size("failed_over_to", it)).transpose()?,
        offered_at: row::time(row, "offered_at")?,
        source_settings: row::optional_json(row, "source_settings")?,
    })
}

fn read_test(row: &AnyRow) -> Result<FailoverTest> {
    Ok(FailoverTest {
        vm_id: row::parsed(row, "vm_id")?,
        journal_id: row::parsed(row, "journal_id")?,
        vm_name: row::parsed(row, "vm_name")?,
        sequence: row::size("sequence", row::number(row, "sequence")?)?,
        moment_at: row::time(row, "moment_at")?,
        begun_at: row::time(row, "begun_at")?,
        cleaned_up_at: row::optional_time(row, "cleaned_up_at")?,
        verdict: row::optional_text(row, "verdict")?,
    })
}
