use std::{process::Command, sync::Arc};

use super::*;
use crate::{FilePath, FileTree, Kind, Time, tree::memory::MemoryTree};

/// A whole archive.
async fn archived(tree: MemoryTree, path: &[u8]) -> Result<Vec<u8>> {
    let tree: Arc<dyn FileTree> = Arc::new(tree);
    let (sender, mut chunks) = mpsc::channel(1);
    let path = FilePath::parse(path)?;
    let writing = tokio::spawn(async move { tar(tree, &path, &Sink::new(sender)).await });
    let mut archive = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        archive.extend_from_slice(&chunk);
    }
    writing.await.unwrap().map(|()| archive)
}

#[tokio::test]
async fn other_peoples_tar_reads_it() {
    let mut tree = MemoryTree::new();
    let long = [b"/v/d/".as_slice(), "ż".repeat(100).as_bytes()].concat();
    tree.add(b"/v/d", Kind::Directory);
    tree.add_file(b"/v/d/plain", &[(0, b"content")], 7);
    tree.add_file(&long, &[(0, b"long name")], 9);
    tree.add_file(b"/v/d/sparse", &[(4096, b"data")], 1 << 20);
    tree.add_file(b"/v/d/hole", &[], 5000);
    tree.add(b"/v/d/link", Kind::Symlink { target: b"plain".to_vec() });
    for name in [b"/v/d/one", b"/v/d/two"] {
        let entry = tree.add_file(name, &[(0, b"twice")], 5);
        (entry.inode, entry.links) = (77, 2);
    }
    let archive = archived(tree, b"/v/d").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.tar"), archive).unwrap();
    let mut command = Command::new("tar");
    let output = command.args(["-x", "-f", "a.tar"]).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let at = |name: &str| directory.path().join("d").join(name);
    assert_eq!(std::fs::read(at("plain")).unwrap(), b"content");
    assert_eq!(std::fs::read(at(&"ż".repeat(100))).unwrap(), b"long name");
    assert_eq!(std::fs::read(at("hole")).unwrap(), vec![0; 5000]);
    assert_eq!(std::fs::read(at("two")).unwrap(), b"twice");
    assert_eq!(std::fs::read_link(at("link")).unwrap().to_str(), Some("plain"));
    let sparse = std::fs::read(at("sparse")).unwrap();
    assert_eq!((sparse.len(), &sparse[4096..4100]), (1 << 20, &b"data"[..]));
    let modified = std::fs::metadata(at("plain")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((modified.as_secs(), modified.subsec_nanos()), (1_700_000_000, 123_456_789));
}

#[tokio::test]
async fn other_peoples_zip_reads_it() {
    let mut tree = MemoryTree::new();
    tree.add(b"/v/d", Kind::Directory);
    tree.add_file("/v/d/ż".as_bytes(), &[(0, b"content")], 7);
    tree.add_file(b"/v/d/hole", &[(3 << 20, b"data")], 4 << 20);
    tree.add(b"/v/d/link", Kind::Symlink { target: b"hole".to_vec() });
    let tree: Arc<dyn FileTree> = Arc::new(tree);
    let (sender, mut chunks) = mpsc::channel(1);
    let path = FilePath::parse(b"/v/d").unwrap();
    let writing = tokio::spawn(async move { zip(tree, &path, &Sink::new(sender)).await });
    let mut archive = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        archive.extend_from_slice(&chunk);
    }
    writing.await.unwrap().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.zip"), archive).unwrap();
    // Checks every checksum, then shows what there is.
    let script = "import zipfile; z = zipfile.ZipFile('a.zip'); assert z.testzip() is None
for i in z.infolist(): print(i.filename, i.file_size, oct(i.external_attr >> 16))
print(z.read('d/ż'), z.read('d/link'), z.read('d/hole')[3 << 20:][:4])";
    let mut command = Command::new("python3");
    command.args(["-X", "utf8", "-c", script]).current_dir(directory.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = "d/ 0 0o40750\nd/hole 4194304 0o100640\nd/link 4 0o120640\nd/ż 7 0o100640\nb'content' b'hole' b'data'\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown);
}

#[tokio::test]
async fn a_path_that_is_not_there_is_an_error_at_once() {
    let missing = archived(MemoryTree::new(), b"/v/none").await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn times_survive() {
    for (time, text) in [
        (Time { seconds: 5, nanoseconds: 0 }, "5"),
        (Time { seconds: 5, nanoseconds: 1 }, "5.000000001"),
        (Time { seconds: -1, nanoseconds: 500_000_000 }, "-0.500000000"),
        (Time { seconds: -2, nanoseconds: 0 }, "-2"),
        (Time { seconds: -2, nanoseconds: 999_999_999 }, "-1.000000001"),
    ] {
        assert_eq!(records::time_text(time), text);
        assert_eq!(records::parse_time(text.as_bytes()), Some(time));
    }
    for text in ["", "-", "x", "1.x", "--1", "99999999999999999999"] {
        assert_eq!(records::parse_time(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn records_count_themselves() {
    let mut made = records::Records::default();
    made.add(b"path", &[b'a'; 90]);
    made.add(b"k", b"v");
    assert_eq!(records::parse(made.as_bytes()).unwrap(), [(&b"path"[..], &[b'a'; 90][..]), (b"k", b"v")]);
    for block in [&b"5 a=b"[..], b"x a=b\n", b"99 a=b\n", b"6 ab\n\n", b"0 "] {
        assert!(records::parse(block).is_err(), "{block:?}");
    }
}
