//! Disks that go from one site to another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use env::Env;
use image::{ByteRange, FaultyImage, FixedChanges, MemoryImage};
use model::{SiteId, TransferId};
use peer::{
    ErrorKind, Patience, PeerClient,
    reception::MemoryReception,
    send::{Bandwidth, SendOptions, SendProgress, Shipment, ShippedBase, ShippedDisk, send},
};
use server::PeerConfig;

use super::{call_as, caller, named, pair, site};
use crate::site::{TestSite, pattern};

/// A site that takes disks, and what it has taken.
async fn receiver() -> (TestSite, Arc<MemoryReception>) {
    let reception = Arc::<MemoryReception>::default();
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let config = PeerConfig { listen, reception: Some(reception.clone()), ..named("east") };
    (TestSite::start_with(Arc::default(), config).await, reception)
}

fn disk(name: &str, bytes: Vec<u8>) -> ShippedDisk {
    ShippedDisk {
        name: name.parse().unwrap(),
        image: Arc::new(MemoryImage::new(bytes)),
        image_name: format!("{name}-1"),
        base: None,
    }
}

fn shipment(number: u8, disks: Vec<ShippedDisk>) -> Shipment {
    Shipment {
        id: TransferId::from_random([number; 10]),
        kind: "snapshot".to_owned(),
        name: format!("before-{number}"),
        metadata: serde_json::json!({"vm": "db"}),
        disks,
    }
}

/// Sends; how many bytes that took.
async fn ship(peer: &PeerClient, shipment: &Shipment) -> Result<u64, peer::Error> {
    let progress = Arc::<SendProgress>::default();
    let options =
        SendOptions { bandwidth: Bandwidth::unlimited(), progress: progress.clone(), env: Env::system() };
    let name = send(peer, shipment, &options).await?;
    assert_eq!(name, shipment.name);
    assert_eq!(progress.done_bytes.load(Ordering::Relaxed), progress.total_bytes.load(Ordering::Relaxed));
    Ok(progress.sent_bytes.load(Ordering::Relaxed))
}

async fn id(site: &TestSite) -> SiteId {
    site.client.site().await.unwrap().id
}

#[tokio::test]
async fn disks_arrive_whole_and_then_only_what_has_changed() {
    let ((east, reception), west) = (receiver().await, caller("west").await);
    pair(&east, &west).await;
    let (peer, from) = (call_as(&west, &east).await, id(&west).await);
    let (root, data) = (pattern(1), pattern(2));
    let first = shipment(1, vec![disk("root", root.clone()), disk("data", data.clone())]);
    let sent_bytes = ship(&peer, &first).await.unwrap();
    let all_bytes = (root.len() + data.len()) as u64;
    assert!(sent_bytes < all_bytes * 6 / 10, "{sent_bytes} of {all_bytes}: half of it is a hole");
    let taken = reception.taken(from, first.id).unwrap();
    assert!(taken.disks == [root.clone(), data.clone()]);
    assert_eq!(taken.offer.metadata, first.metadata);
    ship(&peer, &first).await.unwrap();

    let mut changed = root.clone();
    changed[5000..6000].fill(0);
    changed[8 << 20..(8 << 20) + 100].fill(3);
    let changes = FixedChanges::new(vec![ByteRange::new(5000, 1000), ByteRange::new(8 << 20, 100)]);
    let mut second = disk("root", changed.clone());
    second.image_name = "root-2".to_owned();
    second.base = Some(ShippedBase { image_name: "root-1".to_owned(), changes: Arc::new(changes) });
    let second = shipment(2, vec![second]);
    let sent_bytes = ship(&peer, &second).await.unwrap();
    assert!(sent_bytes < 16 << 10, "{sent_bytes} bytes for two small changes");
    assert!(reception.taken(from, second.id).unwrap().disks == [changed.clone()]);

    // Without the base there, the same goes whole.
    reception.clear();
    let mut third = second;
    third.id = TransferId::from_random([3; 10]);
    assert!(ship(&peer, &third).await.unwrap() > 4 << 20);
    assert!(reception.taken(from, third.id).unwrap().disks == [changed]);
}

#[tokio::test]
async fn sending_goes_on_where_it_stopped_when_either_side_has_died() {
    let ((mut east, reception), west) = (receiver().await, caller("west").await);
    pair(&east, &west).await;
    let (peer, from) = (call_as(&west, &east).await, id(&west).await);
    let bytes = {
        let mut bytes = pattern(3);
        bytes.extend(pattern(4));
        bytes
    };
    let whole = shipment(1, vec![disk("root", bytes.clone())]);
    let mut broken = shipment(1, vec![disk("root", bytes.clone())]);
    let faulty = FaultyImage::after_reads(MemoryImage::new(bytes.clone()), 2, image::ErrorKind::Io);
    broken.disks[0].image = Arc::new(faulty);
    assert!(ship(&peer, &broken).await.is_err());
    // Whatever of the first two regions has arrived is durable once it was asked for.
    peer.missing_regions(whole.id, 0, 0).await.unwrap();

    east.peers.listen = Some(east.client.site().await.unwrap().peer_address.unwrap().parse().unwrap());
    let (clock, config) = (east.clock.clone(), east.peers.clone());
    let left = east.stop().await;
    let patience = Patience { total: Duration::from_secs(120), ..Patience::default() };
    let patient = peer.clone().with_patience(patience);
    let sending = tokio::spawn(async move { ship(&patient, &whole).await });
    tokio::task::yield_now().await;
    let _east = TestSite::start_again(left, clock, config).await;
    sending.await.unwrap().unwrap();
    assert!(reception.taken(from, TransferId::from_random([1; 10])).unwrap().disks == [bytes]);
}

#[tokio::test]
async fn a_site_refuses_what_it_does_not_know_and_one_that_is_no_peer_sends_nothing() {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    let small = shipment(1, vec![disk("root", vec![1; 4096])]);
    let refused = ship(&call_as(&west, &east).await, &small).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let mut unknown = shipment(2, vec![disk("root", vec![1; 4096])]);
    unknown.kind = "tape".to_owned();
    let refused = ship(&call_as(&west, &east).await, &unknown).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let ((east, _), stranger) = (receiver().await, caller("third").await);
    let refused = ship(&call_as(&stranger, &east).await, &small).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn what_a_removed_peer_has_begun_to_send_goes_with_it() {
    let ((east, _), west) = (receiver().await, caller("west").await);
    pair(&east, &west).await;
    let peer = call_as(&west, &east).await;
    let mut broken = shipment(1, vec![disk("root", pattern(5))]);
    broken.disks[0].image =
        Arc::new(FaultyImage::after_reads(MemoryImage::new(pattern(5)), 1, image::ErrorKind::Io));
    assert!(ship(&peer, &broken).await.is_err());
    let transfers = || std::fs::read_dir(east.path("transfers")).unwrap().count();
    assert_eq!(transfers(), 1);
    east.client.remove_peer("west").await.unwrap();
    assert_eq!(transfers(), 0);
    assert_eq!(ship(&peer, &broken).await.unwrap_err().kind(), ErrorKind::Denied);
}
