//! Opening the catalog, and bringing it up to date.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AnyPool, Executor as _,
    any::{AnyArguments, AnyPoolOptions, AnyQueryResult},
    migrate::{MigrateError, Migrator},
    query::Query,
};

use crate::{Error, ErrorKind, Result};

static MIGRATOR: Migrator = sqlx::migrate!();

/// What every connection to SQLite is set to. FULL makes each commit durable under WAL, at the price of one sync.
const PRAGMAS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                       PRAGMA foreign_keys = ON;";

/// Statements are short, so that a few connections are enough for many callers.
const CONNECTION_LIMIT: u32 = 4;

/// The catalog of a site. Clones share one pool of connections.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(crate) pool: AnyPool,
}

impl Catalog {
    /// Opens the catalog in this SQLite file, creates it where there is none, and brings its tables up to date; a copy
    /// of an older catalog is left beside it first, as `<file>.version-<n>`.
    ///
    /// # Errors
    /// [`ErrorKind::Newer`] when a newer Holdfast has written it.
    pub async fn open(file: &Path) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let opening = || format!("opening the catalog {}", file.display());
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTION_LIMIT)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(PRAGMAS).await.map(|_| ()) })
            });
        let pool =
            options.connect(&url(file)?).await.map_err(|error| Error::from_database(opening(), error))?;
        let catalog = Self { pool };
        catalog.migrate(file).await?;
        Ok(catalog)
    }

    /// Waits for the statements under way and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn migrate(&self, file: &Path) -> Result<()> {
        let newest = MIGRATOR.iter().map(|migration| migration.version).max();
        let present = self.version().await?;
        if present.is_some() && present < newest {
            self.copy_aside(file, present.unwrap_or_default()).await?;
        }
        MIGRATOR.run(&self.pool).await.map_err(|error| {
            let (kind, context) = match &error {
                MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                    (ErrorKind::Newer, "a newer Holdfast has written the catalog")
                }
                MigrateError::VersionMismatch(_) => {
                    (ErrorKind::Corrupt, "the catalog was not made by a Holdfast that was released")
                }
                _ => (ErrorKind::Database, "bringing the catalog up to date"),
            };
            Error::new(kind, format!("{context}: {}", file.display())).with_source(error)
        })
    }

    /// The newest migration that the catalog has seen; none for a new file.
    async fn version(&self) -> Result<Option<i64>> {
        let reading = |error| Error::from_database("reading the catalog's version", error);
        let (tables,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
                .fetch_one(&self.pool)
                .await
                .map_err(reading)?;
        if tables == 0 {
            return Ok(None);
        }
        let (version,): (Option<i64>,) = sqlx::query_as("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await
            .map_err(reading)?;
        Ok(version)
    }

    /// Leaves a copy of the whole database; it has its name only once it is complete.
    pub(crate) async fn copy_aside(&self, file: &Path, version: i64) -> Result<()> {
        let copy = beside(file, &format!(".version-{version}"));
        let partial = beside(file, ".partial");
        let copying = || format!("copying the catalog to {}", copy.display());
        let failed = |error: std::io::Error| Error::new(ErrorKind::Database, copying()).with_source(error);
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        sqlx::query("VACUUM INTO $1")
            .bind(utf8(&partial)?.to_owned())
            .execute(&self.pool)
            .await
            .map_err(|error| Error::from_database(copying(), error))?;
        std::fs::File::open(&partial)
            .and_then(|partial| partial.sync_all())
            .and_then(|()| std::fs::rename(&partial, &copy))
            .map_err(failed)?;
        tracing::info!(copy = %copy.display(), "the catalog is being brought up to date; this copy stays");
        Ok(())
    }

    /// Runs a statement that must touch one row at least.
    pub(crate) async fn change<'query>(
        &self,
        what: &str,
        query: Query<'query, sqlx::Any, AnyArguments>,
    ) -> Result<()> {
        match self.execute(what, query).await?.rows_affected() {
            0 => Err(Error::new(ErrorKind::NotFound, what)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn execute<'query>(
        &self,
        what: &str,
        query: Query<'query, sqlx::Any, AnyArguments>,
    ) -> Result<AnyQueryResult> {
        query.execute(&self.pool).await.map_err(|error| Error::from_database(what, error))
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn utf8(file: &Path) -> Result<&str> {
    file.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::Database,
            format!("the path {} is not UTF-8, which SQLite needs", file.display()),
        )
    })
}

/// The URL of a SQLite file: what is not plainly part of a path is percent-encoded.
fn url(file: &Path) -> Result<String> {
    let mut url = "sqlite://".to_owned();
    for byte in utf8(file)?.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    url.push_str("?mode=rwc");
    Ok(url)
}
