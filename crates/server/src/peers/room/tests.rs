use std::{net::IpAddr, sync::Arc};

use model::SiteId;

use super::{OF_PEER_MAX, Room, STRANGERS_MAX, STRANGERS_OF_ADDRESS_MAX};

fn address(last: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, last as u8])
}

#[test]
fn one_address_does_not_take_all_the_room_and_gives_it_back() {
    let room = Arc::new(Room::default());
    let mut places: Vec<_> = (0..STRANGERS_OF_ADDRESS_MAX).map(|_| room.admit(address(1)).unwrap()).collect();
    assert!(room.admit(address(1)).is_none());
    assert!(room.admit(address(2)).is_some(), "others still come in");
    places.pop();
    assert!(room.admit(address(1)).is_some());
}

#[test]
fn strangers_have_little_room_and_peers_their_own() {
    let room = Arc::new(Room::default());
    let peer = SiteId::from_random([1; 10]);
    let of_peer: Vec<_> =
        (0..OF_PEER_MAX).map(|_| room.admit(address(1)).unwrap().of_peer(peer).unwrap()).collect();
    assert!(room.admit(address(1)).unwrap().of_peer(peer).is_none(), "a peer has enough");
    let places: Vec<_> = (0..STRANGERS_MAX).map(|place| room.admit(address(place)).unwrap()).collect();
    assert!(room.admit(address(200)).is_none());
    drop((of_peer, places));
    assert!(room.admit(address(200)).is_some());
    assert!(room.0.lock().unwrap().is_empty(), "nothing is kept of who has gone");
}
