//! Listening for clients until told to stop.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use api::Problem;
use tokio::net::UnixListener;

use crate::{
    failure::{Failure, Result},
    groups, object_locks, peers, plans, policies, replicas, replications, routes,
    site::Site,
    snapshots,
};

/// How long jobs have to end once the server is told to stop: long enough to thaw a guest and let go of a capture.
const JOBS_STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long clients have to take their last answers.
const CLIENTS_STOP_LIMIT: Duration = Duration::from_secs(3);

/// Serves the site's API on its unix socket until `shutdown` completes. Then jobs end as interrupted, clients get their
/// last answers, and the socket is removed.
///
/// # Errors
/// When the socket cannot be listened on.
pub async fn serve(
    site: Site,
    shutdown: impl Future<Output = ()> + Send,
) -> std::result::Result<(), Problem> {
    let socket = site.socket();
    let listener = listen(&socket).map_err(Failure::into_problem)?;
    if let (Some(listening), Some(address)) = (site.peers.listening(), site.peers.address()) {
        tracing::info!(on = %listening, %address, "open to peers");
    }
    tracing::info!(socket = %socket.display(), "listening");

    let watched = site.clone();
    let watch = tokio::spawn(async move {
        watched.stopping.run_until_cancelled(object_locks::watch(&watched)).await;
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, routes::router(site.clone())).with_graceful_shutdown(async {
        stopped.await.ok(); // a sender that is gone means the same
    });
    let server = tokio::spawn(server.into_future());
    let snapshots = tokio::spawn(snapshots::watch(site.clone()));
    let scheduler = tokio::spawn(policies::run(site.clone()));
    let listening = tokio::spawn(peers::listen(site.clone()));
    let peers = tokio::spawn(peers::watch(site.clone()));
    let replicas = tokio::spawn(replicas::watch(site.clone()));
    let replications = tokio::spawn(replications::run(site.clone()));
    let groups = tokio::spawn(groups::run(site.clone()));
    let plans = tokio::spawn(plans::watch(site.clone()));
    shutdown.await;
    tracing::info!("stopping");
    site.stopping.cancel();
    watch.await.ok();
    snapshots.await.ok();
    if let Err(error) = scheduler.await {
        tracing::error!(%error, "the scheduler ended by a defect");
    }
    for (what, task) in [
        ("peers' listener", listening),
        ("watch over peers", peers),
        ("watch over replicas", replicas),
        ("keeper of consistency groups", groups),
        ("keeper of replications", replications),
        ("keeper of plans", plans),
    ] {
        if let Err(error) = task.await {
            tracing::error!(%error, "the {what} ended by a defect");
        }
    }
    site.jobs.stop(JOBS_STOP_LIMIT).await;
    site.files.clear();
    drop(stop);
    if tokio::time::timeout(CLIENTS_STOP_LIMIT, server).await.is_err() {
        tracing::warn!("some clients did not take their last answers");
    }
    site.catalog.close().await;
    std::fs::remove_file(&socket).ok(); // the next server removes it too
    Ok(())
}

/// Listens where only the server's own user can connect. A socket that is there already is a dead server's: the living
/// one owns the data directory.
fn listen(socket: &Path) -> Result<UnixListener> {
    let failed =
        |error: std::io::Error| Failure::from_io(format!("listening on {}", socket.display()), &error);
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
