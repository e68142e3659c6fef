//! Consistency groups: of VMs that are replicated from here, and of replicas that are kept here.

use model::{GroupId, GroupName, JournalId, SiteId, SiteName, Timestamp, VmId};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, ErrorKind, Result, row};

/// A consistency group of VMs that are replicated from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownGroup {
    /// The group, on both sides.
    pub id: GroupId,
    /// Its name, which no other group of the site has.
    pub name: GroupName,
    /// The site to which all members are replicated.
    pub peer_id: SiteId,
    /// What that is called here.
    pub peer_name: SiteName,
    /// The VMs. One is in one group at most.
    pub members: Vec<VmId>,
    /// How often a shared checkpoint is made, in milliseconds.
    pub every_ms: u32,
    /// Grows whenever the name or the members change.
    pub revision: u64,
    /// Shared checkpoints up to this number may have been made.
    pub numbers_through: u64,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// A consistency group of another site's VMs, as its source said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplicaGroup {
    /// The group, on both sides.
    pub id: GroupId,
    /// Whose it is.
    pub peer_id: SiteId,
    /// What it is called there.
    pub name: GroupName,
    /// The journals of its members.
    pub members: Vec<JournalId>,
    /// What is older does not count.
    pub revision: u64,
}

impl Catalog {
    /// Adds a group.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when another has its name.
    pub async fn add_group(&self, group: &KnownGroup) -> Result<()> {
        let sql = "INSERT INTO replication_groups (id, name, peer_id, peer_name, members, every_ms, revision, \
                   numbers_through, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(sql)
            .bind(group.id.to_string())
            .bind(group.name.to_string())
            .bind(group.peer_id.to_string())
            .bind(group.peer_name.to_string())
            .bind(row::json_column(&group.members)?)
            .bind(i64::from(group.every_ms))
            .bind(row::size_column(group.revision))
            .bind(row::size_column(group.numbers_through))
            .bind(group.created_at.as_microseconds());
        self.execute(&format!("adding the group {}", group.name), query).await.map(|_| ())
    }

    /// Keeps who is in a group, how often it is marked, and its revision.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_group(&self, group: &KnownGroup) -> Result<()> {
        let sql = "UPDATE replication_groups SET members = $2, every_ms = $3, revision = $4 WHERE id = $1";
        let query = sqlx::query(sql)
            .bind(group.id.to_string())
            .bind(row::json_column(&group.members)?)
            .bind(i64::from(group.every_ms))
            .bind(row::size_column(group.revision));
        self.change(&format!("changing the group {}", group.name), query).await
    }

    /// Keeps that shared checkpoints up to this number may be made from now on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn reserve_group_numbers(&self, id: GroupId, through: u64) -> Result<()> {
        let query = sqlx::query("UPDATE replication_groups SET numbers_through = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::size_column(through));
        self.change(&format!("reserving numbers for the group {id}"), query).await
    }

    /// All groups, by name.
    pub async fn groups(&self) -> Result<Vec<KnownGroup>> {
        let rows = sqlx::query("SELECT * FROM replication_groups ORDER BY name").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing groups", error))?.iter().map(read).collect()
    }

    /// Forgets a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn remove_group(&self, id: GroupId) -> Result<()> {
        let query = sqlx::query("DELETE FROM replication_groups WHERE id = $1").bind(id.to_string());
        self.change(&format!("forgetting the group {id}"), query).await
    }

    /// Keeps what a source says of a group, in the place of what it said before.
    pub async fn put_replica_group(&self, group: &KnownReplicaGroup) -> Result<()> {
        let sql = "INSERT INTO replica_groups (id, peer_id, name, members, revision) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (id) DO UPDATE SET peer_id = $2, name = $3, members = $4, revision = $5";
        let query = sqlx::query(sql)
            .bind(group.id.to_string())
            .bind(group.peer_id.to_string())
            .bind(group.name.to_string())
            .bind(row::json_column(&group.members)?)
            .bind(row::size_column(group.revision));
        self.execute(&format!("keeping the group {}", group.name), query).await.map(|_| ())
    }

    /// All groups of replicas, by name.
    pub async fn replica_groups(&self) -> Result<Vec<KnownReplicaGroup>> {
        let rows = sqlx::query("SELECT * FROM replica_groups ORDER BY name, id").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| Error::from_database("listing groups of replicas", error))?;
        rows.iter().map(read_of_replicas).collect()
    }

    /// Forgets a group of replicas.
    pub async fn remove_replica_group(&self, id: GroupId) -> Result<()> {
        let query = sqlx::query("DELETE FROM replica_groups WHERE id = $1").bind(id.to_string());
        self.execute(&format!("forgetting the group {id} of replicas"), query).await.map(|_| ())
    }
}

fn read(row: &AnyRow) -> Result<KnownGroup> {
    let every_ms = u32::try_from(row::number(row, "every_ms")?).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "the catalog's column every_ms is damaged").with_source(error)
    })?;
    Ok(KnownGroup {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        peer_id: row::parsed(row, "peer_id")?,
        peer_name: row::parsed(row, "peer_name")?,
        members: row::json(row, "members")?,
        every_ms,
        revision: row::size("revision", row::number(row, "revision")?)?,
        numbers_through: row::size("numbers_through", row::number(row, "numbers_through")?)?,
        created_at: row::time(row, "created_at")?,
    })
}

fn read_of_replicas(row: &AnyRow) -> Result<KnownReplicaGroup> {
    Ok(KnownReplicaGroup {
        id: row::parsed(row, "id")?,
        peer_id: row::parsed(row, "peer_id")?,
        name: row::parsed(row, "name")?,
        members: row::json(row, "members")?,
        revision: row::size("revision", row::number(row, "revision")?)?,
    })
}

#[cfg(test)]
mod tests;
