//! A server whose exports are images, which are read, and targets, which are written.

mod exports;
mod negotiation;
mod replies;
mod tls;
mod transmission;
mod work;

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use image::{Error, ErrorKind, Result};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, UnixListener, UnixSocket, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Endpoint, codec::transmission::ErrorCode, endpoint::Stream};
pub use exports::{Exports, TargetPerClient};
use negotiation::{Negotiation, Outcome, Session};
pub use tls::Tls;

/// Connections that are served at once whatever is offered; more wait to be accepted.
const CONNECTIONS_MIN: usize = 128;

/// Connections that each export adds to that. A VM has one, and another for a moment when it comes back.
const CONNECTIONS_PER_EXPORT: usize = 2;

/// Clients of a unix socket that the kernel lets wait.
const BACKLOG: u32 = 1024;

/// How long a client may take from the connection to the end of the negotiation.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting rests after it failed, as it does while there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that listens. An image may be read over any number of connections; a target takes writes, and answers each when the
/// target has taken it.
///
/// A unix socket belongs to its owner alone (mode 0600), and is removed when the server is dropped.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    offer: Offer,
}

/// What each connection is offered.
#[derive(Debug, Clone)]
struct Offer {
    exports: Exports,
    tls: Option<Tls>,
}

impl Server {
    /// Listens. A TCP port of 0 takes one that is free. A unix socket that nobody listens on any more is taken over.
    ///
    /// # Errors
    /// `Io` when the address is in use or cannot be had.
    pub async fn bind(endpoint: &Endpoint, exports: Exports) -> Result<Self> {
        let listener = Listener::bind(endpoint).await;
        let listener = listener.map_err(|error| Error::from_io(format!("listening on {endpoint}"), error))?;
        Ok(Self { listener, offer: Offer { exports, tls: None } })
    }

    /// The same server, which lets nobody in without TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.offer.tls = Some(tls);
        self
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// `Io` when the operating system does not tell.
    pub fn endpoint(&self) -> Result<Endpoint> {
        match &self.listener {
            Listener::Unix { path, .. } => Ok(Endpoint::Unix(path.clone())),
            Listener::Tcp(listener) => listener
                .local_addr()
                .map(Endpoint::Tcp)
                .map_err(|error| Error::from_io("the address that the NBD server listens on", error)),
        }
    }

    /// Serves until the future is dropped, which cuts all connections. It serves 128 connections at once and two more for
    /// each export, as long as that leaves half of the files that this process may open to others.
    pub async fn run(&self) {
        let mut connections = JoinSet::new();
        let mut changes = self.offer.exports.changes();
        loop {
            self.make_room(&mut connections, &mut changes).await;
            match self.listener.accept().await {
                Ok(stream) => {
                    let offer = self.offer.clone();
                    connections.spawn(async move { offer.serve(stream).await });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Waits until one connection more may be served.
    async fn make_room(&self, connections: &mut JoinSet<()>, changes: &mut watch::Receiver<()>) {
        while connections.try_join_next().is_some() {}
        while connections.len() >= connections_max(self.offer.exports.len()) {
            tokio::select! {
                _ = connections.join_next() => {}
                // What is offered more brings places with it. The sender lives as long as the exports.
                _ = changes.changed() => {}
            }
        }
    }
}

/// How many connections are served at once.
fn connections_max(exports: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let bound = files.map_or(usize::MAX, |files| files / 2);
    CONNECTIONS_MIN.saturating_add(exports.saturating_mul(CONNECTIONS_PER_EXPORT)).min(bound).max(1)
}

impl Offer {
    /// Serves one connection to its end, whoever ends it.
    async fn serve(&self, stream: Box<dyn Stream>) {
        if let Ok(Ok(Some((stream, session)))) = timeout(NEGOTIATION_TIMEOUT, self.negotiate(stream)).await {
            transmission::run(stream, session).await;
        }
    }

    /// The connection as it goes on, and what was agreed on; none when the client left.
    async fn negotiate(&self, mut stream: Box<dyn Stream>) -> io::Result<Option<(Box<dyn Stream>, Session)>> {
        let flags = negotiation::greet(&mut stream).await?;
        let mut outcome =
            negotiation::negotiate(&mut stream, Negotiation::new(&self.exports, flags, self.tls.is_some()))
                .await?;
        if let (Outcome::Secure, Some(tls)) = (&outcome, &self.tls) {
            stream = tls.accept(stream).await?;
            outcome =
                negotiation::negotiate(&mut stream, Negotiation::new(&self.exports, flags, false)).await?;
        }
        Ok(match outcome {
            Outcome::Begin(session) => Some((stream, session)),
            Outcome::Leave | Outcome::Secure => None,
        })
    }
}

#[derive(Debug)]
enum Listener {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl Listener {
    async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Endpoint::Unix(path) => {
                if is_abandoned_socket(path).await {
                    fs::remove_file(path)?;
                }
                let socket = UnixSocket::new_stream()?;
                socket.bind(path)?;
                // Nobody can connect before it listens.
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                Ok(Self::Unix { listener: socket.listen(BACKLOG)?, path: path.clone() })
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // One that is gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether there is a socket that nobody listens on. Any other file is somebody's.
async fn is_abandoned_socket(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The error of an image as the protocol numbers it.
fn error_code(error: &Error) -> ErrorCode {
    match error.kind() {
        ErrorKind::OutOfBounds => ErrorCode::INVALID,
        ErrorKind::NoSpace => ErrorCode::NO_SPACE,
        _ => ErrorCode::IO,
    }
}

#[cfg(test)]
mod tests;
