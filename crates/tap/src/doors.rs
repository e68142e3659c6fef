//! The NBD socket: there while clients are let in, gone with all connections when they are not.

use std::{sync::Arc, time::Duration};

use nbd::{Endpoint, Server};
use tokio::time;

use crate::{Error, ErrorKind, Result, tap::Tap};

/// Pause before a socket that cannot be had is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How long a socket may take to be there.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens and closes the socket as it is wanted.
pub(crate) async fn keep(tap: Arc<Tap>) {
    let mut wanted = tap.doors.subscribe();
    loop {
        let Some(opening) = *wanted.borrow_and_update() else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let endpoint = Endpoint::Unix(tap.options.nbd_socket());
        match Server::bind(&endpoint, tap.exports.clone()).await {
            Ok(server) => {
                tap.opened.send_replace(Some(opening));
                // What is dropped at the end cuts all connections.
                tokio::select! {
                    () = server.run() => {}
                    _ = wanted.wait_for(|wanted| *wanted != Some(opening)) => {}
                }
                tap.opened.send_replace(None);
            }
            Err(error) => {
                tracing::warn!(%error, "no NBD client can connect");
                time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

impl Tap {
    /// Waits until clients can connect, if they are let in.
    pub(crate) async fn doors_are_open(&self) -> Result<()> {
        let wanted = *self.doors.borrow();
        let mut opened = self.opened.subscribe();
        let waited =
            time::timeout(OPEN_TIMEOUT, opened.wait_for(|it| wanted.is_none() || *it == wanted)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let context = format!("listening on {}", self.options.nbd_socket().display());
                Err(Error::new(ErrorKind::Io, context))
            }
        }
    }
}
