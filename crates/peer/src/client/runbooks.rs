//! Runbooks of another site.

use bytes::Bytes;
use hyper::Method;

use super::PeerClient;
use crate::{
    Error, Result,
    runbooks::{RunbookOrder, RunbookRun},
};

impl PeerClient {
    /// Has a runbook run there under this name, unless it is or was.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where that site has no such runbook for others, [`crate::ErrorKind::Busy`] where too many run.
    pub async fn run_runbook(&self, name: &str, order: &RunbookOrder) -> Result<RunbookRun> {
        let body = serde_json::to_vec(order)
            .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?;
        self.call(Method::PUT, &format!("/peer/v1/runbook-runs/{name}"), body.into()).await?.json()
    }

    /// How a run stands.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when that site knows nothing of it, or no longer.
    pub async fn runbook_run(&self, name: &str) -> Result<RunbookRun> {
        self.get(&format!("/peer/v1/runbook-runs/{name}")).await
    }

    /// Ends a run.
    pub async fn end_runbook_run(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("/peer/v1/runbook-runs/{name}"), Bytes::new()).await?.json()
    }
}
