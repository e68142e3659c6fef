//! What peers send may be anything.

use api::Code;
use journal::{Generation, Part, PartContent, Position, SegmentNumber};
use peer::{ErrorKind, replicas::ReplicaOffer};

use super::{Source, read, sites};
use crate::{
    site::code,
    sites::{call_as, caller, pair},
};

#[tokio::test]
async fn what_is_not_what_the_source_wrote_is_refused_and_what_came_before_is_kept() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    let progress = peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.journal.flush().unwrap();
    web.write(1, 2);
    let last = web.journal.flush().unwrap();
    let good = web.journal.parts(progress.wanted, u64::MAX).unwrap();
    let mut bad = good.clone();
    let PartContent::Block(block) = &bad.last().unwrap().content else { panic!("{bad:?}") };
    let mut block = block.to_vec();
    *block.last_mut().unwrap() ^= 1;
    bad.last_mut().unwrap().content = PartContent::Block(block.into());
    assert_eq!(peer.send_parts(web.id, &bad).await.unwrap_err().kind(), ErrorKind::Damaged);
    let kept = peer.replica_progress(web.id).await.unwrap();
    assert_eq!(kept.wanted, good.last().unwrap().position, "all but the last part");

    // A gap is told by what is wanted; nothing behind it is taken.
    let beyond = Position { segment: SegmentNumber(9), offset_bytes: 0 };
    let gap = vec![Part { position: beyond, ..good[0].clone() }];
    assert_eq!(peer.send_parts(web.id, &gap).await.unwrap().wanted, kept.wanted);
    let all = peer.send_parts(web.id, &good).await.unwrap();
    assert_eq!(all.durable_through, last, "what comes twice is passed over");
    assert!(read(&east, "replica:web").await == web.bytes);
}

#[tokio::test]
async fn a_journal_is_its_own_sites_alone() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    let mallory = caller("mallory").await;
    pair(&east, &mallory).await;
    let other = call_as(&mallory, &east).await;
    assert_eq!(other.offer_replica(web.id, &web.offer()).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(other.replica_progress(web.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(other.send_parts(web.id, &[]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(other.end_replica(web.id, true).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(read(&east, "replica:web").await == web.bytes);
    // The parts of another journal are not this one's.
    let strange = Source::new(2, "strange");
    peer.offer_replica(
        strange.id,
        &ReplicaOffer { vm_id: model::VmId::from_random([3; 10]), ..strange.offer() },
    )
    .await
    .unwrap();
    let parts = web.journal.parts(web.journal.start(), u64::MAX).unwrap();
    let _ = peer.send_parts(strange.id, &parts).await;
    let east = super::restart(east).await;
    assert!(read(&east, "replica:web").await == web.bytes);
}

#[tokio::test]
async fn offers_that_nobody_takes_are_refused() {
    let (east, _west, peer) = sites().await;
    let web = Source::new(1, "web");
    let good = web.offer();
    let mut many = good.clone();
    many.definition.disks = vec![many.definition.disks[0].clone(); 65];
    let mut long = good.clone();
    long.definition.machine = "q".repeat(70_000);
    for offer in [
        ReplicaOffer { retention_seconds: Some(0), ..good.clone() },
        ReplicaOffer { retention_seconds: Some(u64::MAX), ..good.clone() },
        ReplicaOffer { start: SegmentNumber(0), ..good.clone() },
        many,
        long,
    ] {
        assert_eq!(peer.offer_replica(web.id, &offer).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(east.client.replicas().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(east.path("replicas")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_older_generation_is_fenced() {
    let (_east, _west, peer) = sites().await;
    let web = Source::of_generation(1, "web", 2);
    let newer = ReplicaOffer { generation: Generation(2), ..web.offer() };
    peer.offer_replica(web.id, &newer).await.unwrap();
    web.ship(&peer).await.unwrap();
    assert_eq!(peer.offer_replica(web.id, &web.offer()).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_definition_names_nothing_of_this_host() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    web.write(0, 1);
    let secret = east.path("secret");
    std::fs::write(&secret, b"of this site").unwrap();
    let mut kernel = web.offer();
    kernel.definition.firmware =
        model::Firmware::Kernel { kernel: secret, initrd: None, arguments: String::new() };
    let mut words = web.offer();
    words.definition.machine = "q35,dumpdtb=/tmp/x".to_owned();
    for (offer, expected) in [(kernel, Code::Denied), (words, Code::Conflict)] {
        peer.offer_replica(web.id, &offer).await.unwrap();
        web.ship(&peer).await.unwrap();
        let request = api::TestFailover { point: "latest".to_owned(), name: None, bridge: None };
        assert_eq!(code(east.client.test_failover("web", &request).await), expected);
    }
}
