//! Runbooks.

use model::{SiteId, Timestamp};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// A runbook that the site knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRunbook {
    /// Its name, which no other runbook of the site has.
    pub name: String,
    /// What it is, as it was written.
    pub document: String,
    /// Since when it is known.
    pub created_at: Timestamp,
    /// Since when it is this.
    pub changed_at: Timestamp,
    /// The site that it came from, with a plan that names it; none where it was written here.
    pub origin: Option<SiteId>,
    /// Whether somebody here has agreed to what it runs on this host.
    pub is_accepted: bool,
}

impl Catalog {
    /// Adds a runbook.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when another has its name.
    pub async fn add_runbook(&self, runbook: &KnownRunbook) -> Result<()> {
        let sql = "INSERT INTO runbooks (name, document, created_at, changed_at, origin, is_accepted) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql)
            .bind(runbook.name.clone())
            .bind(runbook.document.clone())
            .bind(runbook.created_at.as_microseconds())
            .bind(runbook.changed_at.as_microseconds())
            .bind(runbook.origin.map(|origin| origin.to_string()))
            .bind(i64::from(runbook.is_accepted));
        self.execute(&format!("adding the runbook {}", runbook.name), query).await.map(|_| ())
    }

    /// Keeps what a runbook is now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_runbook(&self, runbook: &KnownRunbook) -> Result<()> {
        let sql = "UPDATE runbooks SET document = $2, changed_at = $3, origin = $4, is_accepted = $5 WHERE name = $1";
        let query = sqlx::query(sql)
            .bind(runbook.name.clone())
            .bind(runbook.document.clone())
            .bind(runbook.changed_at.as_microseconds())
            .bind(runbook.origin.map(|origin| origin.to_string()))
            .bind(i64::from(runbook.is_accepted));
        self.change(&format!("changing the runbook {}", runbook.name), query).await
    }

    /// All runbooks, by name.
    pub async fn runbooks(&self) -> Result<Vec<KnownRunbook>> {
        let rows = sqlx::query("SELECT * FROM runbooks ORDER BY name").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing runbooks", error))?.iter().map(read).collect()
    }

    /// The runbook with this name.
    pub async fn runbook(&self, name: &str) -> Result<Option<KnownRunbook>> {
        let query = sqlx::query("SELECT * FROM runbooks WHERE name = $1").bind(name.to_owned());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a runbook", error))?;
        found.as_ref().map(read).transpose()
    }

    /// Forgets a runbook.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_runbook(&self, name: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM runbooks WHERE name = $1").bind(name.to_owned());
        self.change(&format!("removing the runbook {name}"), query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownRunbook> {
    Ok(KnownRunbook {
        name: row::text(row, "name")?,
        document: row::text(row, "document")?,
        created_at: row::time(row, "created_at")?,
        changed_at: row::time(row, "changed_at")?,
        origin: row::optional_parsed(row, "origin")?,
        is_accepted: row::number(row, "is_accepted")? != 0,
    })
}
