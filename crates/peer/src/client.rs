//! Calling a peer.

mod connection;
mod pair;
mod patience;
mod plans;
mod replicas;
mod runbooks;
mod sources;
mod transfers;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, client::conn::http1::SendRequest};
use model::{PeerAddress, SiteId};
use serde::{Serialize, de::DeserializeOwned};

use self::connection::{Answer, connect, exchange};
pub use self::patience::Patience;
use crate::{Authority, Error, ErrorKind, PROTOCOL, Result, SiteIdentity, Statement, server_name, tls};

/// Connections that are kept for the next call.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// How long a call may take once it has been sent, unless it says otherwise.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A client of one peer. Connects when it is first used, and anew whenever that is needed; whoever answers must be the peer.
///
/// Each call may be made again: what it asks for is done once, however often it is asked for. So a call that breaks off is
/// repeated, as far as [`Patience`] goes.
#[derive(Clone)]
pub struct PeerClient {
    inner: Arc<Inner>,
    patience: Patience,
}

struct Inner {
    peer: SiteId,
    address: PeerAddress,
    authority: Authority,
    identity: Arc<SiteIdentity>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl PeerClient {
    /// A client of the site with this id and authority, at this address, in the name of `identity`.
    #[must_use]
    pub fn new(
        identity: Arc<SiteIdentity>,
        peer: SiteId,
        address: PeerAddress,
        authority: Authority,
    ) -> Self {
        let inner = Inner { peer, address, authority, identity, idle: Mutex::default() };
        Self { inner: Arc::new(inner), patience: Patience::default() }
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// What the peer says of itself.
    pub async fn site(&self) -> Result<Statement> {
        self.checked(self.get("/peer/v1/site").await?)
    }

    /// Tells the peer how this site stands, and learns the same of it.
    pub async fn hello(&self, own: &Statement) -> Result<Statement> {
        self.checked(self.post("/peer/v1/hello", own).await?)
    }

    /// Tells the peer that this site has ended the pairing.
    pub async fn end_pairing(&self) -> Result<()> {
        self.call(Method::DELETE, "/peer/v1/pairing", Bytes::new()).await?.json()
    }

    fn checked(&self, statement: Statement) -> Result<Statement> {
        check_protocols(&statement)?;
        if statement.id != self.inner.peer {
            let detail = format!("the site at {} says that it is another one", self.inner.address);
            return Err(Error::new(ErrorKind::Untrusted, detail));
        }
        Ok(statement)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, Bytes::new()).await?.json()
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?;
        self.call(Method::POST, path, body.into()).await?.json()
    }

    /// Sends a request until an answer comes, as often as the patience allows.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let mut waits = self.patience.waits();
        loop {
            let failed = match self.attempt(&method, path, body.clone()).await {
                Err(error) if error.is_retryable() => error,
                other => return other,
            };
            let Some(wait) = waits.next() else { return Err(failed) };
            tracing::debug!(peer = %self.inner.peer, error = %failed, ?wait, "a call is made again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, method: &Method, path: &str, body: Bytes) -> Result<Answer> {
        let kept = self.inner.idle().pop();
        if let Some(mut sender) = kept.filter(SendRequest::is_ready) {
            // The other side may have closed it a moment ago; only then a new connection does better.
            match exchange(&mut sender, method, path, body.clone(), CALL_LIMIT).await {
                Err(error) if error.kind() == ErrorKind::Unreachable => {}
                answer => return self.keep(sender, answer),
            }
        }
        let inner = &self.inner;
        let env = inner.identity.env();
        let config = tls::client_config(&inner.authority, &inner.identity.credentials(), env)?;
        let (mut sender, _) = connect(&inner.address, &server_name(inner.peer), config).await?;
        let answer = exchange(&mut sender, method, path, body, CALL_LIMIT).await;
        self.keep(sender, answer)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>, answer: Result<Answer>) -> Result<Answer> {
        let mut idle = self.inner.idle();
        if answer.is_ok() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(sender);
        }
        answer
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PeerClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PeerClient")
            .field("peer", &self.inner.peer)
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

/// Refuses a site that speaks no version of the peer API that this one speaks.
fn check_protocols(statement: &Statement) -> Result<()> {
    if statement.protocols.contains(&PROTOCOL) {
        return Ok(());
    }
    let Statement { name, version, protocols, .. } = statement;
    let detail = format!(
        "{name} runs Holdfast {version} and speaks versions {protocols:?} of the peer API; this site runs {} and speaks {PROTOCOL}",
        env!("CARGO_PKG_VERSION")
    );
    Err(Error::new(ErrorKind::Version, detail).with_guidance("bring the older of the two up to date"))
}
