use std::os::unix::fs::PermissionsExt as _;

use model::VaultId;
use vault::{KeptKey, MasterKey};

use super::KeyStore;

#[test]
fn a_key_comes_back_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(directory.path().to_owned());
    let id = VaultId::from_random([7; 10]);
    assert_eq!(keys.load(id).unwrap(), None);
    let writer = include_str!("../../../vault/golden/writer-key-v1.txt").parse().unwrap();
    for key in [KeptKey::Master(MasterKey::from_bytes([1; 32])), KeptKey::Writer(writer)] {
        keys.save(id, &key).unwrap();
        assert_eq!(keys.load(id).unwrap(), Some(key));
    }
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_key_is_a_wrong_key() {
    let directory = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(directory.path().to_owned());
    let id = VaultId::from_random([7; 10]);
    for text in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
        std::fs::write(directory.path().join(format!("{id}.key")), text).unwrap();
        assert_eq!(keys.load(id).unwrap_err().code(), api::Code::WrongKey, "{text:?}");
    }
}
