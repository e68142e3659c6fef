use std::{
    fs,
    path::{Path, PathBuf},
};

use model::ByteCount;

use super::*;
use crate::bench::vault::images::Filler;

const RECIPE: Recipe = Recipe {
    name: "test",
    size: ByteCount(64 << 20),
    packages: [&[], &[], &[]],
    database_mib: 8,
    media_mib: 1,
    log_mib: 2,
};

fn files(directory: &Path, name: &str, count: usize) -> Vec<PackageFile> {
    let file = |number| {
        let source = directory.join(format!("{name}-{number}"));
        fs::write(&source, format!("{name} {number} ").repeat(2000)).unwrap();
        let size_bytes = fs::metadata(&source).unwrap().len();
        PackageFile { source, path: format!("/usr/share/{name}/{number}"), size_bytes }
    };
    (0..count).map(file).collect()
}

/// The first disk and the changed one.
fn make(directory: &Path) -> (PathBuf, PathBuf) {
    let (old, newer) = (files(directory, "old", 60), files(directory, "newer", 60));
    let (base, changed) = (directory.join("base"), directory.join("changed"));
    let disk = Ext4::create(&base, RECIPE.size, "11111111-2222-4333-8444-555555555503").unwrap();
    Filler::new(&disk, directory, 1).fill(&RECIPE, &old).unwrap();
    let next = disk.copy(&changed).unwrap();
    change(&next, &RECIPE, &old, &newer, 1 << 20, 1).unwrap();
    next.check().unwrap();
    (base, changed)
}

#[test]
fn a_disk_is_made_and_changed_in_the_same_way_every_time() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = directories.each_ref().map(|directory| make(directory.path()));
    let read = |path: &PathBuf| fs::read(path).unwrap();
    assert!(read(&first.0) == read(&second.0));
    assert!(read(&first.1) == read(&second.1));
}

#[test]
fn about_as_much_changes_as_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (base, changed) = make(directory.path());
    let (base, changed) = (fs::read(base).unwrap(), fs::read(changed).unwrap());
    let blocks = base.chunks(4096).zip(changed.chunks(4096));
    let changed_bytes = blocks.filter(|(old, new)| old != new).count() * 4096;
    // Directories, inodes and the rest of each file's last block come on top.
    assert!((900 << 10..1800 << 10).contains(&changed_bytes), "{changed_bytes} bytes have changed");
}
