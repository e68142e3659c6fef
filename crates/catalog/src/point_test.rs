//! How recovery points did when they were booted.

use std::path::PathBuf;

use model::{PointId, Timestamp};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, Result, row};

/// The last test of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointTest {
    /// The point.
    pub point_id: PointId,
    /// When it was booted.
    pub tested_at: Timestamp,
    /// Whether it did what was asked of it.
    pub passed: bool,
    /// How long it took from the start to the sign that was waited for, in milliseconds.
    pub boot_ms: Option<u64>,
    /// What was seen, in words.
    pub detail: String,
    /// The picture of its screen.
    pub screenshot: Option<PathBuf>,
}

impl Catalog {
    /// Keeps a test in the place of the point's last one.
    pub async fn set_point_test(&self, test: &PointTest) -> Result<()> {
        let sql = "INSERT INTO point_tests (point_id, tested_at, passed, boot_ms, detail, screenshot) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (point_id) DO UPDATE SET tested_at = $2, \
                   passed = $3, boot_ms = $4, detail = $5, screenshot = $6";
        let query = sqlx::query(sql)
            .bind(test.point_id.to_string())
            .bind(test.tested_at.as_microseconds())
            .bind(i64::from(test.passed))
            .bind(test.boot_ms.map(row::size_column))
            .bind(test.detail.clone())
            .bind(test.screenshot.as_ref().map(|path| path.display().to_string()));
        self.execute(&format!("keeping the test of the point {}", test.point_id), query).await.map(|_| ())
    }

    /// The last tests of all points, in no order.
    pub async fn point_tests(&self) -> Result<Vec<PointTest>> {
        let rows = sqlx::query("SELECT * FROM point_tests").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("reading how points were tested", error))?
            .iter()
            .map(read)
            .collect()
    }
}

fn read(row: &AnyRow) -> Result<PointTest> {
    let boot_ms = row::optional_number(row, "boot_ms")?;
    Ok(PointTest {
        point_id: row::parsed(row, "point_id")?,
        tested_at: row::time(row, "tested_at")?,
        passed: row::number(row, "passed")? != 0,
        boot_ms: boot_ms.map(|ms| row::size("boot_ms", ms)).transpose()?,
        detail: row::text(row, "detail")?,
        screenshot: row::optional_text(row, "screenshot")?.map(PathBuf::from),
    })
}
