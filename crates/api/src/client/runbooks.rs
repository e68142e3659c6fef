//! Runbooks.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{CreateRunbook, EditRunbook, JobView, RunbookView, TestRunbook};

impl Client {
    /// All runbooks, by name.
    pub async fn runbooks(&self) -> Result<Vec<RunbookView>> {
        self.get("/v1/runbooks").await
    }

    /// One runbook.
    pub async fn runbook(&self, runbook: &str) -> Result<RunbookView> {
        self.get(&of(runbook)).await
    }

    /// Creates a runbook.
    pub async fn create_runbook(&self, request: &CreateRunbook) -> Result<RunbookView> {
        self.post("/v1/runbooks", request).await
    }

    /// Puts another document in the place of a runbook's.
    pub async fn edit_runbook(&self, runbook: &str, request: &EditRunbook) -> Result<RunbookView> {
        self.send(Method::PATCH, &of(runbook), request).await
    }

    /// Runs a runbook once.
    pub async fn test_runbook(&self, runbook: &str, request: &TestRunbook) -> Result<JobView> {
        self.post(&format!("{}/tests", of(runbook)), request).await
    }

    /// Forgets a runbook.
    pub async fn delete_runbook(&self, runbook: &str) -> Result<()> {
        self.call(Method::DELETE, &of(runbook), Bytes::new()).await
    }
}

fn of(runbook: &str) -> String {
    format!("/v1/runbooks/{}", segment(runbook))
}
