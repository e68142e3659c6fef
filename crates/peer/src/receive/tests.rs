use std::{path::Path, sync::Arc};

use env::Env;
use image::{ByteRange, DiskImage as _, MemoryImage};
use model::{SiteId, TransferId};
use serde_json::json;

use super::Receiver;
use crate::{
    Digest, DiskDigest, ErrorKind,
    reception::{MemoryReception, Reception, conformance},
    region::RegionChange,
    transfer::{Offer, OfferedDisk, REGION_SIZE_BYTES, Seal},
};

const REGION: usize = REGION_SIZE_BYTES as usize;

fn offer(size_bytes: usize, image: &str, base: Option<&str>) -> Offer {
    let name = "root".parse().unwrap();
    let disk =
        OfferedDisk { name, size_bytes: size_bytes as u64, image: image.into(), base: base.map(Into::into) };
    Offer { kind: "snapshot".into(), name: image.into(), metadata: json!({}), disks: vec![disk] }
}

fn sender() -> SiteId {
    SiteId::from_random([1; 10])
}

fn transfer(number: u8) -> TransferId {
    TransferId::from_random([number; 10])
}

fn open(directory: &Path, reception: &Arc<MemoryReception>) -> Receiver {
    Receiver::open(directory.to_owned(), reception.clone(), Env::system()).unwrap()
}

fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    env::Entropy::fill(&env::SeededEntropy::new(seed), &mut bytes);
    bytes
}

fn whole(region: &[u8]) -> (Vec<u8>, Digest) {
    let all = 0..region.len();
    let change = RegionChange::new(region, std::slice::from_ref(&all), true);
    (change.encode(), change.digest())
}

/// Sends the regions with these numbers; the digest over all regions.
async fn put(receiver: &Receiver, id: TransferId, disk: &[u8], numbers: &[u64]) -> Seal {
    let mut digest = DiskDigest::new(disk.len() as u64);
    for (number, region) in disk.chunks(REGION).enumerate() {
        let (body, of_region) = whole(region);
        if numbers.contains(&(number as u64)) {
            receiver.put(sender(), id, 0, number as u64, body.into()).await.unwrap();
        }
        digest.add(number as u64, of_region);
    }
    Seal { digests: vec![digest.finish()] }
}

#[tokio::test]
async fn the_memory_reception_keeps_its_contract() {
    conformance::check_reception(&MemoryReception::default(), &offer(512, "x", None)).await;
}

#[tokio::test]
async fn what_has_arrived_survives_a_restart_and_is_handed_over_once() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let disk = content(2 * REGION + 4096, 1);
    let receiver = open(directory.path(), &reception);
    let (id, offer) = (transfer(1), offer(disk.len(), "a", None));
    let begun = receiver.begin(sender(), id, offer.clone()).await.unwrap();
    assert_eq!((begun.has_base, begun.is_sealed), (vec![false], false));
    put(&receiver, id, &disk, &[1]).await;
    assert_eq!(receiver.missing(sender(), id, 0, 0).await.unwrap().runs, [(0, 1), (2, 1)]);

    let receiver = open(directory.path(), &reception);
    receiver.begin(sender(), id, offer.clone()).await.unwrap();
    assert_eq!(receiver.missing(sender(), id, 0, 1).await.unwrap().runs, [(2, 1)]);
    let seal = put(&receiver, id, &disk, &[0]).await;
    let early = receiver.seal(sender(), id, seal.clone()).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Damaged, "the last region has not arrived");
    put(&receiver, id, &disk, &[2]).await;
    let sealed = receiver.seal(sender(), id, seal.clone()).await.unwrap();
    assert_eq!(sealed.name.as_deref(), Some("a"));
    assert!(reception.taken(sender(), id).unwrap().disks[0] == disk);

    reception.clear();
    let receiver = open(directory.path(), &reception);
    assert_eq!(
        receiver.seal(sender(), id, seal).await.unwrap(),
        sealed,
        "it is remembered, and not done again"
    );
    assert!(reception.taken(sender(), id).is_none());
    assert!(receiver.begin(sender(), id, offer).await.unwrap().is_sealed);
    assert_eq!(std::fs::read_dir(directory.path().join(format!("{}-{id}", sender()))).unwrap().count(), 2);
}

#[tokio::test]
async fn changes_arrive_above_the_sender_s_own_base() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let receiver = open(directory.path(), &reception);
    let first = content(2 * REGION, 2);
    receiver.begin(sender(), transfer(1), offer(first.len(), "a", None)).await.unwrap();
    let seal = put(&receiver, transfer(1), &first, &[0, 1]).await;
    receiver.seal(sender(), transfer(1), seal).await.unwrap();

    let mut second = first.clone();
    second.extend(vec![0; 8192]);
    second[4096..8192].fill(9);
    let offered = offer(second.len(), "b", Some("a"));
    let stranger = receiver.begin(SiteId::from_random([9; 10]), transfer(2), offered.clone()).await.unwrap();
    assert_eq!(stranger.has_base, [false], "what one has sent is no other's base");
    let begun = receiver.begin(sender(), transfer(2), offered).await.unwrap();
    assert_eq!(begun.has_base, [true]);
    let change = RegionChange::new(&second[..REGION], std::slice::from_ref(&(4096..8192)), false);
    let body = change.encode();
    assert!(body.len() < 4096);
    receiver.put(sender(), transfer(2), 0, 0, body.into()).await.unwrap();
    let mut digest = DiskDigest::new(second.len() as u64);
    digest.add(0, change.digest());
    let seal = Seal { digests: vec![digest.finish()] };
    receiver.seal(sender(), transfer(2), seal).await.unwrap();
    assert!(reception.taken(sender(), transfer(2)).unwrap().disks[0] == second, "grown and changed");
}

#[tokio::test]
async fn a_base_that_was_deleted_meanwhile_is_told() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let receiver = open(directory.path(), &reception);
    let disk = content(REGION, 3);
    receiver.begin(sender(), transfer(1), offer(disk.len(), "a", None)).await.unwrap();
    let seal = put(&receiver, transfer(1), &disk, &[0]).await;
    receiver.seal(sender(), transfer(1), seal).await.unwrap();
    receiver.begin(sender(), transfer(2), offer(disk.len(), "b", Some("a"))).await.unwrap();
    reception.clear();
    let body = RegionChange::new(&disk, std::slice::from_ref(&(0..512)), false).encode();
    let gone = receiver.put(sender(), transfer(2), 0, 0, body.into()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Gone);
    receiver.abandon(sender(), transfer(2)).await.unwrap();
    let begun = receiver.begin(sender(), transfer(2), offer(disk.len(), "b", Some("a"))).await.unwrap();
    assert_eq!(begun.has_base, [false]);
}

#[tokio::test]
async fn bit_rot_on_the_way_is_found_and_asked_for_again() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let receiver = open(directory.path(), &reception);
    let (id, disk) = (transfer(1), content(2 * REGION, 4));
    receiver.begin(sender(), id, offer(disk.len(), "a", None)).await.unwrap();
    let seal = put(&receiver, id, &disk, &[0, 1]).await;
    receiver.missing(sender(), id, 0, 0).await.unwrap();
    let file = directory.path().join(format!("{}-{id}", sender())).join("disk-0.data");
    let mut rotten = disk.clone();
    rotten[REGION + 5] ^= 1;
    std::fs::write(file, rotten).unwrap();
    assert_eq!(receiver.seal(sender(), id, seal.clone()).await.unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(receiver.missing(sender(), id, 0, 0).await.unwrap().runs, [(1, 1)]);
    put(&receiver, id, &disk, &[1]).await;
    receiver.seal(sender(), id, seal).await.unwrap();
    assert!(reception.taken(sender(), id).unwrap().disks[0] == disk);
}

#[tokio::test]
async fn nonsense_of_a_peer_is_refused_and_leaves_nothing() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let receiver = open(directory.path(), &reception);
    let good = offer(REGION, "a", None);
    let sized = |size_bytes| {
        let mut offer = good.clone();
        offer.disks[0].size_bytes = size_bytes;
        offer
    };
    let wrong = [
        Offer { disks: Vec::new(), ..good.clone() },
        Offer { disks: vec![good.disks[0].clone(); 65], ..good.clone() },
        Offer { kind: "nothing known".into(), ..good.clone() },
        Offer { metadata: json!("x".repeat(2 << 20)), ..good.clone() },
        sized(0),
        sized(513),
        sized(u64::MAX / 512 * 512),
    ];
    for offer in wrong {
        let refused = receiver.begin(sender(), transfer(1), offer).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let (body, _) = whole(&content(REGION, 5));
    let unknown = receiver.put(sender(), transfer(1), 0, 0, body.clone().into()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);

    receiver.begin(sender(), transfer(1), good.clone()).await.unwrap();
    let other = receiver.begin(sender(), transfer(1), offer(512, "b", None)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    for (disk, region) in [(1, 0), (0, 1), (0, u64::MAX)] {
        assert!(receiver.put(sender(), transfer(1), disk, region, body.clone().into()).await.is_err());
    }
    let mut forged = body;
    forged[10] ^= 1;
    let damaged = receiver.put(sender(), transfer(1), 0, 0, forged.into()).await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Damaged, "the digest is another one");
    assert_eq!(receiver.missing(sender(), transfer(1), 0, 0).await.unwrap().runs, [(0, 1)]);

    for number in 2..=16 {
        receiver.begin(sender(), transfer(number), good.clone()).await.unwrap();
    }
    assert_eq!(
        receiver.begin(sender(), transfer(17), good.clone()).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert!(receiver.begin(SiteId::from_random([2; 10]), transfer(1), good).await.is_ok(), "others may");
    receiver.forget(sender()).await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_was_not_begun_whole_is_removed() {
    let (directory, reception) = (tempfile::tempdir().unwrap(), Arc::<MemoryReception>::default());
    let half = directory.path().join(format!("{}-{}", sender(), transfer(1)));
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("disk-0.data"), "x").unwrap();
    open(directory.path(), &reception);
    assert!(!half.exists());
}

#[tokio::test]
async fn a_delivered_disk_is_an_image() {
    struct Checked(Arc<MemoryReception>, Vec<u8>);
    #[async_trait::async_trait]
    impl Reception for Checked {
        async fn accepts(&self, from: SiteId, offer: &Offer) -> crate::Result<()> {
            self.0.accepts(from, offer).await
        }

        async fn base(&self, _: SiteId, _: &str) -> crate::Result<Option<Arc<dyn image::DiskImage>>> {
            Ok(Some(Arc::new(MemoryImage::new(self.1[..REGION + 8192].to_vec()))))
        }

        async fn take(&self, delivery: crate::reception::Delivery) -> crate::Result<String> {
            let disk = &delivery.disks[0];
            assert_eq!(disk.image.size_bytes(), self.1.len() as u64);
            assert_eq!(disk.changed.as_deref(), Some(&[ByteRange::new(0, REGION_SIZE_BYTES)][..]));
            image::conformance::check_image(&*disk.image, &self.1).await;
            Ok("checked".to_owned())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut disk = content(REGION + 8192, 6);
    disk.extend(vec![0; 16384]);
    let reception = Arc::new(Checked(Arc::default(), disk.clone()));
    let receiver = Receiver::open(directory.path().to_owned(), reception, Env::system()).unwrap();
    receiver.begin(sender(), transfer(1), offer(disk.len(), "b", Some("a"))).await.unwrap();
    let change = RegionChange::new(&disk[..REGION], std::slice::from_ref(&(0..1024)), false);
    receiver.put(sender(), transfer(1), 0, 0, change.encode().into()).await.unwrap();
    let mut digest = DiskDigest::new(disk.len() as u64);
    digest.add(0, change.digest());
    let sealed = receiver.seal(sender(), transfer(1), Seal { digests: vec![digest.finish()] }).await.unwrap();
    assert_eq!(sealed.name.as_deref(), Some("checked"));
}
