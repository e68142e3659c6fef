use env::{Env, SeededEntropy};
use model::VaultId;

use super::{KeyFile, Keys, MasterKey, NewSlot, Passphrase, Unlock, slot::Slot};
use crate::frame::FrameKind;

#[test]
fn a_key_file_survives_text() {
    let key_file = KeyFile::generate(&SeededEntropy::new(1));
    let text = key_file.to_text();
    assert!(text.ends_with('\n') && text.lines().count() == 1);
    assert!(text.parse::<KeyFile>().unwrap() == key_file);
    assert!(format!("\n  {text}\n").parse::<KeyFile>().unwrap() == key_file);
}

#[test]
fn every_typing_error_in_a_key_file_is_caught() {
    let text = KeyFile::generate(&SeededEntropy::new(1)).to_text();
    for (place, found) in text.trim_end().bytes().enumerate() {
        let mut typed = text.clone().into_bytes();
        typed[place] = if found == b'0' { b'1' } else { b'0' };
        assert!(String::from_utf8(typed).unwrap().parse::<KeyFile>().is_err(), "at {place}");
    }
    for text in ["", "holdfast-key-1", "holdfast-key-1-", "holdfast-key-2-00", &text[..40]] {
        assert!(text.parse::<KeyFile>().is_err(), "{text}");
    }
}

#[test]
fn a_slot_opens_for_its_own_key_only_and_only_unchanged() {
    let (env, vault_id) = (Env::seeded(1), VaultId::from_random([1; 10]));
    let (master, key_file) = (MasterKey::from_bytes([3; 32]), KeyFile::generate(&SeededEntropy::new(2)));
    let slot = Slot::wrap(&master, vault_id, &NewSlot::KeyFile(key_file.clone()), &env).unwrap();
    let bytes = slot.encode();
    let unlock = Unlock::KeyFile(key_file);
    assert!(Slot::decode(&bytes).unwrap().unwrap(&unlock).unwrap() == Some(master));
    assert!(slot.unwrap(&Unlock::Passphrase(Passphrase::new("x"))).unwrap().is_none());
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 4;
        let opened = Slot::decode(&altered).and_then(|slot| slot.unwrap(&unlock));
        assert!(!matches!(opened, Ok(Some(_))), "at {place}");
    }
}

#[test]
fn a_slot_that_asks_for_too_much_memory_is_refused_unread() {
    let slot = Slot::wrap(
        &MasterKey::from_bytes([3; 32]),
        VaultId::from_random([1; 10]),
        &NewSlot::Passphrase(Passphrase::new("x")),
        &Env::seeded(1),
    );
    let mut bytes = slot.unwrap().encode();
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Slot::decode(&bytes).is_err());
}

#[test]
fn ids_depend_on_key_vault_and_kind() {
    let keys =
        |byte: u8, vault: u8| Keys::new(MasterKey::from_bytes([byte; 32]), VaultId::from_random([vault; 10]));
    let id = keys(1, 1).chunk_id(FrameKind::Data, b"x");
    assert_eq!(id, keys(1, 1).chunk_id(FrameKind::Data, b"x"));
    assert_ne!(id, keys(1, 1).chunk_id(FrameKind::Tree, b"x"));
    assert_ne!(id, keys(1, 2).chunk_id(FrameKind::Data, b"x"));
    assert_ne!(id, keys(2, 1).chunk_id(FrameKind::Data, b"x"));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", MasterKey::from_bytes([0xab; 32]), Passphrase::new("rosebud"));
    assert!(!shown.contains("171") && !shown.contains("ab") && !shown.contains("rosebud"), "{shown}");
}
