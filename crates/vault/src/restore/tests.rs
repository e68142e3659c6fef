use std::sync::Mutex;

use async_trait::async_trait;
use image::{ByteRange, DiskTarget, MemoryTarget};

use crate::{
    ErrorKind, Monitor,
    fixture::{MIB, back_up, memory_vault, noise, source},
};

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 11 * MIB];
    bytes[4096..90_112].copy_from_slice(&noise(1, 86_016));
    bytes[9 * MIB..10 * MIB].copy_from_slice(&noise(2, MIB));
    bytes
}

/// A device that was used before, and may have no room for the last of its bytes.
struct UsedDevice {
    bytes: Mutex<Vec<u8>>,
    room_bytes: u64,
}

impl UsedDevice {
    fn new(size: usize, room_bytes: u64) -> Self {
        Self { bytes: Mutex::new(vec![0xff; size]), room_bytes }
    }
}

#[async_trait]
impl DiskTarget for UsedDevice {
    fn size_bytes(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn starts_zeroed(&self) -> bool {
        false
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> image::Result<()> {
        if offset_bytes + data.len() as u64 > self.room_bytes {
            return Err(image::Error::new(image::ErrorKind::NoSpace, "the device is full"));
        }
        let start = offset_bytes as usize;
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> image::Result<()> {
        self.bytes.lock().unwrap()[range.offset_bytes as usize..range.end_bytes() as usize].fill(0);
        Ok(())
    }

    async fn flush(&self) -> image::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn holes_are_written_where_the_target_held_something() {
    let (vault, _) = memory_vault().await;
    let map = back_up(&vault, 1, source(&disk())).await.unwrap().map;
    let device = UsedDevice::new(13 * MIB, u64::MAX);
    let restored = vault.restore_disk(&map, &device, &Monitor::default()).await.unwrap();
    assert_eq!(restored.written_bytes, (MIB + 86_016) as u64);
    let mut expected = disk();
    expected.resize(13 * MIB, 0);
    assert!(device.bytes.into_inner().unwrap() == expected);
}

#[tokio::test]
async fn a_target_that_is_too_small_or_fails_is_said() {
    let (vault, _) = memory_vault().await;
    let map = back_up(&vault, 1, source(&disk())).await.unwrap().map;
    let small = MemoryTarget::new(10 * MIB as u64);
    let error = vault.restore_disk(&map, &small, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let full = UsedDevice::new(11 * MIB, 5 * MIB as u64);
    let error = vault.restore_disk(&map, &full, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disk(image::ErrorKind::NoSpace));
}

#[tokio::test]
async fn a_cancelled_restore_stops() {
    let (vault, _) = memory_vault().await;
    let map = back_up(&vault, 1, source(&disk())).await.unwrap().map;
    let cancel = tokio_util::sync::CancellationToken::new();
    let token = cancel.clone();
    let monitor = Monitor::new(cancel, std::sync::Arc::new(move |_, _| token.cancel()));
    let target = MemoryTarget::new(map.size_bytes);
    let error = vault.restore_disk(&map, &target, &monitor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
