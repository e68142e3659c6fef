use std::os::unix::fs::PermissionsExt as _;

use super::{KeyFile, SECRET_LIMIT_BYTES, read_limited};
use crate::exit::Exit;

#[test]
fn a_key_file_is_its_owners_alone_and_never_replaces_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("main.key");
    KeyFile::create(&path).unwrap().write("key\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "key\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let failure = KeyFile::create(&path).err().unwrap();
    assert_eq!(failure.exit, Exit::Conflict);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "key\n");
}

#[test]
fn a_key_file_without_a_key_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("main.key");
    drop(KeyFile::create(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_disk_image_is_not_taken_for_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(SECRET_LIMIT_BYTES + 1).unwrap();
    assert!(read_limited(&path).unwrap_err().to_string().contains("too long"));
}
