//! What strangers get at the listener for peers, and what it costs.

use std::{sync::Arc, time::Duration};

use peer::ErrorKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName, version::TLS13},
};

use super::{call_as, caller, identity, pair, site};
use crate::site::TestSite;

/// Longer than the server puts up with strangers.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(site: &TestSite) -> TcpStream {
    let address = site.client.site().await.unwrap().peer_address.unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// A TLS session without a certificate.
async fn session(site: &TestSite) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(identity(site).authority().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(peer::server_name(identity(site).id())).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, connect(site).await).await.unwrap()
}

/// Sends bytes; all that comes back until the server closes.
async fn answer(site: &TestSite, request: &[u8]) -> String {
    let mut stream = session(site).await;
    // The server may refuse before it has read all.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    drop(read.expect("the server closes in time"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_stranger_gets_at_nothing() {
    let site = site("east").await;
    for path in ["/peer/v1/site", "/v1/vms", "/v1/site", "/v1/openapi.json", "/", "/peer/v2/site"] {
        let answer = answer(&site, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        assert!(answer.contains("shows no certificate"), "{path}: {answer}");
    }
    let pairing = "POST /peer/v1/pair HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    assert!(answer(&site, pairing.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    // An answer to somebody who speaks no TLS is no HTTP.
    let mut plain = connect(&site).await;
    plain.write_all(b"GET /v1/vms HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard).await;
    assert!(!heard.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_peer_of_somebody_else_is_a_stranger() {
    let (east, west, third) = (site("east").await, caller("west").await, site("third").await);
    pair(&east, &west).await;
    pair(&third, &west).await;
    let refused = call_as(&third, &east).await.site().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("not paired"), "{refused}");
    assert!(call_as(&west, &east).await.site().await.is_ok());
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let site = site("east").await;
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let refused = answer(&site, header.as_bytes()).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let refused = answer(&site, many.as_bytes()).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let body = "x".repeat(1 << 20);
    let long = format!(
        "POST /peer/v1/pair HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let refused = answer(&site, long.as_bytes()).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    assert!(site.client.site().await.is_ok());
}

#[tokio::test]
async fn who_says_nothing_is_cut_off_and_one_address_does_not_take_all() {
    let (east, west) = (site("east").await, caller("west").await);
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(connect(&east).await);
    }
    // No more come in from there: the next is closed at once.
    let mut next = connect(&east).await;
    assert_eq!(next.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let mut closed = [0; 1];
    let cut = tokio::time::timeout(PATIENCE, silent[0].read(&mut closed)).await;
    assert_eq!(cut.expect("the server closes in time").unwrap_or(0), 0);
    drop(silent);
    // There is room again, and none for one whose request never ends.
    loop {
        let token = super::token(&east).await;
        if west.client.pair_site(&super::with(&token)).await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&east, b"GET / HTTP/1.1\r\nhost: ").await, "");
}
