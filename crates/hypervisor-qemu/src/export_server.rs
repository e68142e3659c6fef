//! QEMU's NBD server. A QEMU has one, so that all who show disks of a VM share it.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result};
use nbd::Endpoint;
use serde_json::json;
use tokio::time::{self, Instant};

use crate::{monitor::Monitor, names, session::Session};

/// How long to wait for somebody else's server to stop.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// While this lives, the server is not stopped.
pub(crate) struct ServerUse(Arc<Monitor>);

impl Drop for ServerUse {
    fn drop(&mut self) {
        self.0.exports().users.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts the server on the VM's socket, unless it is there.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody else uses it.
pub(crate) async fn join(session: &Session) -> Result<ServerUse> {
    let monitor = &session.monitor;
    session.make_dir()?;
    let path = session.config.export_socket(session.vm.vm_id)?;
    let filename = path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("the path {} is not UTF-8", path.display()))
            .with_guidance("choose another runtime directory")
    })?;
    let _turn = monitor.exports().turn.lock().await;
    monitor.exports().users.fetch_add(1, Ordering::SeqCst);
    let server_use = ServerUse(monitor.clone());
    let address = json!({"addr": {"type": "unix", "data": {"path": filename}}});
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match monitor.execute("nbd-server-start", address.clone()).await {
            Ok(_) => return Ok(server_use),
            Err(error) => error,
        };
        if !error.to_string().contains("already running") {
            return Err(error);
        }
        if listens(&path).await {
            return Ok(server_use);
        }
        if Instant::now() >= deadline {
            let context = format!("another program uses the NBD server of the VM {}", session.vm.name);
            return Err(Error::new(ErrorKind::Busy, context)
                .with_guidance("a QEMU has one: try again when the other backup or migration has ended")
                .with_source(error));
        }
        time::sleep(RETRY_INTERVAL).await;
    }
}

/// Stops the server unless somebody still shows a disk on it. One of somebody else listens elsewhere.
pub(crate) async fn stop_unused(session: &Session) -> Result<()> {
    let monitor = &session.monitor;
    let _turn = monitor.exports().turn.lock().await;
    let exports = monitor.query("query-block-exports").await?;
    let ids = exports.as_array().into_iter().flatten().filter_map(|export| export["id"].as_str());
    let is_used = monitor.exports().users.load(Ordering::SeqCst) > 0;
    if is_used || ids.into_iter().any(|id| id.starts_with(names::PREFIX)) {
        return Ok(());
    }
    let socket = session.config.export_socket(session.vm.vm_id)?;
    if listens(&socket).await {
        monitor.query("nbd-server-stop").await?;
    }
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Failed, format!("cannot remove {}", socket.display()))
                .with_source(error))
        }
        _ => Ok(()),
    }
}

async fn listens(socket: &Path) -> bool {
    nbd::list(&Endpoint::Unix(socket.to_owned())).await.is_ok()
}
