//! The sites that this one is paired with.
//!
//! Nothing here waits for a peer. Every minute the site tells each peer that it can call how it stands, and keeps what it learns;
//! whoever asks how the peers are gets what was learnt last. A peer without an address calls this site, and hears what there is
//! to hear in the answers.

mod caller;
mod known;
mod listener;
mod networks;
mod pairing;
mod replicas;
mod room;
mod routes;
mod sources;
mod transfers;
mod view;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::KnownPeer;
use model::{PeerAddress, SiteId, SiteName};
use peer::{Authority, Patience, PeerClient, SiteIdentity, Statement, receive::Receiver};
use tokio::{net::TcpListener, sync::Notify};

pub(crate) use self::{
    known::{find, remove},
    networks::map_networks,
    pairing::{make_token, pair},
    view::{check, list, view},
    watch::{look_at, watch},
};
use crate::{
    failure::{Failure, Result},
    site::{PeerConfig, Site},
};

/// What a site has to do with its peers.
pub(crate) struct Peers {
    identity: Arc<SiteIdentity>,
    name: SiteName,
    look_interval: Duration,
    /// Where it really listens, and where peers are told that it does.
    listening: Option<PeerAddress>,
    address: Option<PeerAddress>,
    /// What takes disks from peers.
    receiver: Receiver,
    /// Until the server takes it.
    listener: Mutex<Option<TcpListener>>,
    /// How the last call of each peer went.
    reach: Mutex<BTreeMap<SiteId, std::result::Result<(), String>>>,
    /// Told when peers are to be looked at now.
    changed: Notify,
}

impl Peers {
    /// Takes the site's identity, and begins to listen where that is wanted; nobody is answered yet.
    pub(crate) async fn open(identity: SiteIdentity, config: PeerConfig, receiver: Receiver) -> Result<Self> {
        let name = config.site_name.map_or_else(name_default, Ok)?;
        let (mut listener, mut listening, mut address) = (None, None, None);
        if let Some(wanted) = &config.listen {
            let bound = TcpListener::bind(wanted.as_str()).await.map_err(|error| {
                Failure::from_io(format!("listening for peers on {wanted}"), &error)
                    .with_hint("choose another --peer-listen")
            })?;
            let local = bound
                .local_addr()
                .map_err(|error| Failure::from_io(format!("listening for peers on {wanted}"), &error))?;
            address = Some(match config.address {
                Some(address) => address,
                None if local.ip().is_unspecified() => of_this_host(local.port()),
                None => local.into(),
            });
            (listener, listening) = (Some(bound), Some(local.into()));
        }
        Ok(Self {
            identity: Arc::new(identity),
            name,
            look_interval: config.look_interval,
            listening,
            address,
            receiver,
            listener: Mutex::new(listener),
            reach: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(crate) fn identity(&self) -> &SiteIdentity {
        &self.identity
    }

    pub(crate) fn name(&self) -> &SiteName {
        &self.name
    }

    /// Where the site listens for peers.
    pub(crate) fn listening(&self) -> Option<&PeerAddress> {
        self.listening.as_ref()
    }

    /// Where peers are told to call.
    pub(crate) fn address(&self) -> Option<&PeerAddress> {
        self.address.as_ref()
    }

    /// What takes disks from peers.
    fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// What this site says of itself to a peer, or to somebody who is none yet.
    fn statement(&self, site: &Site, to: Option<SiteId>) -> Statement {
        Statement {
            id: self.identity.id(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocols: vec![peer::PROTOCOL],
            time: site.env.clock.now(),
            address: self.address.clone(),
            certificate_expires_at: self.identity.credentials().expires_at,
            reaches_you: to.and_then(|to| Some(self.reach().get(&to)?.is_ok())),
        }
    }

    /// A client of a peer; none for one that only calls.
    pub(crate) fn client(&self, known: &KnownPeer, patience: Patience) -> Result<Option<PeerClient>> {
        let Some(address) = known.address.clone() else { return Ok(None) };
        let authority = authority(known)?;
        let client = PeerClient::new(Arc::clone(&self.identity), known.id, address, authority);
        Ok(Some(client.with_patience(patience)))
    }

    fn reach(&self) -> MutexGuard<'_, BTreeMap<SiteId, std::result::Result<(), String>>> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_listener(&self) -> Option<TcpListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Answers peers until the server stops.
pub(crate) async fn listen(site: Site) {
    if let Some(listener) = site.peers.take_listener() {
        listener::run(site, listener).await;
    }
}

/// The authority of a peer, as the catalog keeps it.
fn authority(known: &KnownPeer) -> Result<Authority> {
    let certificate = peer::hex::decode(&known.authority).unwrap_or_default();
    Authority::new(certificate)
        .map_err(|error| Failure::from(error).during(&format!("the authority of the site {}", known.name)))
}

/// The name of the host, as far as it can be a site's.
fn name_default() -> Result<SiteName> {
    let is_plain = |character: &char| character.is_alphanumeric() || "._-".contains(*character);
    let name: String = host_name().chars().filter(is_plain).collect();
    name.parse()
        .or_else(|_| "site".parse())
        .map_err(|error| Failure::invalid(format!("the site's name: {error}")))
}

fn of_this_host(port: u16) -> PeerAddress {
    let named = format!("{}:{port}", host_name()).parse();
    named.unwrap_or_else(|_| std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
