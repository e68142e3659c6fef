//! Image files that are overwritten where they lie.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

use std::{fs, path::Path, process::Command};

use image::{ByteRange, DiskImage as _};
use image_formats::{
    ErrorKind, OverwrittenFile, QemuNbdImage, Usage, bitmap, create_target, info, open_image, open_in_place,
};
use model::{DiskFormat, ImageFormat};
use tempfile::TempDir;

const SIZE_BYTES: u64 = 4 << 20;

async fn create(path: &Path, format: DiskFormat) {
    let target = create_target(path, format, SIZE_BYTES).await.unwrap();
    target.write_at(0, &[1; 1 << 20]).await.unwrap();
    target.finish().await.unwrap();
}

async fn content(path: &Path, format: ImageFormat) -> Vec<u8> {
    let image = open_image(path, Some(format)).await.unwrap();
    let mut bytes = vec![0; SIZE_BYTES as usize];
    image.read_at(0, &mut bytes).await.unwrap();
    bytes
}

/// Writes to a file in place, and returns what it has to hold then.
async fn overwrite(file: OverwrittenFile, mut expected: Vec<u8>) -> Vec<u8> {
    let OverwrittenFile { present, target } = file;
    assert_eq!((present.size_bytes(), target.size_bytes()), (SIZE_BYTES, SIZE_BYTES));
    let mut bytes = vec![0; SIZE_BYTES as usize];
    present.read_at(0, &mut bytes).await.unwrap();
    assert!(bytes == expected, "it shows what the file held");
    assert!(!target.starts_zeroed());
    target.write_at(4096, &[2; 8192]).await.unwrap();
    target.write_at((2 << 20) + 512, &[3; 512]).await.unwrap();
    target.write_zeroes(ByteRange::new(512 << 10, 128 << 10)).await.unwrap();
    drop(present);
    target.finish().await.unwrap();
    expected[4096..4096 + 8192].fill(2);
    expected[(2 << 20) + 512..(2 << 20) + 1024].fill(3);
    expected[512 << 10..640 << 10].fill(0);
    expected
}

#[tokio::test]
async fn a_file_of_either_format_is_overwritten_and_nobody_else_opens_it_meanwhile() {
    for (format, read_as) in [(DiskFormat::Raw, ImageFormat::Raw), (DiskFormat::Qcow2, ImageFormat::Qcow2)] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk");
        create(&path, format).await;
        let before = content(&path, read_as).await;
        let file = open_in_place(&path, format).await.unwrap();
        let second = open_in_place(&path, format).await.map(drop).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::InUse, "{second}");
        let expected = overwrite(file, before).await;
        assert!(content(&path, read_as).await == expected);
        assert_eq!(info(&path, format, Usage::AtRest).await.unwrap().size_bytes, SIZE_BYTES);
    }
}

#[tokio::test]
async fn a_bitmap_that_records_goes_on_recording() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    create(&path, DiskFormat::Qcow2).await;
    bitmap::add(&path, "b", 65_536).await.unwrap();
    let before = content(&path, ImageFormat::Qcow2).await;
    overwrite(open_in_place(&path, DiskFormat::Qcow2).await.unwrap(), before).await;
    let found = info(&path, DiskFormat::Qcow2, Usage::AtRest).await.unwrap();
    assert!(found.bitmaps[0].recording && !found.bitmaps[0].inconsistent);
    let image = QemuNbdImage::open(&path, DiskFormat::Qcow2, &["b".to_owned()]).await.unwrap();
    let changed = image.changes("b").unwrap().changed_within(ByteRange::new(0, SIZE_BYTES)).await.unwrap();
    let expected = [(0, 64 << 10), (512 << 10, 128 << 10), (2 << 20, 64 << 10)];
    assert_eq!(changed, expected.map(|(offset, length)| ByteRange::new(offset, length)));
    image.close().await.unwrap();
}

#[tokio::test]
async fn an_overlay_keeps_what_is_below_it() {
    let folder = TempDir::new().unwrap();
    let (base, overlay) = (folder.path().join("base"), folder.path().join("overlay"));
    create(&base, DiskFormat::Raw).await;
    let below = fs::read(&base).unwrap();
    let arguments = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", "overlay"];
    let made = Command::new("qemu-img").args(arguments).current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    let expected = overwrite(open_in_place(&overlay, DiskFormat::Qcow2).await.unwrap(), below.clone()).await;
    assert!(content(&overlay, ImageFormat::Qcow2).await == expected);
    assert!(fs::read(&base).unwrap() == below);
}
