//! Listening to peers. Whoever calls may be hostile: every wait has an end and every buffer a limit.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, response::IntoResponse as _};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

use super::{
    caller::{Session, identify},
    room::{Place, Room},
    routes,
};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long a stranger's connection may last in all.
const STRANGER_LIMIT: Duration = Duration::from_secs(10);

/// How long the head of a request may take, and how long a peer's connection may idle.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long a request may take from its head to its answer; its body comes within it.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// How long connections have to end once the server is told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The longest head of a request, and so what a connection may make the server hold before anybody looks at it.
const BUFFER_MAX_BYTES: usize = 64 << 10;
const HEADERS_MAX: usize = 32;

/// How long to rest when connections cannot be taken, which ends when some end.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What binds a proof to one TLS session (RFC 9266).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Answers peers until the server stops.
pub(super) async fn run(site: Site, listener: TcpListener) {
    let (router, room, tasks) = (routes::router(site.clone()), Arc::new(Room::default()), TaskTracker::new());
    let stopping = site.stopping.clone();
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of a peer could not be taken");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(place) = room.admit(from.ip()) else {
            tracing::debug!(%from, "too many connections of strangers");
            continue;
        };
        let (site, router) = (site.clone(), router.clone());
        tasks.spawn(async move {
            if let Err(failure) = connection(&site, router, stream, from, place).await {
                tracing::debug!(%from, reason = failure.detail(), "a connection of a peer ended");
            }
        });
    }
    tasks.close();
    if timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::debug!("some peers were cut off");
    }
}

async fn connection(
    site: &Site,
    router: Router,
    stream: TcpStream,
    from: SocketAddr,
    place: Place,
) -> Result<()> {
    let broken = |error: std::io::Error| Failure::from_io(format!("a connection from {from}"), &error);
    stream.set_nodelay(true).map_err(broken)?;
    let tls = peer::server_config(&site.peers.identity.credentials(), &site.env)?;
    let accepted = timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(Arc::new(tls)).accept(stream)).await;
    let stream = accepted.map_err(|_| Failure::invalid("the handshake took too long"))?.map_err(broken)?;
    let session = Arc::new(session(site, &stream).await?);
    match session.peer {
        Err(_) => {
            let served = timeout(STRANGER_LIMIT, serve(site, router, stream, session)).await;
            served.map_err(|_| Failure::invalid("a stranger stayed too long"))?
        }
        Ok(peer) => {
            let _place =
                place.of_peer(peer).ok_or_else(|| Failure::invalid("a peer has too many connections"))?;
            serve(site, router, stream, session).await
        }
    }
}

async fn session(site: &Site, stream: &TlsStream<TcpStream>) -> Result<Session> {
    let tls = stream.get_ref().1;
    let mut keying = [0; 32];
    tls.export_keying_material(&mut keying, EXPORTER_LABEL, None)
        .map_err(|error| Failure::new(api::Code::Failed, format!("deriving from a TLS session: {error}")))?;
    let certificates: Vec<_> =
        tls.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect();
    let peer = identify(site, &certificates).await?;
    Ok(Session { certificates, keying, peer })
}

/// Answers what comes over one connection.
async fn serve(
    site: &Site,
    router: Router,
    stream: TlsStream<TcpStream>,
    session: Arc<Session>,
) -> Result<()> {
    let is_peer = session.peer.is_ok();
    let routes = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&session));
        let answer = routes.call(request);
        async move {
            match timeout(REQUEST_LIMIT, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok((StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()),
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(BUFFER_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .keep_alive(is_peer);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = site.stopping.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    ended.map_err(|error| Failure::invalid(format!("HTTP: {error}")))
}
