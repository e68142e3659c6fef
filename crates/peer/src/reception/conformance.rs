//! The suite that every reception runs in its own tests.

use std::sync::Arc;

use image::{ByteRange, FaultyImage, MemoryImage};
use model::{SiteId, TransferId};

use super::{DeliveredDisk, Delivery, Reception};
use crate::transfer::{Offer, OfferedDisk};

/// Checks the contract of [`Reception`]. `offer` is one that the reception takes; its disks are replaced.
///
/// # Panics
/// When the reception breaks its contract.
pub async fn check_reception(reception: &dyn Reception, offer: &Offer) {
    let (sender, other) = (SiteId::from_random([1; 10]), SiteId::from_random([2; 10]));
    let content =
        |seed: u8| -> Vec<u8> { (0..2 << 20).map(|place: u32| (place / 4096) as u8 ^ seed).collect() };
    let first = delivery(sender, 1, offer, ["image-1a", "image-1b"], [content(1), content(2)]);
    reception.accepts(sender, &first.offer).await.expect("the offer is one that it takes");
    let strange = Offer { kind: "no kind of anybody".to_owned(), ..first.offer.clone() };
    assert!(reception.accepts(sender, &strange).await.is_err(), "what it does not know it refuses");
    assert!(is_none(reception, sender, "image-1a").await, "before it was taken nothing is there");

    let mut broken = delivery(sender, 1, offer, ["image-1a", "image-1b"], [content(1), content(2)]);
    let faulty = FaultyImage::after_reads(MemoryImage::new(content(2)), 0, image::ErrorKind::Io);
    broken.disks[1].image = Arc::new(faulty);
    assert!(reception.take(broken).await.is_err(), "a disk that cannot be read is an error");
    assert!(is_none(reception, sender, "image-1a").await, "and nothing of the delivery is there");

    let name = reception.take(first).await.expect("a whole delivery is taken");
    shows(reception, sender, "image-1a", &content(1)).await;
    shows(reception, sender, "image-1b", &content(2)).await;
    assert!(is_none(reception, other, "image-1a").await, "what one site has sent is no other's base");
    assert!(is_none(reception, sender, "image-9").await, "what was not sent is not there");

    let again = delivery(sender, 1, offer, ["image-1a", "image-1b"], [content(1), content(2)]);
    assert_eq!(reception.take(again).await.expect("it may be taken again"), name, "under the same name");

    let mut second = delivery(sender, 2, offer, ["image-2a", "image-2b"], [content(3), content(4)]);
    second.offer.name = format!("{}-2", offer.name);
    for (disk, base) in second.disks.iter_mut().zip(["image-1a", "image-1b"]) {
        disk.disk.base = Some(base.to_owned());
        disk.changed = Some(vec![ByteRange::new(0, 2 << 20)]);
    }
    second.offer.disks = second.disks.iter().map(|disk| disk.disk.clone()).collect();
    let second = reception.take(second).await.expect("changes of what is there are taken");
    assert_ne!(second, name, "another delivery has another name");
    shows(reception, sender, "image-2a", &content(3)).await;
    shows(reception, sender, "image-1a", &content(1)).await;
}

fn delivery(from: SiteId, number: u8, offer: &Offer, images: [&str; 2], contents: [Vec<u8>; 2]) -> Delivery {
    let disks: Vec<_> = images
        .iter()
        .zip(contents)
        .enumerate()
        .map(|(place, (image, bytes))| DeliveredDisk {
            disk: OfferedDisk {
                name: format!("disk-{place}").parse().expect("this is a name"),
                size_bytes: bytes.len() as u64,
                image: (*image).to_owned(),
                base: None,
            },
            image: Arc::new(MemoryImage::new(bytes)),
            changed: None,
        })
        .collect();
    let offer = Offer { disks: disks.iter().map(|disk| disk.disk.clone()).collect(), ..offer.clone() };
    Delivery { from, id: TransferId::from_random([number; 10]), offer, disks }
}

async fn is_none(reception: &dyn Reception, from: SiteId, image: &str) -> bool {
    reception.base(from, image).await.expect("a base can be looked for").is_none()
}

async fn shows(reception: &dyn Reception, from: SiteId, image: &str, expected: &[u8]) {
    let base = reception.base(from, image).await.expect("a base can be looked for");
    let base = base.expect("what was taken is there, under the sender's name for it");
    image::conformance::check_image(&*base, expected).await;
}
