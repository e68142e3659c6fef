use std::sync::Arc;

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, MemoryImage, Result, conformance::check_image};
use tokio::sync::Notify;

use super::SwitchingImage;

/// An image whose reads stand still until it is gone.
struct Vanishing {
    asked: Notify,
    gone: Notify,
}

#[async_trait]
impl DiskImage for Vanishing {
    fn size_bytes(&self) -> u64 {
        4096
    }

    async fn extents(&self, _: ByteRange) -> Result<Vec<Extent>> {
        self.read_at(0, &mut []).await.map(|()| Vec::new())
    }

    async fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
        self.asked.notify_one();
        self.gone.notified().await;
        Err(Error::new(ErrorKind::Gone, "the moment is over"))
    }
}

#[tokio::test]
async fn a_switching_image_is_an_image() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at / 1000) as u8).collect();
    let image = SwitchingImage::new(Arc::new(MemoryImage::new(bytes.clone())));
    image.switch(Arc::new(MemoryImage::new(bytes.clone())));
    check_image(&image, &bytes).await;
}

#[tokio::test]
async fn a_read_that_finds_the_old_place_gone_begins_again() {
    let old = Arc::new(Vanishing { asked: Notify::new(), gone: Notify::new() });
    let image = Arc::new(SwitchingImage::new(old.clone()));
    let reader = image.clone();
    let read = tokio::spawn(async move {
        let mut buffer = [0; 512];
        reader.read_at(0, &mut buffer).await.map(|()| buffer)
    });
    old.asked.notified().await;
    image.switch(Arc::new(MemoryImage::new(vec![7; 4096])));
    old.gone.notify_one();
    assert_eq!(read.await.unwrap().unwrap(), [7; 512]);
}

#[tokio::test]
async fn a_place_that_is_gone_for_good_is_an_error() {
    let old = Arc::new(Vanishing { asked: Notify::new(), gone: Notify::new() });
    old.gone.notify_one();
    let error = SwitchingImage::new(old).read_at(0, &mut [0; 512]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
}
