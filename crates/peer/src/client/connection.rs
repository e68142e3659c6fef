//! One connection to a site, and one exchange over it.

use std::{sync::Arc, time::Duration};

use api::Problem;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use model::PeerAddress;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, CertificateError, ClientConfig, pki_types::ServerName},
};

use crate::{Error, ErrorKind, Result};

/// How long it may take until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is taken from a peer, in bytes.
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

/// What binds a proof to one TLS session (RFC 9266).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A peer's answer.
pub(crate) struct Answer(Bytes);

impl Answer {
    /// The answer as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        // An empty answer is the unit type's JSON.
        let bytes = if self.0.is_empty() { b"null" } else { &self.0[..] };
        serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid("the peer's answer makes no sense").with_source(error))
    }
}

/// Connects, and makes sure that whoever answers is the site of that name. Returns what only the two ends of the session know.
pub(super) async fn connect(
    address: &PeerAddress,
    name: &str,
    config: ClientConfig,
) -> Result<(SendRequest<Full<Bytes>>, [u8; 32])> {
    let stands = timeout(CONNECT_LIMIT, handshake(address, name, config)).await;
    let stream = stands.map_err(|_| unreachable(address, "it did not answer within 10 s"))??;
    let mut session = [0; 32];
    stream
        .get_ref()
        .1
        .export_keying_material(&mut session, EXPORTER_LABEL, None)
        .map_err(|error| Error::new(ErrorKind::Failed, "deriving from a TLS session").with_source(error))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broke_off(&error))?;
    tokio::spawn(connection);
    Ok((sender, session))
}

async fn handshake(address: &PeerAddress, name: &str, config: ClientConfig) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address.as_str()).await.map_err(|error| unreachable(address, error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(address, error))?;
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| Error::invalid("the site's id is no name").with_source(error))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| refused(address, error))
}

/// Sends a request and takes the answer. An answer of 400 and above becomes the problem in it.
pub(super) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "peer")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?;
    let exchanged = timeout(limit, async {
        let response = sender.send_request(request).await.map_err(|error| broke_off(&error))?;
        let status = response.status();
        let collected = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect().await;
        let body = collected.map_err(|error| {
            Error::new(ErrorKind::Unreachable, "the peer's answer broke off, or is too long")
                .with_source(error)
        })?;
        Ok::<_, Error>((status, body.to_bytes()))
    });
    let timed_out =
        |_| Error::new(ErrorKind::Unreachable, format!("the peer did not answer within {limit:?}"));
    let (status, body) = exchanged.await.map_err(timed_out)??;
    if status.is_success() { Ok(Answer(body)) } else { Err(problem(status, &body)) }
}

fn problem(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Error::from_problem(problem),
        Err(_) => Error::invalid(format!("the peer answers {status}, and not as a site of Holdfast does")),
    }
}

fn unreachable(address: &PeerAddress, why: impl ToString) -> Error {
    Error::new(ErrorKind::Unreachable, format!("no site answers at {address}: {}", why.to_string()))
}

fn broke_off(error: &hyper::Error) -> Error {
    Error::new(ErrorKind::Unreachable, format!("the connection broke off: {error}"))
}

/// A handshake that failed: because of who answered, or because of the connection.
fn refused(address: &PeerAddress, error: std::io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let untrusted = |why: &str, guidance: &str| {
        Error::new(ErrorKind::Untrusted, format!("{why} ({address})")).with_guidance(guidance)
    };
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => untrusted(
            "the certificate of the site that answers is not valid by this site's clock",
            "compare the clocks of both sites",
        ),
        Some(rustls::Error::InvalidCertificate(_)) => untrusted(
            "another site answers than the one that was expected",
            "if the address is right, somebody may be in between; if the other site was set up anew, pair it anew",
        ),
        Some(other) => {
            Error::new(ErrorKind::Unreachable, format!("what answers at {address} is no site: {other}"))
        }
        None => unreachable(address, error),
    }
}
