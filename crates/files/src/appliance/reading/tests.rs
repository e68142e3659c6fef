use std::{
    fs,
    os::fd::AsFd as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
};

use super::*;

struct Tree {
    directory: tempfile::TempDir,
    root: OwnedFd,
}

fn tree() -> Tree {
    let directory = tempfile::tempdir().unwrap();
    let root = rustix::fs::open(directory.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    Tree { directory, root }
}

#[test]
fn links_never_lead_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let tree = tree();
    symlink(outside.path().join("secret"), tree.directory.path().join("absolute")).unwrap();
    symlink(
        "../".repeat(40) + outside.path().join("secret").to_str().unwrap(),
        tree.directory.path().join("up"),
    )
    .unwrap();
    symlink("absolute", tree.directory.path().join("twice")).unwrap();
    for path in ["absolute", "up", "twice"] {
        assert_eq!(read(tree.root.as_fd(), path.as_bytes(), 0, 10), Err(Errno::NOENT), "{path}");
        assert!(matches!(
            stat(tree.root.as_fd(), path.as_bytes(), false).unwrap().kind,
            Kind::Symlink { .. }
        ));
    }
}

#[test]
fn absolute_links_start_at_the_root() {
    let tree = tree();
    fs::create_dir(tree.directory.path().join("etc")).unwrap();
    fs::write(tree.directory.path().join("etc/name"), "here").unwrap();
    symlink("/etc/name", tree.directory.path().join("link")).unwrap();
    assert_eq!(read(tree.root.as_fd(), b"link", 1, 10).unwrap(), b"ere");
    assert_eq!(stat(tree.root.as_fd(), b"link", true).unwrap().size_bytes, 4);
}

#[test]
fn pages_tell_every_entry_once() {
    let tree = tree();
    for number in 0..3000 {
        fs::write(tree.directory.path().join(format!("file-{number:04}-{}", "x".repeat(100))), "").unwrap();
    }
    let (mut names, mut start, mut pages) = (Vec::new(), ROOT_START, 0);
    loop {
        let page = list(tree.root.as_fd(), b"", start, false).unwrap();
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        pages += 1;
        match page.next {
            Some(next) => start = next,
            None => break,
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3000);
    assert!(pages > 1);
}

#[test]
fn an_entry_is_told_whole() {
    let tree = tree();
    let path = tree.directory.path().join("file");
    fs::write(&path, "four").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let has_attributes =
        rustix::fs::setxattr(&path, "user.comment", b"text", rustix::fs::XattrFlags::empty()).is_ok();
    let entry = stat(tree.root.as_fd(), b"file", false).unwrap();
    assert_eq!((entry.kind.clone(), entry.mode, entry.size_bytes, entry.links), (Kind::File, 0o4751, 4, 1));
    assert_eq!(entry.attributes.is_empty(), !has_attributes);
    assert_eq!(entry.name, b"file");
}

#[test]
fn holes_are_no_data() {
    let tree = tree();
    let file = File::create(tree.directory.path().join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&[1; 4096], 512 << 20).unwrap();
    let (ranges, next) = data_ranges(tree.root.as_fd(), b"sparse", 0).unwrap();
    assert_eq!(next, None);
    assert!(ranges.iter().any(|range| range.contains(&(512 << 20))));
    assert!(ranges.iter().map(|range| range.end - range.start).sum::<u64>() < 64 << 20);
}

#[test]
fn what_is_no_file_is_not_read() {
    let tree = tree();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.directory.path().join("pipe"), Mode::RUSR).unwrap();
    assert_eq!(read(tree.root.as_fd(), b"pipe", 0, 1), Err(Errno::INVAL));
    assert_eq!(read(tree.root.as_fd(), b"", 0, 1), Err(Errno::ISDIR));
}

#[test]
fn digests_tell_contents_apart_and_not_how_they_are_stored() {
    let tree = tree();
    let at = |name: &str| tree.directory.path().join(name);
    let size = 3 * DIGEST_BLOCK_BYTES + 5;
    let mut content = vec![0; size as usize];
    content[DIGEST_BLOCK_BYTES as usize + 7] = 1;
    fs::write(at("stored"), &content).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(size).unwrap();
    sparse.write_all_at(&[1], DIGEST_BLOCK_BYTES + 7).unwrap();
    let moved = fs::File::create(at("moved")).unwrap();
    moved.set_len(size).unwrap();
    moved.write_all_at(&[1], 2 * DIGEST_BLOCK_BYTES + 7).unwrap();

    let digest = |name: &str, range| digest(tree.root.as_fd(), name.as_bytes(), range).unwrap();
    assert_eq!(digest("stored", 0..size), digest("sparse", 0..size));
    assert_eq!(digest("stored", 0..size).end_bytes, size);
    assert_ne!(digest("stored", 0..size).hash, digest("moved", 0..size).hash);
    // From any offset on.
    let start = DIGEST_BLOCK_BYTES + 3;
    assert_eq!(digest("stored", start..size), digest("sparse", start..size));
    assert_ne!(digest("stored", start..size).hash, digest("stored", start + 5..size).hash);
    // A file that ends before the range is damage, or a lie.
    assert_eq!(super::digest(tree.root.as_fd(), b"stored", 0..size + 1), Err(Errno::IO));
}

#[test]
fn a_digest_ends_where_it_has_read_much() {
    let tree = tree();
    let size = DIGEST_READ_MAX_BYTES + DIGEST_BLOCK_BYTES;
    let file = fs::File::create(tree.directory.path().join("large")).unwrap();
    file.set_len(4 * size).unwrap();
    file.write_all_at(&vec![7; size as usize], size).unwrap();
    let digest = |range| digest(tree.root.as_fd(), b"large", range).unwrap();
    let first = digest(0..4 * size);
    assert_eq!(first.end_bytes, size + DIGEST_READ_MAX_BYTES);
    assert_eq!(digest(0..first.end_bytes), first);
    assert_eq!(digest(first.end_bytes..4 * size).end_bytes, 4 * size);
}
