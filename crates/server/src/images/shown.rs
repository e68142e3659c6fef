//! An image shown over NBD, on a socket of its own.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use api::{NbdExportView, NbdRequest, NbdView};
use model::ByteCount;
use nbd::{Endpoint, Exports, Server, Tls};

use super::Source;
use crate::{
    directory::check_socket_path,
    failure::{Failure, Result},
    site::Site,
};

/// The files that a directory for TLS holds, by the names that QEMU and nbdkit know them by.
const CERTIFICATE_FILE: &str = "server-cert.pem";
const KEY_FILE: &str = "server-key.pem";
const AUTHORITY_FILE: &str = "ca-cert.pem";

/// The disks of an image, which clients can connect to. They are served by [`ShownOverNbd::serve`]; when it is dropped, its
/// socket is removed.
pub(crate) struct ShownOverNbd {
    server: Server,
    view: NbdView,
}

impl ShownOverNbd {
    /// Opens the image and listens.
    pub(crate) async fn begin(site: &Site, request: &NbdRequest) -> Result<Self> {
        let endpoint = endpoint(site, request).await?;
        let tls = request.tls_certificates.as_deref().map(tls_from).transpose()?;
        check_reach(&endpoint, tls.is_some())?;
        let source = Source::resolve(site, &request.reference, request.from_copy.as_deref()).await?;
        let exports = Exports::new();
        let mut disks = Vec::new();
        for open in source.open(site).await? {
            disks.push((open.disk.to_string(), ByteCount(open.image.size_bytes())));
            exports.add(open.disk.to_string(), open.image);
        }
        let mut server = Server::bind(&endpoint, exports).await.map_err(|error| in_use(&endpoint, error))?;
        let is_secure = tls.is_some();
        if let Some(tls) = tls {
            server = server.with_tls(tls);
        }
        let endpoint = server.endpoint()?;
        let export = |(name, size_bytes): (String, _)| NbdExportView {
            uri: endpoint.uri(&name, is_secure),
            name,
            size_bytes,
        };
        let exports = disks.into_iter().map(export).collect();
        let (socket, listen) = match &endpoint {
            Endpoint::Unix(path) => (Some(path.display().to_string()), None),
            Endpoint::Tcp(address) => (None, Some(address.to_string())),
        };
        tracing::info!(reference = source.pinned(), %endpoint, "an image is shown over NBD");
        Ok(Self {
            server,
            view: NbdView { reference: source.pinned(), socket, listen, tls: is_secure, exports },
        })
    }

    /// What is shown, and where.
    pub(crate) fn view(&self) -> &NbdView {
        &self.view
    }

    /// Answers clients until the future is dropped.
    pub(crate) async fn serve(&self) {
        self.server.run().await;
    }
}

/// Where to listen.
async fn endpoint(site: &Site, request: &NbdRequest) -> Result<Endpoint> {
    match (&request.socket, &request.listen) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid("an image is shown on a unix socket or on a TCP port, not on both"))
        }
        (None, Some(listen)) => Ok(Endpoint::Tcp(resolve(listen).await?)),
        (Some(socket), None) if !Path::new(socket).is_absolute() => {
            Err(Failure::invalid(format!("{socket} is not an absolute path")))
        }
        (socket, None) => {
            let random: [u8; 4] = env::random(&*site.env.entropy);
            let own = || site.directory.nbd_socket(u32::from_be_bytes(random));
            let path = socket.as_ref().map_or_else(own, PathBuf::from);
            check_socket_path(&path)?;
            Ok(Endpoint::Unix(path))
        }
    }
}

async fn resolve(listen: &str) -> Result<SocketAddr> {
    let unusable = |reason: String| {
        Failure::invalid(format!("{listen} is no address to listen on: {reason}"))
            .with_hint("write a host and a port, as in 127.0.0.1:10809")
    };
    let mut addresses = tokio::net::lookup_host(listen).await.map_err(|error| unusable(error.to_string()))?;
    addresses.next().ok_or_else(|| unusable("nobody knows the host".to_owned()))
}

/// Fails where others would read a disk unseen.
fn check_reach(endpoint: &Endpoint, is_secure: bool) -> Result<()> {
    match endpoint {
        Endpoint::Tcp(address) if !is_secure && !address.ip().is_loopback() => {
            Err(Failure::invalid(format!("everybody who reaches {address} could read the disks"))
                .with_hint("add certificates for TLS with --tls-certificates, or listen on 127.0.0.1"))
        }
        Endpoint::Unix(path) if is_secure => {
            Err(Failure::invalid(format!("the unix socket {} needs no TLS", path.display()))
                .with_hint("leave --tls-certificates out, or listen on a TCP port"))
        }
        _ => Ok(()),
    }
}

fn tls_from(directory: &str) -> Result<Tls> {
    let read = |name: &str| {
        let path = Path::new(directory).join(name);
        fs::read(&path).map_err(|error| {
            Failure::from_io(format!("reading {}", path.display()), &error).with_hint(format!(
                "put {CERTIFICATE_FILE}, {KEY_FILE} and the clients' {AUTHORITY_FILE} into {directory}"
            ))
        })
    };
    let (certificate, key, authority) = (read(CERTIFICATE_FILE)?, read(KEY_FILE)?, read(AUTHORITY_FILE)?);
    Tls::from_pem(&certificate, &key, Some(&authority))
        .map_err(|error| Failure::invalid(format!("the certificates in {directory}: {error}")))
}

fn in_use(endpoint: &Endpoint, error: image::Error) -> Failure {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match source.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => Failure::conflict(format!("{endpoint} is in use"))
            .with_hint("name another place, or leave it out for one that is free"),
        _ => error.into(),
    }
}
