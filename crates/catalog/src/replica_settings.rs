//! How the VMs that replicas become are to be at this site.

use std::{collections::BTreeMap, path::PathBuf};

use model::{ByteCount, JournalId, NetworkConnection, VmName};
use serde::{Deserialize, Serialize};

use crate::{Catalog, Error, Result, row};

/// What somebody at this site has said of the VM that a replica becomes. Of what is not there, nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaSettings {
    /// What it is called.
    pub name: Option<VmName>,
    /// Its virtual CPUs.
    pub cpus: Option<u32>,
    /// Its memory.
    pub memory_bytes: Option<ByteCount>,
    /// In which directory its disks get one of their own.
    pub storage: Option<PathBuf>,
    /// What its network interfaces are connected to, by their places in the definition.
    pub networks: BTreeMap<u32, NetworkConnection>,
    /// The same in tests.
    pub test_networks: BTreeMap<u32, NetworkConnection>,
}

/// What the bridges of a peer are at this site, by their names there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkMap {
    /// For VMs that run here in earnest.
    pub networks: BTreeMap<String, NetworkConnection>,
    /// For tests.
    pub test_networks: BTreeMap<String, NetworkConnection>,
}

impl Catalog {
    /// Keeps how the VM of a replica is to be here.
    pub async fn set_replica_settings(&self, id: JournalId, settings: &ReplicaSettings) -> Result<()> {
        let sql = "INSERT INTO replica_settings (journal_id, settings) VALUES ($1, $2) \
                   ON CONFLICT (journal_id) DO UPDATE SET settings = $2";
        let query = sqlx::query(sql).bind(id.to_string()).bind(row::json_column(settings)?);
        self.execute(&format!("keeping the settings of the replica {id}"), query).await.map(|_| ())
    }

    /// How the VM of a replica is to be here.
    pub async fn replica_settings(&self, id: JournalId) -> Result<ReplicaSettings> {
        let query =
            sqlx::query("SELECT settings FROM replica_settings WHERE journal_id = $1").bind(id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a replica's settings", error))?;
        Ok(found.map(|row| row::json(&row, "settings")).transpose()?.unwrap_or_default())
    }

    /// Forgets how the VM of a replica was to be here.
    pub async fn remove_replica_settings(&self, id: JournalId) -> Result<()> {
        let query = sqlx::query("DELETE FROM replica_settings WHERE journal_id = $1").bind(id.to_string());
        self.execute(&format!("forgetting the settings of the replica {id}"), query).await.map(|_| ())
    }
}
