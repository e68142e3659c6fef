//! Clones of files, on file systems that have them and on one that has not.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

use std::{fs, path::Path};

use image_formats::UnnamedClone;
use testkit::loop_file_system::LoopFileSystem;

const LENGTH_BYTES: usize = 8 << 20;

async fn clones_without_a_name(folder: &Path, used_bytes: impl Fn() -> u64) {
    let path = folder.join("disk.raw");
    fs::write(&path, vec![7; LENGTH_BYTES]).unwrap();
    let before = used_bytes();
    let clone = UnnamedClone::of(&path).await.unwrap().expect("this file system has clones");
    assert!(used_bytes() - before < LENGTH_BYTES as u64 / 2, "the blocks are shared");
    fs::write(&path, vec![8; LENGTH_BYTES]).unwrap();
    fs::remove_file(&path).unwrap();
    // As another program would.
    assert!(fs::read(clone.path()).unwrap() == vec![7; LENGTH_BYTES]);
    let opened = fs::File::open(clone.path()).unwrap();
    drop(clone);
    assert_eq!(opened.metadata().unwrap().len(), LENGTH_BYTES as u64);
    assert_eq!(
        fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(),
        0
    );
}

async fn clones_on(kind: &str) {
    let directory = tempfile::tempdir().unwrap();
    match LoopFileSystem::mount(kind, &directory.path().join("mounted"), 1 << 30) {
        Ok(file_system) => {
            clones_without_a_name(file_system.path(), || file_system.used_bytes().unwrap()).await;
        }
        Err(reason) => eprintln!("skipped: {reason:#}"),
    }
}

#[tokio::test]
async fn a_clone_on_xfs_keeps_what_the_file_held() {
    clones_on("xfs").await;
}

#[tokio::test]
async fn a_clone_on_btrfs_keeps_what_the_file_held() {
    clones_on("btrfs").await;
}

#[tokio::test]
async fn a_file_system_without_clones_makes_none() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("disk.raw");
    fs::write(&path, [7; 4096]).unwrap();
    assert!(UnnamedClone::of(&path).await.unwrap().is_none());
    assert!(UnnamedClone::of(&directory.path().join("none")).await.is_err());
}
