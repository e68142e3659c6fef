//! Where an NBD server listens.

use std::{fmt, io, net::SocketAddr, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

use image::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::client::negotiation;

/// How long a server may take from the connection to the end of the negotiation.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an NBD server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "nbd+unix:{}", path.display()),
            Self::Tcp(address) => write!(formatter, "nbd://{address}"),
        }
    }
}

impl Endpoint {
    /// The address of an export as NBD's tools take it.
    #[must_use]
    pub fn uri(&self, export: &str, tls: bool) -> String {
        let (scheme, export) = (if tls { "nbds" } else { "nbd" }, encoded(export.as_bytes()));
        match self {
            Self::Unix(path) => {
                let socket = encoded(path.as_os_str().as_bytes()).replace("%2F", "/");
                format!("{scheme}+unix:///{export}?socket={socket}")
            }
            Self::Tcp(address) => format!("{scheme}://{address}/{export}"),
        }
    }
}

/// Text within a URI: everything but RFC 3986's unreserved characters is percent-encoded.
fn encoded(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |&byte: &u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

/// The names of a server's exports.
///
/// # Errors
/// As [`crate::NbdImage::connect`].
pub async fn list(endpoint: &Endpoint) -> Result<Vec<String>> {
    endpoint.in_time(async { negotiation::list(&mut endpoint.open().await?).await }).await
}

/// A connection before it is split in two.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Endpoint {
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>> {
        let opened: io::Result<Box<dyn Stream>> = match self {
            Self::Unix(path) => {
                UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>)
            }
            Self::Tcp(address) => TcpStream::connect(address).await.and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }),
        };
        opened.map_err(|error| Error::from_io(format!("connecting to {self}"), error))
    }

    /// Bounds a negotiation with this server.
    pub(crate) async fn in_time<T>(&self, negotiation: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(NEGOTIATION_TIMEOUT, negotiation).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Io,
                format!("{self} did not finish the negotiation in {NEGOTIATION_TIMEOUT:?}"),
            ))
        })
    }
}
