//! How many connections there may be. Who is not known yet gets little, so that strangers cannot keep peers out for long.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::SiteId;

/// Connections of whoever has not shown who they are.
const STRANGERS_MAX: usize = 64;

/// Those of them that come from one address.
const STRANGERS_OF_ADDRESS_MAX: usize = 16;

/// Connections of one peer.
const OF_PEER_MAX: usize = 16;

/// Who has how many connections.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<BTreeMap<Guest, usize>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guest {
    Stranger(IpAddr),
    Peer(SiteId),
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    guest: Guest,
}

impl Room {
    /// A place for a connection from this address, as long as there is room.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut guests = self.guests();
        let strangers: usize = guests
            .iter()
            .filter_map(|(guest, count)| matches!(guest, Guest::Stranger(_)).then_some(count))
            .sum();
        let guest = Guest::Stranger(address);
        let count = guests.get(&guest).copied().unwrap_or(0);
        if strangers >= STRANGERS_MAX || count >= STRANGERS_OF_ADDRESS_MAX {
            return None;
        }
        guests.insert(guest, count + 1);
        Some(Place { room: Arc::clone(self), guest })
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<Guest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes a stranger's place that of a peer, as long as the peer has room.
    pub(super) fn of_peer(self, peer: SiteId) -> Option<Self> {
        let (room, guest) = (Arc::clone(&self.room), Guest::Peer(peer));
        let mut guests = room.guests();
        let count = guests.get(&guest).copied().unwrap_or(0);
        if count >= OF_PEER_MAX {
            return None;
        }
        guests.insert(guest, count + 1);
        drop(guests);
        Some(Self { room, guest })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.room.guests();
        if let Some(count) = guests.get_mut(&self.guest) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.guest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
