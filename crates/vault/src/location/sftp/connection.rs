//! The one connection of a store, made anew when it is lost.

use std::sync::Arc;

use object_store::{Error as StoreError, Result as StoreResult};
use russh_sftp::client::error::Error as SftpError;
use tokio::sync::{Mutex, Semaphore};

use super::{super::variables::Variables, STORE, SftpAddress, session::Session};
use crate::Result;

/// Objects that are on their way at once.
pub(super) const REQUESTS_AT_ONCE: usize = 4;

/// The way to a server.
#[derive(Debug)]
pub(super) struct Connection {
    address: SftpAddress,
    variables: Variables,
    current: Mutex<Arc<Session>>,
    permits: Arc<Semaphore>,
}

impl Connection {
    pub(super) async fn open(address: SftpAddress, variables: Variables) -> Result<Self> {
        let session = Session::connect(&address, &variables).await?;
        let permits = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
        Ok(Self { address, variables, current: Mutex::new(Arc::new(session)), permits })
    }

    pub(super) fn address(&self) -> &SftpAddress {
        &self.address
    }

    /// Runs an operation on a path. It runs to its end even when nobody waits for it any more: half done, it would leave
    /// an open handle or a partial file on the server.
    pub(super) async fn run<T, F>(
        &self,
        path: String,
        operation: impl FnOnce(Arc<Session>, String) -> F,
    ) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(generic)?;
        let session = self.session().await.map_err(generic)?;
        let work = operation(Arc::clone(&session), path);
        let done = tokio::spawn(async move {
            let result = work.await;
            drop(permit);
            result
        });
        let result = done.await?;
        if result.as_ref().is_err_and(is_damage) {
            session.abandon();
        }
        result
    }

    /// The session, a new one where the last was lost.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut current = self.current.lock().await;
        if !current.is_usable() {
            tracing::debug!(address = %self.address, "connecting again");
            *current = Arc::new(Session::connect(&self.address, &self.variables).await?);
        }
        Ok(Arc::clone(&current))
    }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Generic { store: STORE, source: Box::new(source) }
}

/// Whether the server did not answer; what it answers with is no reason to leave it.
fn is_damage(error: &StoreError) -> bool {
    let StoreError::Generic { source, .. } = error else { return false };
    source.downcast_ref::<SftpError>().is_some_and(|error| !matches!(error, SftpError::Status(_)))
}
