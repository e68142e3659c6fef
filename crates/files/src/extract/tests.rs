use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    sync::Arc,
};

use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::{
    ErrorKind, FilePath, FileTree, Kind,
    archive::{BLOCK_BYTES, Header, Sink, tar},
    tree::memory::MemoryTree,
};

fn archived(tree: MemoryTree) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (sender, mut chunks) = mpsc::channel(1);
        let tree: Arc<dyn FileTree> = Arc::new(tree);
        let writing = async move { tar(tree, &FilePath::parse(b"/v").unwrap(), &Sink::new(sender)).await };
        let reading = async {
            let mut archive = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                archive.extend_from_slice(&chunk);
            }
            archive
        };
        let (written, archive) = tokio::join!(writing, reading);
        written.unwrap();
        archive
    })
}

fn sample() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.add(b"/v/d", Kind::Directory).mode = 0o550;
    tree.add_file(b"/v/d/file", &[(0, b"content")], 7);
    tree.add_file(b"/v/d/sparse", &[(1 << 20, b"data")], 8 << 20);
    tree.add_file(b"/v/d/\xffbytes", &[(0, b"x")], 1);
    tree.add(b"/v/d/link", Kind::Symlink { target: b"/etc/passwd".to_vec() });
    for name in [b"/v/one", b"/v/two"] {
        let entry = tree.add_file(name, &[(0, b"twice")], 5);
        (entry.inode, entry.links) = (77, 2);
    }
    tree
}

/// An archive of plain members: their names, kinds and links.
fn raw(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let headers = members.iter().map(|(name, kind, link)| {
        Header { link: link.as_bytes().to_vec(), ..Header::new(name.as_bytes(), *kind, 0) }.encode()
    });
    headers.chain([[0; BLOCK_BYTES]; 2]).flatten().collect()
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let extracted = extract(archived(sample()).as_slice(), &directory.path().join("new")).unwrap();
    let at = |name: &str| directory.path().join("new/v").join(name);
    assert_eq!((extracted.files, extracted.directories), (6, 2));
    assert_eq!(fs::read(at("d/file")).unwrap(), b"content");
    assert_eq!(fs::read_link(at("d/link")).unwrap().to_str(), Some("/etc/passwd"));
    let sparse = fs::metadata(at("d/sparse")).unwrap();
    assert_eq!(sparse.len(), 8 << 20);
    assert!(sparse.blocks() * 512 < 4 << 20, "holes stay holes");
    assert_eq!(fs::read(at("d/sparse")).unwrap()[1 << 20..][..4], *b"data");
    assert_eq!(fs::metadata(at("one")).unwrap().ino(), fs::metadata(at("two")).unwrap().ino());
    let file = fs::metadata(at("d/file")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.mtime_nsec()), (0o640, 1_700_000_000, 123_456_789));
    let inner = fs::metadata(at("d")).unwrap();
    assert_eq!((inner.mode() & 0o7777, inner.mtime()), (0o550, 1_700_000_000));
}

#[test]
fn nothing_leads_out_of_the_target() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let escape = format!("{out}/escaped");
    let attacks = [
        raw(&[("../escaped", EntryType::File, "")]),
        raw(&[(&escape, EntryType::File, "")]),
        raw(&[("a/../../escaped", EntryType::File, "")]),
        raw(&[("link", EntryType::Symlink, out), ("link/escaped", EntryType::File, "")]),
        raw(&[("link", EntryType::Symlink, out), ("link/", EntryType::Directory, "")]),
        raw(&[("link", EntryType::Symlink, &escape), ("link", EntryType::File, "")]),
        raw(&[("hard", EntryType::HardLink, "/etc/passwd")]),
        raw(&[("hard", EntryType::HardLink, "../../etc/passwd")]),
        raw(&[("link", EntryType::Symlink, "/etc"), ("hard", EntryType::HardLink, "link/passwd")]),
        raw(&[("..", EntryType::Directory, "")]),
        raw(&[("", EntryType::File, "")]),
    ];
    for (number, attack) in attacks.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let kind = extract(attack.as_slice(), directory.path()).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Damaged | ErrorKind::AlreadyExists), "{number}: {kind:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{number}");
    }
}

#[test]
fn links_that_were_there_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("v")).unwrap();
    let error = extract(archived(sample()).as_slice(), directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_exists_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("v/d")).unwrap();
    fs::write(directory.path().join("v/d/file"), "mine").unwrap();
    let error = extract(archived(sample()).as_slice(), directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(directory.path().join("v/d/file")).unwrap(), b"mine");
}

#[test]
fn an_archive_that_breaks_off_is_damaged() {
    let archive = archived(sample());
    for length in [0, 100, archive.len() / 2, archive.len() - 2 * BLOCK_BYTES] {
        let directory = tempfile::tempdir().unwrap();
        let error = extract(&archive[..length], directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn mutated_archives_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut archive = archived(sample());
        for (place, value) in flips {
            let place = place.index(archive.len());
            archive[place] = value;
        }
        let directory = tempfile::tempdir().unwrap();
        let _ = extract(archive.as_slice(), directory.path());
    }
}
