//! Errors of the catalog.

use std::{error, fmt};

/// A result of the catalog.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such row.
    NotFound,
    /// The name or the id is taken.
    Exists,
    /// Something else in the catalog still refers to it, or what it refers to is not there.
    InUse,
    /// A newer Holdfast has written the catalog.
    Newer,
    /// A row says what no Holdfast writes.
    Corrupt,
    /// There is no space left for it.
    NoSpace,
    /// The database does not answer, or failed.
    Database,
}

/// A failed operation on the catalog.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error of the database, told apart by what the database says of it.
    pub(crate) fn from_database(context: impl Into<String>, source: sqlx::Error) -> Self {
        let kind = match &source {
            sqlx::Error::RowNotFound => ErrorKind::NotFound,
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                ErrorKind::Corrupt
            }
            sqlx::Error::Database(database) if database.is_unique_violation() => ErrorKind::Exists,
            sqlx::Error::Database(database) if database.is_foreign_key_violation() => ErrorKind::InUse,
            // SQLITE_FULL; PostgreSQL's disk_full.
            sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("13" | "53100")) => {
                ErrorKind::NoSpace
            }
            _ => ErrorKind::Database,
        };
        Self::new(kind, context).with_source(source)
    }

    /// What callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Database
    }

    /// What the user can do about it.
    #[must_use]
    pub fn guidance(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Newer => Some(
                "run the newer Holdfast again, or put back the copy of the catalog that it left beside the file",
            ),
            ErrorKind::NoSpace => Some("free space on the file system of the data directory"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.context)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}
